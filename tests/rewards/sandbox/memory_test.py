import os
import subprocess
import sys

from r1.rewards.sandbox import memory
from tests.rewards.sandbox import isolation

MB = 1 << 20
# A parent that holds 60 MB and three children that share it, until stdin ends.
SHARED = """
import os, sys
held = b"x" * (60 << 20)
for _ in range(3):
  if os.fork() == 0:
    break
print("up", flush=True)
sys.stdin.read()
"""


def start(code: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-IS", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
  )


def test_the_tree_holds_grandchildren():
  grandchild = "import os, sys\nos.fork() or os.fork()\nprint('up', flush=True)\nsys.stdin.read()"
  with start(grandchild) as process:
    assert isolation.wait_until(lambda: len(memory.tree(process.pid)) == 3)
    assert memory.tree(process.pid)[0] == process.pid


def test_what_children_share_counts_once():
  """Four processes with 60 MB each in sight hold 60 MB and their own 10, not 240."""
  with start(SHARED) as process:
    assert isolation.wait_until(lambda: len(memory.tree(process.pid)) == 4)
    assert memory.exceeds(process.pid, 60 * MB)
    assert not memory.exceeds(process.pid, 150 * MB)


def test_what_children_hold_each_is_added_up():
  own = SHARED.replace("print(", "held = bytearray(held)\nprint(")
  with start(own) as process:
    assert isolation.wait_until(lambda: len(memory.tree(process.pid)) == 4)
    assert isolation.wait_until(lambda: memory.exceeds(process.pid, 240 * MB))


def test_a_process_that_is_gone_holds_nothing():
  with start("") as process:
    process.communicate()
  assert not memory.exceeds(process.pid, 0)


def test_our_own_process_is_measured():
  assert memory.exceeds(os.getpid(), MB)
