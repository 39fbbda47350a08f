"""The open sandbox: a few lanes that run programs side by side, each run isolated on its own."""

import concurrent.futures
import contextlib
import dataclasses
import errno
import fcntl
import os
import queue
import socket
from collections.abc import Iterator, Mapping, Sequence

from r1.rewards.sandbox import bubblewrap, check, process, program, seccomp

COMPILE = f"g++ -std=c++17 -O2 -o /tmp/built {program.SOURCES['cpp']} && cat /tmp/built"
# A compiler's appetite, which says nothing of the program's.
BUILD_MEMORY, BUILD_DISK, BUILD_OUTPUT, BUILD_PROCESSES = 4 << 30, 256 << 20, 64 << 20, 64

# Uids that Debian and systemd leave alone, one for each lane of every sandbox on the machine.
LANE_UIDS = range(60706, 61184)


class Lanes:
  """Runs batches of programs, as many at once as it has lanes; safe to share among threads."""

  def __init__(self, identities: Sequence[int | None], python: str):
    self._python = python
    self._filter = seccomp.program()
    self._idle: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for uid in identities:
      self._idle.put(uid)
    self._pool = concurrent.futures.ThreadPoolExecutor(len(identities), "sandbox")

  def run(self, programs: Sequence[program.Program]) -> list[program.Result]:
    """One result for each program, in order."""
    return list(self._pool.map(self._run, programs))

  def close(self):
    """Waits for what is running, which its limits bound; what has not begun is dropped."""
    self._pool.shutdown(wait=True, cancel_futures=True)

  def _run(self, given: program.Program) -> program.Result:
    uid = self._idle.get()
    try:
      return self._build_and_run(given, uid)
    finally:
      self._idle.put(uid)

  def _build_and_run(self, given: program.Program, uid: int | None) -> program.Result:
    """Compiles where the language asks for it; the binary comes back as output, not as a file."""
    files = {path: (content, "0666") for path, content in given.files.items()}
    source = given.code.encode("utf-8", "surrogatepass")
    name = program.SOURCES[given.language]
    files = {path: (content, "0666") for path, content in given.files.items()}
    build = None
    match given.language:
      case "python":
        command = [self._python, "-B", name]
      case "bash":
        command = ["bash", name]
      case _:
        command, limits = [f"./{program.BINARY}"], _build_limits(given.limits)
        sources = files | {name: (source, "0644")}
        build = self._isolated(["bash", "-c", COMPILE], b"", sources, limits, uid)
        files[program.BINARY] = (build.stdout, "0755")
        build = dataclasses.replace(build, stdout=b"")
    files.setdefault(name, (source, "0644"))
    if build and build.status != "ok":
      return program.Result(build=build, runs=())
    runs = []
    for stdin in given.stdins:
      runs.append(self._isolated(command, stdin, files, given.limits, uid))
      if given.until_failure and runs[-1].status != "ok":
        break
    return program.Result(build=build, runs=tuple(runs))

  def _isolated(
    self,
    command: list[str],
    stdin: bytes,
    files: Mapping[str, tuple[bytes, str]],
    limits: program.Limits,
    uid: int | None,
  ) -> program.Run:
    """One process in a sandbox of its own; what the machine refuses us is a lost run."""
    try:
      return self._start(command, stdin, files, limits, uid)
    except OSError as error:
      return program.lost(f"the sandbox did not start: {error}")

  def _start(self, command, stdin, files, limits, uid) -> program.Run:
    with contextlib.ExitStack() as stack:
      handed = {
        path: (stack.enter_context(_in_memory(content)), len(content), mode)
        for path, (content, mode) in files.items()
      }
      rules = stack.enter_context(_in_memory(self._filter))

      def argv(status_fd: int) -> list[str]:
        return bubblewrap.argv(
          command,
          limits,
          files=handed,
          python=self._python,
          uid=uid,
          status_fd=status_fd,
          seccomp_fd=rules,
        )

      passed = (rules, *(descriptor for descriptor, _, _ in handed.values()))
      return process.run(argv, stack.enter_context(_in_memory(stdin)), passed, limits)


@contextlib.contextmanager
def open(lanes: int, python: str = bubblewrap.PYTHON) -> Iterator[Lanes]:
  """A sandbox with so many lanes, proven to isolate before it is handed out (see check.prove).

  python is the interpreter that programs run with; of a virtual environment its packages too.
  """
  with contextlib.ExitStack() as stack:
    check.find_executables(python)
    box = Lanes(stack.enter_context(_identities(lanes)), python)
    stack.callback(box.close)
    check.prove(box.run)
    yield box


@contextlib.contextmanager
def _identities(lanes: int) -> Iterator[list[int | None]]:
  """A uid for each lane: None, our own, for an ordinary user, and for root unused ones.

  A name that one process at a time can bind keeps two sandboxes of root off each other's uids.
  """
  if os.geteuid() != 0:
    yield [None] * lanes
    return
  with contextlib.ExitStack() as stack:
    taken: list[int | None] = []
    for uid in LANE_UIDS:
      if len(taken) == lanes:
        break
      lock = stack.enter_context(socket.socket(socket.AF_UNIX))
      try:
        lock.bind(f"\0r1-sandbox-uid-{uid}")
      except OSError as error:
        if error.errno != errno.EADDRINUSE:
          raise
      else:
        taken.append(uid)
    if len(taken) < lanes:
      raise ValueError(f"{lanes} lanes given and {len(taken)} uids are free; open fewer lanes")
    yield taken


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
  """A descriptor of a file in memory that nobody can change any more, at its start."""
  descriptor = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
  try:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
      file.write(content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    os.lseek(descriptor, 0, os.SEEK_SET)
    yield descriptor
  finally:
    os.close(descriptor)


def _build_limits(limits: program.Limits) -> program.Limits:
  """For a compiler, whose appetite says nothing of the program's."""
  return program.Limits(
    wall_s=limits.build_s,
    build_s=limits.build_s,
    cpu_s=limits.build_s,
    memory_bytes=BUILD_MEMORY,
    disk_bytes=BUILD_DISK,
    output_bytes=BUILD_OUTPUT,
    processes=BUILD_PROCESSES,
  )
