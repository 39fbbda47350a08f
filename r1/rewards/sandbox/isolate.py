"""One program, built and run: each of its processes in a sandbox of its own, used once."""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator, Mapping

from r1.rewards.sandbox import bubblewrap, process, program, seccomp

COMPILE = f"g++ -std=c++17 -O2 -o /tmp/built {program.SOURCES['cpp']} && cat /tmp/built"
# A compiler's appetite, which says nothing of the program's.
BUILD_MEMORY, BUILD_DISK, BUILD_OUTPUT, BUILD_PROCESSES = 4 << 30, 256 << 20, 64 << 20, 64

Files = Mapping[str, tuple[bytes, str]]  # content and octal mode by path in the working directory


def execute(given: program.Program, uid: int | None, python: str) -> program.Result:
  """The program's build and runs, as uid (None: as ourselves) and with that interpreter."""
  name = program.SOURCES[given.language]
  files = {path: (content, "0666") for path, content in given.files.items()}
  files[name] = (given.code.encode("utf-8", "surrogatepass"), "0644")
  build = None
  match given.language:
    case "python":
      command = [python, "-B", name]
    case "bash":
      command = ["bash", name]
    case _:  # the binary comes back as output, so that it never lies on the host's disk
      compiler = ["bash", "-c", COMPILE]
      build = _run(compiler, b"", files, _build_limits(given.limits), uid, python)
      command, files[program.BINARY] = [f"./{program.BINARY}"], (build.stdout, "0755")
      build = dataclasses.replace(build, stdout=b"")
  runs = []
  for stdin in given.stdins if build is None or build.status == "ok" else ():
    runs.append(_run(command, stdin, files, given.limits, uid, python))
    if given.until_failure and runs[-1].status != "ok":
      break
  return program.Result(build=build, runs=tuple(runs))


def _run(
  command: list[str],
  stdin: bytes,
  files: Files,
  limits: program.Limits,
  uid: int | None,
  python: str,
) -> program.Run:
  """One process in a new sandbox; what the machine refuses us is a lost run."""
  with contextlib.ExitStack() as stack:
    try:
      rules, source = (stack.enter_context(_in_memory(b)) for b in (seccomp.program(), stdin))
      handed = {
        path: (stack.enter_context(_in_memory(content)), len(content), mode)
        for path, (content, mode) in files.items()
      }

      def argv(status_fd: int) -> list[str]:
        return bubblewrap.argv(
          command,
          limits,
          files=handed,
          python=python,
          uid=uid,
          status_fd=status_fd,
          seccomp_fd=rules,
        )

      passed = (rules, *(descriptor for descriptor, _, _ in handed.values()))
      return process.run(argv, source, passed, limits)
    except OSError as error:
      return program.lost(f"the sandbox did not start: {error}")


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
  return program.Limits(
    wall_s=limits.build_s,
    build_s=limits.build_s,
    cpu_s=limits.build_s,
    memory_bytes=BUILD_MEMORY,
    disk_bytes=BUILD_DISK,
    output_bytes=BUILD_OUTPUT,
    processes=BUILD_PROCESSES,
  )
