"""Which programs are run in which order, and what comes of how they end: no sandbox needed."""

import json

import pytest

from r1.data import questions
from r1.rewards.code import cases, steps
from r1.rewards.sandbox import program

LIMITS = program.Limits(
  wall_s=1, build_s=1, cpu_s=1, memory_bytes=1, disk_bytes=1, output_bytes=1, processes=1
)


def job(*tests, thorough=False, plan=(), **meta):
  question = questions.Question(id="q", prompt="?", kind="code", tests=tests, meta=meta)
  suite = cases.read(question)
  return steps.Job(code="", suite=suite, limits=LIMITS, thorough=thorough, plan=plan)


def ended(status="ok", stdout=b"", stderr=b""):
  return program.Run(status=status, exit_code=0, stdout=stdout, stderr=stderr, seconds=0.1)


def played(job, runs):
  """(outcomes, the stdins of every program); each run ends like the next one of those given."""
  runs, stdins, talk = iter(runs), [], steps.run(job)
  given = next(talk)
  while True:
    stdins.append(given.stdins)
    done = []
    while len(done) < len(given.stdins) and not (
      given.until_failure and done and done[-1].status != "ok"
    ):
      done.append(next(runs))
    result = program.Result(build=None, runs=tuple(done))
    try:
      given = talk.send(result)
    except StopIteration as done:
      assert next(runs, None) is None
      return done.value, stdins


def stdio(count):
  return [{"input": f"{i}", "output": f"{i}"} for i in range(count)]


def test_tests_are_run_in_growing_blocks():
  outcomes, stdins = played(job(*stdio(20)), [ended(stdout=b"%d" % i) for i in range(20)])
  assert outcomes == ["right"] * 20
  assert [len(block) for block in stdins] == [1, 2, 4, 8, 5]


def test_the_first_failure_ends_it():
  outcomes, stdins = played(job(*stdio(20)), [ended(stdout=b"no")])
  assert (outcomes, stdins) == (["wrong"], [(b"0",)])


def test_every_test_is_run_where_each_counts_and_where_the_program_is_built():
  runs = [ended(stdout=b"0")] * 3
  outcomes, stdins = played(job(*stdio(3), thorough=True), runs)
  assert (outcomes, len(stdins)) == (["right", "wrong", "wrong"], 1)
  _, stdins = played(job(*stdio(3), language="cpp"), runs)
  assert len(stdins) == 1


def test_what_a_late_run_kept_from_being_run_is_run_after_its_second_chance():
  first = [ended(stdout=b"0"), ended("timeout")]
  rest = [ended(stdout=b"1"), ended(stdout=b"2"), ended(stdout=b"3")]
  outcomes, stdins = played(job(*stdio(4)), first + rest)
  assert outcomes == ["right"] * 4
  assert stdins == [(b"0",), (b"1", b"2"), (b"1",), (b"2", b"3")]


def test_a_sandbox_that_runs_nothing_decides_nothing():
  talk = steps.run(job(*stdio(1)))
  next(talk)
  with pytest.raises(StopIteration) as done:
    talk.send(program.Result(build=None, runs=()))
  assert done.value.value == ["no_verdict"]


@pytest.mark.parametrize(
  ("runs", "outcome"),
  [
    ([ended("timeout"), ended("timeout")], "timeout"),
    ([ended("timeout"), ended(stdout=b"0")], "right"),  # alone it is fast enough
    ([ended("timeout"), ended("lost")], "no_verdict"),
    ([ended("failed", stdout=b"0")], "wrong"),
    ([ended("memory", stdout=b"0")], "wrong"),
    ([ended("output", stdout=b"0")], "wrong"),
    ([ended("lost")], "no_verdict"),
    ([ended("failed", stderr=b"...\nValueError: no\n")], "wrong"),
    ([ended("failed", stderr=b"...\nSyntaxError: no\n")], "crashed"),
    ([ended("failed", stderr=b"IndentationError: no")], "crashed"),
  ],
)
def test_how_a_run_ends(runs, outcome):
  assert played(job(*stdio(1)), runs)[0] == [outcome]


def test_a_build_that_fails_is_a_crash_and_one_that_is_lost_is_not():
  for status, outcome in (("failed", "crashed"), ("timeout", "crashed"), ("lost", "no_verdict")):
    talk = steps.run(job(*stdio(2), language="cpp"))
    next(talk)
    with pytest.raises(StopIteration) as done:
      talk.send(program.Result(build=ended(status), runs=()))
    assert done.value.value == [outcome]


