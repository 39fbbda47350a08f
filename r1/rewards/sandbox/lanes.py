"""The open sandbox: a few lanes that run programs side by side, each run isolated on its own."""

import concurrent.futures
import contextlib
import errno
import os
import queue
import socket
from collections.abc import Iterator, Sequence

from r1.rewards.sandbox import bubblewrap, check, isolate, program

# Uids that Debian and systemd leave alone, one for each lane of every sandbox on the machine.
LANE_UIDS = range(60706, 61184)


class Lanes:
  """Runs batches of programs, as many at once as it has lanes; safe to share among threads."""

  def __init__(self, identities: Sequence[int | None], python: str):
    self._python = python
    self._idle: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for uid in identities:
      self._idle.put(uid)
    self._pool = concurrent.futures.ThreadPoolExecutor(len(identities), "sandbox")

  def run(self, programs: Sequence[program.Program]) -> list[program.Result]:
    """One result for each program, in order; RuntimeError where a compiler is missing."""
    check.find_compiler({given.language for given in programs})
    return list(self._pool.map(self._run, programs))

  def close(self):
    """Waits for what is running, which its limits bound; what has not begun is dropped."""
    self._pool.shutdown(wait=True, cancel_futures=True)

  def _run(self, given: program.Program) -> program.Result:
    uid = self._idle.get()
    try:
      return isolate.execute(given, uid, self._python)
    finally:
      self._idle.put(uid)


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
