"""How much memory a tree of processes holds together, which no resource limit bounds.

RLIMIT_AS binds each process by itself, so sixteen children may hold sixteen times as much.
"""

import contextlib
import os
import pathlib
import re

PAGE = os.sysconf("SC_PAGESIZE")
SHARE = re.compile(rb"(?m)^Pss:\s+(\d+) kB")


def exceeds(root: int, limit_bytes: int) -> bool:
  """True if the process root and all below it hold more than the limit.

  The sum of resident pages counts a shared page once for each sharer: quick, and never too low.
  Only where it is too high are the exact shares asked for, which costs a walk of all mappings.
  """
  pids = tree(root)
  if sum(map(_resident, pids)) <= limit_bytes:
    return False
  return sum(map(_share, pids)) > limit_bytes


def tree(root: int) -> list[int]:
  """The process and its descendants; one that ends meanwhile may be missing."""
  pids = [root]
  for pid in pids:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
      for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        pids += map(int, (task / "children").read_text(encoding="ascii").split())
  return pids


def _resident(pid: int) -> int:
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * PAGE
  return 0


def _share(pid: int) -> int:
  """Resident bytes, each page divided by its sharers; undivided where a process hides them."""
  try:
    found = SHARE.search(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_bytes())
  except (FileNotFoundError, ProcessLookupError):
    return 0
  except PermissionError:  # it has called prctl(PR_SET_DUMPABLE, 0)
    return _resident(pid)
  return int(found[1]) << 10 if found else 0
