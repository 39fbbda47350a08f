"""What runs in a sandbox, and what came of it: records only."""

import dataclasses
from collections.abc import Mapping

LANGUAGES = ("python", "cpp", "bash")

# ok: ended by itself with exit code 0. failed: any other exit code, or killed by a signal of its
# own making. The limits have their own names, since a grader may treat them apart.
STATUSES = ("ok", "failed", "timeout", "memory", "output", "lost")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
  """What one run may use, the building of its program apart (that has build_s)."""

  wall_s: float  # seconds by the clock, enforced from outside with SIGKILL
  build_s: float  # seconds by the clock for a compiler
  cpu_s: float  # seconds of processor time
  memory_bytes: int  # address space of each process
  disk_bytes: int  # everything it writes, in a file system of its own in memory
  output_bytes: int  # of stdout and of stderr; more ends the run
  processes: int  # alive at once, threads included


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
  """One source text, run once for each stdin, every run in a process of its own."""

  code: str
  language: str  # one of LANGUAGES
  stdins: tuple[bytes, ...]
  files: Mapping[str, bytes]  # by relative path, laid into the working directory before the runs
  limits: Limits


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
  """The build, where the language has one, and a run for each stdin (none if the build failed)."""

  build: Run | None
  runs: tuple[Run, ...]
