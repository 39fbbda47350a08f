import errno
import platform
import struct

import pytest

from r1.rewards.sandbox import seccomp

X86 = 0xC000003E
ALLOWED, KILLED = seccomp.ALLOW, seccomp.KILL
NO_FAMILY = seccomp.REFUSE | errno.EAFNOSUPPORT
EPERM, ENOSYS = seccomp.REFUSE | errno.EPERM, seccomp.REFUSE | errno.ENOSYS


def verdict(code: bytes, architecture: int, number: int, argument: int = 0) -> int:
  """Runs the filter as the kernel does, on struct seccomp_data with that first argument."""
  data = struct.pack("<IIQ6Q", number, architecture, 0, argument, 0, 0, 0, 0, 0)
  steps = list(struct.iter_unpack("=HBBI", code))
  at, held = 0, 0
  while True:
    operation, yes, no, value = steps[at]
    at += 1
    match operation:
      case seccomp.LOAD:
        (held,) = struct.unpack_from("<I", data, value)
      case seccomp.RETURN:
        return value
      case seccomp.EQUAL:
        at += yes if held == value else no
      case seccomp.AT_LEAST:
        at += yes if held >= value else no
      case seccomp.ANY_BIT:
        at += yes if held & value else no
      case _:
        raise AssertionError(f"operation {operation:#x} is none that the filter uses")


@pytest.fixture
def x86(monkeypatch):
  monkeypatch.setattr(platform, "machine", lambda: "x86_64")
  return seccomp.program()


@pytest.mark.parametrize(
  ("number", "argument", "expected"),
  [
    (0, 0, ALLOWED),  # read
    (59, 0, ALLOWED),  # execve
    (117, 0, ALLOWED),  # setresuid, by which root's lane gives its uid up
    (101, 0, EPERM),  # ptrace
    (165, 0, EPERM),  # mount
    (272, 0, EPERM),  # unshare
    (319, 0, EPERM),  # memfd_create
    (425, 0, EPERM),  # io_uring_setup
    (435, 0, ENOSYS),  # clone3
    (56, 0x11, ALLOWED),  # clone as fork does it
    (56, 0x3D0F00, ALLOWED),  # clone as a thread
    (56, 0x10000011, EPERM),  # clone into a new user name space
    (56, 0x20011, EPERM),  # clone into a new mount name space
    (56 | seccomp.X32, 0, KILLED),  # the same call by the x32 table
    (162, 0, EPERM),  # sync
    (41, 1, ALLOWED),  # a unix socket
    (41, 10, ALLOWED),  # of the internet, version 6
    (41, 16, ALLOWED),  # netlink, by which the C library lists interfaces
    (41, 40, NO_FAMILY),  # vsock
    (41, 38, NO_FAMILY),  # the kernel's ciphers
    (42, 40, ALLOWED),  # connect: another call
  ],
)
def test_the_filter_of_x86(x86, number, argument, expected):
  assert verdict(x86, X86, number, argument) == expected


def test_another_architectures_calls_are_killed(x86):
  assert verdict(x86, 0x40000003, 0) == KILLED  # 32-bit calls, whose numbers mean other things


def test_aarch64_has_its_own_numbers(monkeypatch):
  monkeypatch.setattr(platform, "machine", lambda: "aarch64")
  code = seccomp.program()
  assert verdict(code, 0xC00000B7, 117) == EPERM  # ptrace
  assert verdict(code, 0xC00000B7, 63) == ALLOWED  # read
  assert verdict(code, 0xC00000B7, 220, 0x10000011) == EPERM  # clone
  assert verdict(code, 0xC00000B7, 198, 40) == NO_FAMILY  # socket


def test_both_machines_refuse_the_same_calls():
  (_, first), (_, second) = seccomp.TABLES.values()
  assert first.keys() == second.keys()


def test_an_unknown_machine_is_told_what_to_add(monkeypatch):
  monkeypatch.setattr(platform, "machine", lambda: "riscv64")
  with pytest.raises(ValueError, match=r"machine 'riscv64' given; .* add its table to TABLES"):
    seccomp.program()
