"""A pool of worker processes whose every job ends: by an answer, or by SIGKILL at its limit.

Nothing here depends on signals to this process or on its main thread, so a pool works from any
thread (math-verify's own alarm raises there, Math-Verify #11, #50) and a long call into C that
would hold off an alarm is killed all the same.
"""

import collections
import dataclasses
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

from r1.rewards.workers import zygote

START_S = 60  # for the imports of the zygote
LEAST_MEMORY = 1 << 27
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
# Share of the limit that a job must have spent on a processor to be at fault itself; with less
# it may have been starved by others, and is run again alone.
BUSY = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoolConfig:
  """What runs and within what: every number is per worker."""

  work: str  # "package.module:function", called with the arguments of a job; JSON in and out
  warm: tuple  # arguments of calls made once before forking, so that caches are filled
  workers: int
  seconds: float  # by the clock, for one job
  memory_bytes: int  # address space
  jobs: int  # after so many a worker is replaced, since parsers keep what they have seen

  def __post_init__(self):
    if self.workers < 1 or self.jobs < 1 or not 0 < self.seconds < float("inf"):
      raise ValueError(
        f"workers={self.workers}, jobs={self.jobs}, seconds={self.seconds} given; use at least one"
        " worker, one job and a limit above 0"
      )
    if self.memory_bytes < LEAST_MEMORY:
      raise ValueError(
        f"memory_bytes={self.memory_bytes} given; below {LEAST_MEMORY} the imports alone do not"
        " fit, and every job would crash"
      )


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a job ended: done (with its value), raised, memory, timeout, crashed or lost.

  lost: the worker went away by no fault of the job (killed from outside). crashed: it went away
  by itself, twice.
  """

  status: str
  value: Any = None


@dataclasses.dataclass
class _Worker:
  pid: int
  parent: subprocess.Popen | None  # the zygote that reaps it
  channel: connection.Connection
  jobs: int = 0
  job: int = -1
  deadline: float = 0.0
  cpu_s: float = 0.0  # spent before this job


class Pool:
  """Workers that are started by the first batch; close() or a with statement ends them."""

  def __init__(self, cfg: PoolConfig):
    self.cfg = cfg
    self._lock = threading.Lock()
    self._zygote: subprocess.Popen | None = None
    self._control: socket.socket | None = None
    self._idle: list[_Worker] = []

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def run(self, jobs: Sequence[Sequence]) -> list[Outcome]:
    """The outcome of work(*job) for every job, in order; one batch at a time."""
    with self._lock:
      outcomes: list[Outcome | None] = [None] * len(jobs)
      try:
        again = self._batch(jobs, range(len(jobs)), outcomes, self.cfg.workers)
        for index in again:
          for still in self._batch(jobs, [index], outcomes, 1):
            outcomes[still] = Outcome("crashed")
      except BaseException:
        self._drop()  # an answer of the zygote may be unread, and would be taken for the next one
        raise
      return [outcome or Outcome("lost") for outcome in outcomes]

  def close(self) -> None:
    """Kills every worker and the zygote; a later batch starts them anew."""
    with self._lock:
      self._stop()

  def _batch(self, jobs, indices, outcomes, workers: int) -> list[int]:
    """Fills outcomes; returns the jobs to be run again alone."""
    waiting, again = collections.deque(indices), []
    busy: dict[Any, _Worker] = {}
    while waiting or busy:
      while waiting and len(busy) < workers:
        worker = self._idle.pop() if self._idle else self._fork()
        if self._give(worker, waiting[0], jobs[waiting[0]]):
          busy[worker.channel] = worker
          waiting.popleft()
        elif not worker.jobs:  # a new one that does not even take its job
          outcomes[waiting.popleft()] = Outcome("lost")
      if not busy:
        continue
      first = min(worker.deadline for worker in busy.values())
      for channel in connection.wait(list(busy), max(0.0, first - time.monotonic())):
        worker = busy.pop(channel)
        self._take(worker, outcomes, again, alone=workers == 1)
      now = time.monotonic()
      for worker in [worker for worker in busy.values() if worker.deadline <= now]:
        del busy[worker.channel]
        starved = workers > 1 and _cpu_s(worker.pid) - worker.cpu_s < BUSY * self.cfg.seconds
        self._end(worker)
        if starved:
          again.append(worker.job)
        else:
          outcomes[worker.job] = Outcome("timeout")
    return again

  def _give(self, worker: _Worker, index: int, job: Sequence) -> bool:
    """Hands a job to a worker; False, and the worker is gone, where it died while idle."""
    worker.job, worker.cpu_s = index, _cpu_s(worker.pid)
    try:
      worker.channel.send_bytes(json.dumps(list(job)).encode())
    except OSError:
      self._end(worker)
      return False
    worker.jobs += 1
    worker.deadline = time.monotonic() + self.cfg.seconds
    return True

  def _take(self, worker: _Worker, outcomes, again: list[int], alone: bool) -> None:
    """Reads an answer, or finds out how the worker died."""
    try:
      status, value = json.loads(worker.channel.recv_bytes())
    except (EOFError, OSError):
      code = self._end(worker)
      if code in (-signal.SIGKILL, -signal.SIGTERM, None):
        outcomes[worker.job] = Outcome("lost")
      elif alone:
        outcomes[worker.job] = Outcome("crashed", code)
      else:
        again.append(worker.job)
      return
    outcomes[worker.job] = Outcome(status, value)
    if worker.jobs < self.cfg.jobs and status != zygote.MEMORY:
      self._idle.append(worker)
    else:
      self._end(worker)

  def _end(self, worker: _Worker) -> int | None:
    """Kills and reaps a worker; its exit code if it was dead already, None if unknown.

    The zygote reaps only when told to, so the pid cannot have gone to another process.
    """
    worker.channel.close()
    try:
      if worker.parent is not self._zygote or not self._is_up():
        raise ProcessLookupError(worker.pid)  # it went with its zygote
      os.kill(worker.pid, signal.SIGKILL)
      answer = self._ask(zygote.REAP + worker.pid.to_bytes(zygote.NUMBER_BYTES, "big"), [])
    except OSError:
      answer = b""
    if not answer:
      if worker.parent is self._zygote:
        self._stop()
      return None
    return int.from_bytes(answer, "big", signed=True)

  def _fork(self) -> _Worker:
    for _ in range(2):
      if not self._is_up():
        self._stop()
        self._start()
      ours, theirs = socket.socketpair()
      # A worker that stands still must not hold us up in the middle of a message.
      patience = struct.pack("ll", *_whole(self.cfg.seconds))
      ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
      ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
      with ours, theirs:
        try:
          told = self._ask(zygote.FORK + bytes(zygote.NUMBER_BYTES), [theirs.fileno()])
          pid = int.from_bytes(told, "big")
        except OSError:
          pid = 0
        if pid:
          return _Worker(pid, self._zygote, connection.Connection(ours.detach()))
      self._stop()
    raise RuntimeError(f"no worker for {self.cfg.work} could be forked, twice; see stderr")

  def _is_up(self) -> bool:
    return self._zygote is not None and self._zygote.poll() is None

  def _ask(self, message: bytes, fds: list[int]) -> bytes:
    """What the zygote answers; b"" where it dies of it, OSError where it is gone."""
    if self._control is None:
      raise OSError("the zygote is gone")
    socket.send_fds(self._control, [message], fds)
    return self._control.recv(zygote.NUMBER_BYTES)

  def _start(self) -> None:
    ours, theirs = socket.socketpair()
    arguments = [str(theirs.fileno()), self.cfg.work, str(self.cfg.memory_bytes)]
    warm = json.dumps(self.cfg.warm)
    self._zygote = subprocess.Popen(
      [sys.executable, "-m", zygote.__name__, *arguments, warm],
      pass_fds=[theirs.fileno()],
      stdin=subprocess.DEVNULL,
      env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
      start_new_session=True,  # a ^C in the terminal is for the run, which ends its workers itself
    )
    theirs.close()
    ours.settimeout(START_S)
    self._control = ours
    try:
      ready = ours.recv(len(zygote.DONE))
    except OSError:  # it hangs in an import
      ready = b""
    if not ready:
      self._drop()
      raise RuntimeError(f"the process that forks workers for {self.cfg.work} did not start")

  def _stop(self) -> None:
    """Ends the workers that wait and the zygote; with it (PR_SET_PDEATHSIG) go all others."""
    idle, self._idle = self._idle, []
    for worker in idle:
      self._end(worker)
    self._drop()

  def _drop(self) -> None:
    """Ends the zygote without a word to it, and so all workers."""
    for worker in self._idle:
      worker.channel.close()
    self._idle = []
    if self._zygote is not None:
      self._zygote.kill()
      self._zygote.wait()
    if self._control is not None:
      self._control.close()
    self._zygote, self._control = None, None


def _whole(seconds: float) -> tuple[int, int]:
  """Seconds and microseconds, as a socket's timeout wants them."""
  return int(seconds), int(seconds % 1 * 1e6)


def _cpu_s(pid: int) -> float:
  """Processor seconds of a process so far; 0 where it is gone or not told."""
  try:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
  except OSError:
    return 0.0
  return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
