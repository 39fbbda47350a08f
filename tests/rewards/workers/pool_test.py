"""Every job ends, whatever it does, and a batch loses only what it must."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from r1.rewards.workers import pool

WORK = "tests.rewards.workers.jobs:do"


def config(**changes):
  settings = {"workers": 2, "seconds": 0.5, "memory_bytes": 2**30, "jobs": 1_000}
  return pool.PoolConfig(work=WORK, warm=(("warm",),), **settings | changes)


@pytest.fixture
def workers():
  with pool.Pool(config()) as opened:
    yield opened


def statuses(outcomes):
  return [outcome.status for outcome in outcomes]


def below(pid: int) -> set[int]:
  """The children of a process."""
  listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
  return {int(child) for child in listed.split()}


def test_answers_come_in_the_order_of_the_jobs(workers):
  outcomes = workers.run([("sleep", 0.2), *(("say", n) for n in range(50))])
  assert [outcome.value for outcome in outcomes] == [0.2, *range(50)]
  assert set(statuses(outcomes)) == {"done"}
  assert workers.run([]) == []


def test_half_characters_and_megabytes_arrive_whole(workers):
  for value in ("\ud800\0é", "x" * 5_000_000, ["[", 1.5, None]):
    assert workers.run([("say", value)])[0].value == value


def test_a_long_call_in_c_that_no_signal_reaches_is_killed(workers):
  """An alarm waits for the next bytecode, so a power of 10^9 holds it off (Math-Verify #63)."""
  workers.run([("say", 0)])
  start = time.monotonic()
  outcomes = workers.run([("spin", 9), ("say", 1), ("spin", 9), ("say", 2)])
  assert statuses(outcomes) == ["timeout", "done", "timeout", "done"]
  assert time.monotonic() - start < 4


def test_a_job_that_had_no_processor_is_run_again_alone(workers):
  """A sleeper uses no time of its own, so the first timeout may be the machine's fault."""
  start = time.monotonic()
  assert statuses(workers.run([("sleep", 60), ("say", 1)])) == ["timeout", "done"]
  assert time.monotonic() - start > 2 * 0.5


def test_memory_exceptions_and_crashes_are_told_apart(workers):
  """They must not all become a silent 0 (verl #5635)."""
  jobs = [("eat", 2**31), ("raise", "x"), ("die", signal.SIGSEGV), ("exit", 3), ("say", 1)]
  outcomes = workers.run(jobs)
  assert statuses(outcomes) == ["memory", "raised", "crashed", "crashed", "done"]
  assert "KeyError: 'x'" in outcomes[1].value


def test_a_worker_killed_from_outside_costs_one_answer_and_the_next_batch_is_whole(workers):
  first = workers.run([("pid",)])[0].value
  threading.Timer(0.2, os.kill, (first, signal.SIGKILL)).start()
  jobs = [("sleep", 0.4), ("sleep", 0.4), *(("say", n) for n in range(9))]
  outcomes = workers.run(jobs)
  assert sorted(statuses(outcomes)) == ["done"] * 10 + ["lost"]
  assert set(statuses(workers.run(jobs))) == {"done"}


def test_killing_the_whole_pool_costs_only_what_was_running(workers):
  workers.run([("say", 0)])
  zygote = workers._zygote.pid

  def strike():
    for pid in (*below(zygote), zygote):
      os.kill(pid, signal.SIGKILL)

  threading.Timer(0.2, strike).start()
  jobs = [("sleep", 0.4), ("sleep", 0.4), *(("say", n) for n in range(9))]
  assert statuses(workers.run(jobs)) == ["lost"] * 2 + ["done"] * 9
  assert set(statuses(workers.run(jobs))) == {"done"}


def test_a_worker_that_dies_while_idle_costs_nothing(workers):
  first = workers.run([("pid",)])[0].value
  os.kill(first, signal.SIGKILL)
  time.sleep(0.1)
  assert set(statuses(workers.run([("say", n) for n in range(9)]))) == {"done"}


def test_a_stopped_worker_is_killed_at_the_limit(workers):
  first = workers.run([("pid",)])[0].value
  os.kill(first, signal.SIGSTOP)
  outcomes = workers.run([("say", "x" * 3_000_000), ("say", 1)])
  assert [outcome.status for outcome in outcomes] == ["done", "done"]
  assert not pathlib.Path(f"/proc/{first}").exists()


def test_workers_are_replaced_after_their_share_of_jobs():
  with pool.Pool(config(workers=1, jobs=3)) as workers:
    pids = [outcome.value for outcome in workers.run([("pid",)] * 7)]
  assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


def test_it_works_from_any_thread_and_from_several(workers):
  """math-verify's alarm raises off the main thread (Math-Verify #11, trl PR 5281)."""
  found = {}

  def ask(name):
    found[name] = statuses(workers.run([("spin", 9), *(("say", n) for n in range(20))]))

  threads = [threading.Thread(target=ask, args=(name,)) for name in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(30)
  assert list(found.values()) == [["timeout"] + ["done"] * 20] * 3


def test_closing_leaves_nothing_running_and_a_later_batch_starts_anew():
  workers = pool.Pool(config())
  pids = {outcome.value for outcome in workers.run([("pid",)] * 2)} | {workers._zygote.pid}
  workers.close()
  assert [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()] == []
  assert statuses(workers.run([("say", 1)])) == ["done"]
  workers.close()


def test_an_interrupt_leaves_nothing_running_and_the_next_batch_is_whole(workers, monkeypatch):
  """Between a question to the zygote and its answer, which the next one would have got."""
  workers.run([("say", 1)])
  zygote, ask = workers._zygote.pid, workers._ask

  def interrupted(*message):
    ask(*message)
    monkeypatch.undo()
    raise KeyboardInterrupt

  monkeypatch.setattr(workers, "_ask", interrupted)
  with pytest.raises(KeyboardInterrupt):
    workers.run([("sleep", 0.4), ("sleep", 0.4)])
  assert not pathlib.Path(f"/proc/{zygote}").exists()
  assert statuses(workers.run([("spin", 9), ("say", 1)])) == ["timeout", "done"]


def test_imports_that_hang_are_an_error_and_leave_nothing_running(monkeypatch):
  monkeypatch.setattr(pool, "START_S", 0.01)
  with pool.Pool(config()) as workers:
    for _ in range(2):
      with pytest.raises(RuntimeError, match="did not start"):
        workers.run([("say", 1)])
      assert workers._zygote is None


def test_a_killed_run_leaves_no_worker_behind():
  code = (
    "from r1.rewards.workers import pool\n"
    f"cfg = pool.PoolConfig(work={WORK!r}, warm=(), workers=2, seconds=60, memory_bytes=2**30,"
    " jobs=9)\n"
    "workers = pool.Pool(cfg)\n"
    "print(workers.run([('pid',)])[0].value, workers._zygote.pid, flush=True)\n"
    "workers.run([('spin', 9), ('spin', 9)])"
  )
  run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
  pids = [int(pid) for pid in run.stdout.readline().split()]
  time.sleep(0.3)
  pids += below(pids[1])
  run.kill()
  run.communicate()
  deadline = time.monotonic() + 5
  while left := [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]:
    assert time.monotonic() < deadline, left
    time.sleep(0.05)


def test_work_that_cannot_be_imported_is_an_error_not_a_verdict():
  with pool.Pool(config()) as workers:
    workers.cfg = pool.PoolConfig(
      work="no_such_module:f", warm=(), workers=1, seconds=1, memory_bytes=2**30, jobs=1
    )
    with pytest.raises(RuntimeError, match="no_such_module:f"):
      workers.run([("say", 1)])


@pytest.mark.parametrize(
  "changes", [{"workers": 0}, {"jobs": 0}, {"seconds": 0.0}, {"memory_bytes": 1 << 20}]
)
def test_settings_with_which_no_job_could_end_well_are_refused(changes):
  """No worker would be waited for for ever."""
  with pytest.raises(ValueError, match="given"):
    config(**changes)
