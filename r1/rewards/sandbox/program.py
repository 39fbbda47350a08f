"""What runs in a sandbox, and what came of it: records only."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping

LANGUAGES = ("python", "cpp", "bash")

# Where a program stands in its working directory; a compiled one has its binary there too.
SOURCES = {"python": "program.py", "cpp": "program.cpp", "bash": "program.sh"}
BINARY = "program"

# ok: ended by itself with exit code 0. failed: any other exit code, or killed by a signal of its
# own making. The limits have their own names, since a grader may treat them apart.
STATUSES = ("ok", "failed", "timeout", "memory", "output", "lost")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What one run may use, the building of its program apart (that has build_s)."""

  wall_s: float  # seconds by the clock, enforced from outside with SIGKILL
  build_s: float  # seconds by the clock for a compiler
  cpu_s: float  # seconds of processor time
  memory_bytes: int  # address space of each process, and what all of them hold together
  disk_bytes: int  # everything it writes, in a file system of its own in memory
  output_bytes: int  # of stdout and of stderr; more ends the run
  processes: int  # alive at once, threads included

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if not (math.isfinite(value) and value > 0):
        raise ValueError(f"limit {name}={value} given; use a finite number above 0")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """One source text, run once for each stdin, every run in a process of its own."""

  code: str
  language: str  # one of LANGUAGES
  stdins: tuple[bytes, ...]
  files: Mapping[str, bytes]  # by relative path, laid into the working directory before the runs
  limits: Limits
  until_failure: bool = False  # the first run that is not ok is the last: the rest costs only time

  def __post_init__(self):
    if self.language not in LANGUAGES:
      raise ValueError(f"language {self.language!r} given; use one of {', '.join(LANGUAGES)}")
    taken = {BINARY, *SOURCES.values()}
    for path in self.files:
      parts = pathlib.PurePosixPath(path).parts
      if not parts or path.startswith("/") or path.endswith("/") or {"..", "\0"} & {*parts, *path}:
        raise ValueError(f"file {path!r} given; name it by a relative path below the program")
      if parts[0] in taken:
        raise ValueError(f"file {path!r} given; {parts[0]!r} is where the program itself stands")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One process: how it ended and what it wrote, cut at the limit."""

  status: str  # one of STATUSES; lost means a fault of ours, never of the program
  exit_code: int | None  # negative: the signal that killed it; None where there was no exit
  stdout: bytes
  stderr: bytes
  seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
  """The build, where the language has one, and a run for each stdin, in order.

  There is none after a failed build, and with until_failure none after a failed run.
  """

  build: Run | None
  runs: tuple[Run, ...]


def lost(reason: str) -> Run:
  """A run that says nothing of the program; the reason stands where its stderr would."""
  return Run(status="lost", exit_code=None, stdout=b"", stderr=reason.encode(), seconds=0.0)
