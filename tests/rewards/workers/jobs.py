"""What the workers of the tests do: good, slow, greedy and deadly jobs."""

import os
import signal
import time


def do(action: str, value=None):
  if action == "sleep":
    time.sleep(value)
  elif action == "spin":  # in C, and deaf to every signal that can be ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    pow(7, 10**value)
  elif action == "eat":
    return len(b"x" * value)
  elif action == "raise":
    raise KeyError(value)
  elif action == "die":
    os.kill(os.getpid(), value)
  elif action == "exit":
    os._exit(value)
  elif action == "pid":
    return os.getpid()
  return value
