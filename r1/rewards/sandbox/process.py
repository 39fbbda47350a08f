"""One bubblewrap process: started, read, and killed with all that is inside when its time is up."""

import contextlib
import dataclasses
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from r1.rewards.sandbox import bubblewrap, memory, program

CHUNK = 1 << 16  # bytes a read
LAST_WORDS = 4096  # bytes at the end of stderr, where a runtime says that memory ran out
OUT_OF_MEMORY = re.compile(rb"(?m)^MemoryError\b|std::bad_alloc|[Cc]annot allocate memory")
WATCH_S = 0.1  # between two looks at the memory of all processes together
GONE_S = 10.0  # for the kernel to take a killed sandbox down; longer means that it is stuck


@dataclasses.dataclass(frozen=True)
class _Live:
  """A started sandbox: what it has said so far, by pipe, and a handle on its first process."""

  process: subprocess.Popen
  pipes: dict[int, str]  # descriptor to "stdout", "stderr" or "status"
  said: dict[str, bytearray]
  init: dict[int, int]  # process 1 inside: its number here and a pidfd, once bubblewrap tells


def run(
  argv: Callable[[int], list[str]],
  stdin: int,
  fds: Sequence[int],
  limits: program.Limits,
) -> program.Run:
  """Runs argv(status_fd), a bwrap command line, and returns when nothing of it is left.

  OSError if it cannot even be started: no memory, too many processes or descriptors.
  """
  begin = time.monotonic()
  with _started(argv, stdin, fds) as live:
    try:
      cause = _read(live, limits, begin + limits.wall_s)
    finally:
      gone = _kill(live)
  said = {name: bytes(content) for name, content in live.said.items()}
  seconds = time.monotonic() - begin
  exit_code = None if cause else _exit_code(said["status"])
  if not gone:
    return program.lost(
      f"process {live.process.pid} of bwrap was killed {GONE_S} s ago and still is"
    )
  return program.Run(
    status=cause or _status(exit_code, said["stderr"], seconds, limits),
    exit_code=exit_code,
    stdout=said["stdout"],
    stderr=said["stderr"],
    seconds=seconds,
  )


@contextlib.contextmanager
def _started(argv: Callable[[int], list[str]], stdin: int, fds: Sequence[int]) -> Iterator[_Live]:
  with contextlib.ExitStack() as stack:
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    try:
      process = subprocess.Popen(
        argv(writer),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        env={"PATH": bubblewrap.PATH},
        pass_fds=(writer, *fds),
        start_new_session=True,  # Ctrl-C in a terminal is for us alone
      )
    finally:
      os.close(writer)
    stack.enter_context(process)
    assert process.stdout
    assert process.stderr
    pipes = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr", reader: "status"}
    init: dict[int, int] = {}
    stack.callback(lambda: [os.close(handle) for handle in init.values()])
    yield _Live(process, pipes, {name: bytearray() for name in pipes.values()}, init)


def _read(live: _Live, limits: program.Limits, deadline: float) -> str | None:
  """Reads until every pipe has ended; the status to report if it had to stop before that."""
  with selectors.DefaultSelector() as selector:
    for descriptor in live.pipes:
      selector.register(descriptor, selectors.EVENT_READ)
    look = time.monotonic() + WATCH_S
    while selector.get_map():
      now = time.monotonic()
      if now >= deadline:
        return "timeout"
      if now >= look:
        if any(memory.exceeds(pid, limits.memory_bytes) for pid in live.init):
          return "memory"
        look = time.monotonic() + WATCH_S
      for key, _ in selector.select(min(deadline, look) - now):
        chunk, name = os.read(key.fd, CHUNK), live.pipes[key.fd]
        if not chunk:
          selector.unregister(key.fd)
        live.said[name] += chunk
        if name == "status":
          _note_init(live)
        elif len(live.said[name]) > limits.output_bytes:
          del live.said[name][limits.output_bytes :]
          return "output"
  return None


def _note_init(live: _Live):
  """Takes hold of process 1 inside as soon as bubblewrap has told its number outside."""
  first, told, _ = live.said["status"].partition(b"\n")
  if told and not live.init:
    with contextlib.suppress(ProcessLookupError):  # over already
      pid = json.loads(first)["child-pid"]
      live.init[pid] = os.pidfd_open(pid)


def _kill(live: _Live) -> bool:
  """Kills the sandbox; True once its whole process name space is empty.

  The death of process 1 is the death of all: the kernel kills the others first.
  """
  live.process.kill()
  with contextlib.suppress(ProcessLookupError):
    for handle in live.init.values():
      signal.pidfd_send_signal(handle, signal.SIGKILL)
  live.process.wait()
  with selectors.DefaultSelector() as selector:
    for handle in live.init.values():
      selector.register(handle, selectors.EVENT_READ)
    return not live.init or bool(selector.select(GONE_S))


def _exit_code(status: bytes) -> int | None:
  """What bubblewrap reports; it writes a signal as 128 + number, as shells do."""
  for line in status.splitlines():
    code = json.loads(line).get("exit-code")
    if code is not None:
      return 128 - code if 128 < code <= 128 + signal.NSIG else code
  return None


def _status(exit_code: int | None, stderr: bytes, seconds: float, limits: program.Limits) -> str:
  if exit_code is None:
    return "lost"
  if exit_code == 0:
    return "ok"
  used_up = exit_code == -signal.SIGKILL and seconds >= limits.cpu_s
  if exit_code == -signal.SIGXCPU or used_up:
    return "timeout"
  return "memory" if OUT_OF_MEMORY.search(stderr[-LAST_WORDS:]) else "failed"