@pytest.mark.parametrize(
  ("status", "outcome"), [("failed", "timeout"), ("timeout", "timeout"), ("lost", "no_verdict")]
)
def test_a_source_that_builds_but_once_stays_a_timeout(status, outcome):
  """__TIME__ lets a source choose when it compiles: that must not make its timeout our fault."""
  talk = steps.run(job(*stdio(1), language="cpp"))
  next(talk)
  talk.send(program.Result(build=ended(), runs=(ended("timeout"),)))
  with pytest.raises(StopIteration) as done:
    talk.send(program.Result(build=ended(status), runs=()))
  assert done.value.value == [outcome]


def said(*values):
  """What a player prints that answers the calls 0, 1, ... with these values; None is left out."""
  lines = [json.dumps({"id": f"{i}", "value": v}) for i, v in enumerate(values) if v is not None]
  return "\n".join(["true", *lines, ""]).encode()


CALLS = [{"input": [i], "output": i * 10, "fn_name": "f"} for i in range(3)]


def test_all_calls_share_a_process():
  outcomes, stdins = played(job(*CALLS), [ended(stdout=said(0, 10, 21))])
  assert outcomes == ["right", "right", "wrong"]
  assert len(stdins) == 1


def test_the_call_that_ends_the_process_is_tried_alone_and_the_others_go_on():
  runs = [
    ended("failed", stdout=said(0)),
    ended("failed", stdout=said()),
    ended(stdout=said(None, None, 20)),
  ]
  outcomes, stdins = played(job(*CALLS, thorough=True), runs)
  assert outcomes == ["right", "wrong", "right"]
  assert [len(json.loads(given[0])["calls"]) for given in stdins] == [3, 1, 1]


def test_a_call_that_is_fast_enough_alone_is_right():
  runs = [
    ended("timeout", stdout=said(0)),
    ended(stdout=said(None, 10)),
    ended(stdout=said(None, None, 20)),
  ]
  assert played(job(*CALLS), runs)[0] == ["right"] * 3


def test_a_second_timeout_ends_it_where_all_must_pass():
  runs = [ended("timeout", stdout=said(0)), ended("timeout", stdout=said())]
  assert played(job(*CALLS), runs)[0] == ["right", "timeout", "timeout"]


def test_code_that_does_not_load_is_not_tried_again():
  runs = [ended("failed", stderr=b"SyntaxError: no")]
  assert played(job(*CALLS, thorough=True), runs)[0] == ["crashed"] * 3
  assert played(job(*CALLS), [ended(stdout=b"")])[0] == ["wrong"] * 3  # sys.exit(0) on loading


TEST = {"assert": "assert f(1)"}
PENDING = {"status": "pending", "calls": [{"id": "0"}], "text": ""}


def ruling(status, *ids):
  return json.dumps([{"status": status, "calls": [{"id": i} for i in ids], "text": ""}]).encode()


@pytest.mark.parametrize(
  ("judged", "outcome"),
  [
    (ended(stdout=ruling("passed", "0")), "right"),
    (ended(stdout=ruling("failed", "0")), "wrong"),
    (ended(stdout=ruling("foreign", "0")), "wrong"),
    (ended("timeout"), "wrong"),
    (ended("lost"), "no_verdict"),
  ],
)
def test_what_the_judge_says_counts(judged, outcome):
  assert played(job(TEST, plan=[PENDING]), [ended(stdout=said(1)), judged])[0] == [outcome]


def test_a_judge_that_needs_more_is_told_more():
  runs = [ended(stdout=said(1)), ended(stdout=ruling("pending", "0", "1"))]
  runs += [ended(stdout=said(1, 2)), ended(stdout=ruling("passed", "0", "1"))]
  outcomes, stdins = played(job(TEST, plan=[PENDING]), runs)
  assert outcomes == ["right"]
  assert [answer["value"] for answer in json.loads(stdins[3][0])["answers"]] == [1, 2]


def test_answers_that_keep_a_test_open_for_ever_are_a_timeout():
  runs = [ended(stdout=said(1)), ended(stdout=ruling("pending", "0"))] * steps.PASSES
  assert played(job(TEST, plan=[PENDING]), runs)[0] == ["timeout"]


def test_a_sandbox_that_always_loses_the_player_decides_nothing():
  runs = [ended("lost"), ended(stdout=ruling("failed", "0"))] * steps.PASSES
  assert played(job(TEST, plan=[PENDING]), runs)[0] == ["no_verdict"]


def test_a_lost_call_tells_how_it_was_lost():
  runs = [ended("timeout", stdout=said()), ended("timeout", stdout=said())]
  runs += [ended(stdout=ruling("failed", "0"))]
  assert played(job(TEST, plan=[PENDING]), runs)[0] == ["timeout"]
