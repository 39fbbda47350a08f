import os
import sys
import time

import pytest

from r1.rewards.sandbox import process
from tests.rewards.sandbox import isolation


def bwrap_of_paper(script: str):
  """A command in bwrap's place, which tells its number and then does what the script says."""
  start = (
    "import json, os\ndef tell(**said): os.write({}, json.dumps(said).encode() + b'\\n')\n"
    "tell(**{{'child-pid': os.getpid()}})\ndef leave(code): tell(**{{'exit-code': code}})\n"
  )
  return lambda status_fd: [sys.executable, "-IS", "-c", start.format(status_fd) + script]


def run(script: str):
  with open(os.devnull) as nothing:
    return process.run(bwrap_of_paper(script), nothing.fileno(), (), isolation.LIMITS)


@pytest.mark.parametrize(
  ("said", "status", "exit_code"),
  [
    (0, "ok", 0),
    (1, "failed", 1),
    (128, "failed", 128),
    (128 + 11, "failed", -11),
    (128 + 24, "timeout", -24),  # SIGXCPU
    (255, "failed", 255),
  ],
)
def test_the_exit_code_is_what_bubblewrap_reports(said, status, exit_code):
  done = run(f"leave({said})")
  assert (done.status, done.exit_code) == (status, exit_code)


def test_without_an_exit_code_the_run_is_lost_and_says_why():
  done = run("import sys; sys.exit('bwrap: setting up uid map: Permission denied')")
  assert (done.status, done.exit_code) == ("lost", None)
  assert b"setting up uid map" in done.stderr


@pytest.mark.parametrize(
  ("words", "status"),
  [
    (b"Traceback (most recent call last):\nMemoryError\n", "memory"),
    (b"terminate called after throwing an instance of 'std::bad_alloc'", "memory"),
    (b"NotAMemoryError", "failed"),
    (b"MemoryError\n" + b"x" * 5000, "failed"),
  ],
)
def test_a_runtimes_last_words_tell_that_memory_ran_out(words, status):
  done = run(f"os.write(2, {words!r}); leave(1)")
  assert done.status == status


def test_a_program_that_closes_its_output_is_still_waited_for():
  done = run("import time; os.closerange(1, 3); time.sleep(0.3); leave(0)")
  assert done.status == "ok"
  assert done.seconds >= 0.3


def test_a_stuck_start_ends_at_the_wall_limit():
  begin = time.monotonic()
  assert run("import time; time.sleep(60)").status == "timeout"
  assert time.monotonic() - begin < isolation.LIMITS.wall_s + 2


def test_what_cannot_be_started_is_an_os_error():
  with open(os.devnull) as nothing, pytest.raises(FileNotFoundError):
    process.run(lambda _: ["/no/such/bwrap"], nothing.fileno(), (), isolation.LIMITS)


def test_no_descriptor_is_left_open_however_it_ends():
  before = sorted(os.listdir("/proc/self/fd"))
  run("leave(0)")
  run("print('x' * 10**6)")
  with open(os.devnull) as nothing, pytest.raises(FileNotFoundError):
    process.run(lambda _: ["/no/such/bwrap"], nothing.fileno(), (), isolation.LIMITS)
  assert sorted(os.listdir("/proc/self/fd")) == before
