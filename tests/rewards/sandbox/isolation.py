"""What the tests of the sandbox share: limits, programs, and a search for what is left behind."""

import pathlib
import shutil
import time

import pytest

from r1.rewards.sandbox import program

LIMITS = program.Limits(
  wall_s=3.0,
  build_s=20.0,
  cpu_s=2.0,
  memory_bytes=256 << 20,
  disk_bytes=1 << 20,
  output_bytes=1 << 16,
  processes=8,
)

needs_bubblewrap = pytest.mark.skipif(
  shutil.which("bwrap") is None, reason="bubblewrap is not installed (apt-get install bubblewrap)"
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def python(code: str, *stdins: bytes, limits: program.Limits = LIMITS, **files: bytes):
  """A Python program with its inputs (one empty one unless given) and files."""
  return program.Program(
    code=code, language="python", stdins=stdins or (b"",), files=files, limits=limits
  )


def only(box, given: program.Program) -> program.Run:
  """Its only run."""
  (result,) = box.run([given])
  (run,) = result.runs
  return run


def alive(token: str) -> list[str]:
  """Processes that have the file of that name in their working directory, and their bwrap."""
  found = []
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      inside = (folder / "root/tmp/work" / token).exists()
      if inside or token.encode() in (folder / "cmdline").read_bytes():
        found.append(folder.name)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
      continue
  return found


def wait_until(condition, seconds: float = 5.0) -> bool:
  """Whether it came true in time."""
  end = time.monotonic() + seconds
  while not (held := condition()) and time.monotonic() < end:
    time.sleep(0.02)
  return bool(held)
