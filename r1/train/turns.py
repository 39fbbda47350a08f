"""Turns of programs that are timed side by side, of which only one may be at work.

The standard library alone: programs without `r1`'s dependencies take turns too.
"""

import sys
import time

TURN = "turn"  # the line by which a program says that it stands still


def take(taken: bool) -> float:
  """Waits for this program's turn, where turns are taken, and returns when it began, in seconds.

  The program says that it stands still and reads a line, which whoever gives the turns writes.
  Raises EOFError where nobody is left to write.
  """
  if taken:
    print(TURN, flush=True)
    if not sys.stdin.readline():
      raise EOFError("the program that gives the turns has ended")
  return time.perf_counter()
