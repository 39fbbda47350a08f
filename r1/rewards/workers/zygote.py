"""A clean process that forks workers: `python -m r1.rewards.workers.zygote FD WORK MEMORY WARM`.

Forking a process that holds JAX's threads is unsafe, and starting Python anew for every killed
worker costs a second of imports. So one small process imports the work once and forks on demand.
It talks over the socket FD, one message at a time; its end closes with that of its parent.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import connection

FORK, REAP = b"f", b"r"
DONE, RAISED, MEMORY = "done", "raised", "memory"
PR_SET_PDEATHSIG = 1
NUMBER_BYTES = 8  # of a pid or an exit code


def find(work: str) -> Callable:
  """The function behind "package.module:function"."""
  module_name, _, name = work.partition(":")
  return getattr(importlib.import_module(module_name), name)


def serve(work: Callable, channel: connection.Connection) -> None:
  """Answers jobs until the channel closes: JSON arguments in, [how it ended, value] out."""
  while True:
    try:
      arguments = json.loads(channel.recv_bytes())
    except (EOFError, ConnectionError):
      return
    try:
      answer = [DONE, work(*arguments)]
    except MemoryError:
      answer = [MEMORY, None]
    except Exception as error:  # any class may come out of a parser; it is reported, not hidden
      answer = [RAISED, f"{type(error).__name__}: {error}"[:500]]
    channel.send_bytes(json.dumps(answer).encode())


def main(fd: int, work_name: str, memory_bytes: int, warm: list) -> None:
  """Imports the work, tries it on the warm arguments, then forks and reaps on demand."""
  control = socket.socket(fileno=fd)
  work = find(work_name)
  for arguments in warm:
    work(*arguments)
  control.sendall(DONE.encode())
  me = os.getpid()
  while True:
    message, fds, _, _ = socket.recv_fds(control, 1 + NUMBER_BYTES, 1)
    if not message:
      return
    if message[:1] == FORK:
      pid = os.fork()
      if not pid:
        _become_worker(control, work, fds[0], memory_bytes, me)
      os.close(fds[0])
      control.sendall(pid.to_bytes(NUMBER_BYTES, "big"))
    else:
      _, status = os.waitpid(int.from_bytes(message[1:], "big"), 0)
      control.sendall(os.waitstatus_to_exitcode(status).to_bytes(NUMBER_BYTES, "big", signed=True))


def _become_worker(control: socket.socket, work: Callable, fd: int, memory: int, zygote: int):
  """The forked child: dies with the zygote, within its memory, and never returns."""
  try:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != zygote:
      return
    control.close()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(work, connection.Connection(fd))
  except Exception as error:  # to the run's own stderr; the parent sees the worker go
    traceback.print_exception(error)
  finally:
    os._exit(0)


if __name__ == "__main__":
  main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
