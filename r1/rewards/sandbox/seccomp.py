"""A seccomp filter in classic BPF: system calls that no graded program needs, refused with EPERM.

Refused are new name spaces and mounts, tracing, memory that no limit counts (memfd and System V
shared memory lie outside of RLIMIT_AS and of the size of a tmpfs), and sync, which no SIGKILL ends
while the disks of the host write. Sockets are those that a network name space keeps in: vsock, by
which a virtual machine talks to its host, is not.
"""

import errno
import platform
import socket
import struct

# Audit architecture, and the numbers of the refused calls, from the kernel's tables.
TABLES = {
  "x86_64": (
    0xC000003E,
    {
      "shmget": 29,
      "socket": 41,
      "clone": 56,
      "semget": 64,
      "msgget": 68,
      "ptrace": 101,
      "pivot_root": 155,
      "chroot": 161,
      "sync": 162,
      "mount": 165,
      "umount2": 166,
      "add_key": 248,
      "request_key": 249,
      "keyctl": 250,
      "unshare": 272,
      "perf_event_open": 298,
      "syncfs": 306,
      "setns": 308,
      "process_vm_readv": 310,
      "process_vm_writev": 311,
      "memfd_create": 319,
      "bpf": 321,
      "userfaultfd": 323,
    },
  ),
  "aarch64": (
    0xC00000B7,
    {
      "umount2": 39,
      "mount": 40,
      "pivot_root": 41,
      "chroot": 51,
      "sync": 81,
      "unshare": 97,
      "ptrace": 117,
      "msgget": 186,
      "semget": 190,
      "shmget": 194,
      "socket": 198,
      "add_key": 217,
      "request_key": 218,
      "keyctl": 219,
      "clone": 220,
      "perf_event_open": 241,
      "syncfs": 267,
      "setns": 268,
      "process_vm_readv": 270,
      "process_vm_writev": 271,
      "memfd_create": 279,
      "bpf": 280,
      "userfaultfd": 282,
    },
  ),
}
# Above this number both machines count alike: io_uring, the new mount calls, pidfd_getfd, ...
CLONE3 = 435
SAME_ON_ALL = {
  "io_uring_setup": 425,
  "open_tree": 428,
  "move_mount": 429,
  "fsopen": 430,
  "fsmount": 432,
  "pidfd_getfd": 438,
  "mount_setattr": 442,
  "memfd_secret": 447,
}
X32 = 0x40000000  # the bit of the second call table of x86_64
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag that clone takes

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF operation codes
NUMBER, ARCHITECTURE, ARGUMENT_0 = 0, 4, 16  # offsets in struct seccomp_data, little endian
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000  # REFUSE | errno


def program() -> bytes:
  """The filter for this machine, as bwrap --seccomp reads it; ValueError for an unknown one."""
  machine = platform.machine()
  if machine not in TABLES:
    raise ValueError(
      f"machine {machine!r} given; the sandbox's system call filter knows {', '.join(TABLES)}: add "
      "its table to TABLES"
    )
  architecture, numbers = TABLES[machine]
  refused = (numbers | SAME_ON_ALL).copy()
  clone, sockets = refused.pop("clone"), refused.pop("socket")
  return b"".join(
    (
      _step(LOAD, ARCHITECTURE),
      _step(EQUAL, architecture, yes=1),
      _step(RETURN, KILL),
      _step(LOAD, NUMBER),
      _step(AT_LEAST, X32, no=1),
      _step(RETURN, KILL),
      # clone3 hides its flags behind a pointer; without it the C library falls back to clone.
      _step(EQUAL, CLONE3, no=1),
      _step(RETURN, REFUSE | errno.ENOSYS),
      *(
        _step(EQUAL, number, no=1) + _step(RETURN, REFUSE | errno.EPERM)
        for number in sorted(refused.values())
      ),
      _step(EQUAL, clone, no=4),
      _step(LOAD, ARGUMENT_0),
      _step(ANY_BIT, NEW_NAMESPACES, no=1),
      _step(RETURN, REFUSE | errno.EPERM),
      _step(RETURN, ALLOW),
      _step(EQUAL, sockets, no=2 + len(FAMILIES)),
      _step(LOAD, ARGUMENT_0),
      *(_step(EQUAL, family, yes=len(FAMILIES) - i) for i, family in enumerate(FAMILIES)),
      _step(RETURN, REFUSE | errno.EAFNOSUPPORT),
      _step(RETURN, ALLOW),
    )
  )


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
  """One struct sock_filter; yes and no are the steps skipped after a test."""
  return struct.pack("=HBBI", code, yes, no, value)
