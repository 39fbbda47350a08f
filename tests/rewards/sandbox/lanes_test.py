import concurrent.futures
import dataclasses
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import threading
import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.rewards.sandbox import lanes, program
from tests.rewards.sandbox import isolation

ROOT = pathlib.Path(__file__).parents[3]
LIMITS = isolation.LIMITS
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(60)"

pytestmark = isolation.needs_bubblewrap


@pytest.fixture(scope="module")
def box():
  with lanes.open(2) as box:
    yield box


def test_results_keep_the_order_of_the_programs(box):
  waits = [0.4, 0.0, 0.2, 0.0, 0.1]
  code = "import time\nwait = float(input())\ntime.sleep(wait)\nprint(wait)"
  results = box.run([isolation.python(code, str(wait).encode()) for wait in waits])
  assert [float(result.runs[0].stdout) for result in results] == waits


def test_lanes_run_side_by_side(box):
  begin = time.monotonic()
  box.run([isolation.python("import time; time.sleep(1)")] * 2)
  assert time.monotonic() - begin < 1.9


def test_nothing_given_nothing_run(box):
  assert box.run([]) == []
  no_input = dataclasses.replace(isolation.python(""), stdins=())
  assert box.run([no_input])[0].runs == ()


def test_threads_share_a_box(box):
  """Each thread gets its own results, off the main thread too (a signal-based limit would not)."""
  code = "print(input())"

  def ask(number: int) -> list[bytes]:
    given = isolation.python(code, *(f"{number}-{n}".encode() for n in range(3)))
    return [run.stdout for run in box.run([given])[0].runs]

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(ask, range(8)))
  assert answers == [[f"{i}-{n}\n".encode() for n in range(3)] for i in range(8)]


def test_processes_of_one_lane_do_not_count_in_another(box):
  code = (
    "import os, time\n"
    "for _ in range(5):\n  if os.fork() == 0:\n    time.sleep(1)\n    os._exit(0)\n"
    "for _ in range(5): os.wait()\nprint('all')"
  )
  results = box.run([isolation.python(code)] * 4)
  assert [result.runs[0].stdout for result in results] == [b"all\n"] * 4


def test_two_boxes_share_no_uid():
  with lanes.open(2) as first, lanes.open(2) as second:
    code = "import os; print(os.getuid())"
    runs = [
      isolation.only(box, isolation.python(code)).stdout
      for box in (first, second)
      for _ in range(2)
    ]
  if os.geteuid() == 0:
    assert set(runs[:2]).isdisjoint(runs[2:])


def test_too_many_lanes_are_refused_with_what_to_do():
  if os.geteuid() != 0:
    pytest.skip("an ordinary user's lanes share his uid")
  with pytest.raises(
    ValueError, match=r"10000 lanes given and \d+ uids are free; open fewer lanes"
  ):
    lanes.open(10000).__enter__()


def test_a_killed_bwrap_loses_its_own_run_only(box):
  token = f"token-{secrets.token_hex(8)}"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    victim = isolation.python(SLEEPER, **{token: b""})
    batch = pool.submit(box.run, [victim, isolation.python("print(1)")])
    assert isolation.wait_until(lambda: len(isolation.alive(token)) >= 3)
    os.kill(min(map(int, isolation.alive(token))), signal.SIGKILL)
    lost, whole = (result.runs[0] for result in batch.result(10))
  assert (lost.status, lost.exit_code) == ("lost", None)
  assert whole.stdout == b"1\n"
  assert isolation.alive(token) == []
  assert isolation.only(box, isolation.python("print(2)")).stdout == b"2\n"


def test_the_death_of_the_parent_leaves_nothing():
  token = f"token-{secrets.token_hex(8)}"
  code = (
    "from r1.rewards.sandbox import lanes\nfrom tests.rewards.sandbox import isolation\n"
    f"with lanes.open(2) as box: box.run([isolation.python({SLEEPER!r}, **{{{token!r}: b''}})] * 2)"
  )
  with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
    assert isolation.wait_until(lambda: len(isolation.alive(token)) >= 6, 10.0)
    parent.kill()
  assert isolation.wait_until(lambda: not isolation.alive(token))


def test_closing_waits_and_then_refuses():
  with lanes.open(1) as box:
    seen = []
    given = isolation.python("import time; time.sleep(0.3); print('end')")
    thread = threading.Thread(target=lambda: seen.append(isolation.only(box, given)))
    thread.start()
    time.sleep(0.1)
  thread.join(5)
  assert seen[0].stdout == b"end\n"
  with pytest.raises(RuntimeError, match="after shutdown"):
    box.run([given])


HEALTH = (hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large)
CODES = strategies.one_of(
  strategies.text(max_size=200),
  strategies.binary(max_size=200).map(lambda b: b.decode("utf-8", "surrogateescape")),
  strategies.text(
    strategies.sampled_from("print(input())\n:[]{}'\"\\=+-*/ 0123456789abc\x00\ud800"), max_size=200
  ),
)


PROGRAMS = strategies.builds(
  lambda code, stdin, language: program.Program(
    code=code, language=language, stdins=(stdin,), files={}, limits=LIMITS
  ),
  CODES,
  strategies.binary(max_size=300),
  strategies.sampled_from(("python", "bash")),
)


@hypothesis.settings(max_examples=30, deadline=None, database=None, suppress_health_check=HEALTH)
@hypothesis.given(programs=strategies.lists(PROGRAMS, min_size=10, max_size=10))
def test_any_text_is_run_without_an_exception(box, programs):
  """300 programs, in batches of ten."""
  runs = [result.runs[0] for result in box.run(programs)]
  assert all(run.status in ("ok", "failed", "timeout", "memory", "output") for run in runs), runs


def test_many_small_programs_each_get_their_own_answer(box):
  programs = [isolation.python(f"print(int(input()) + {n})", b"1") for n in range(60)]
  results = box.run(programs)
  assert [int(result.runs[0].stdout) for result in results] == [n + 1 for n in range(60)]
