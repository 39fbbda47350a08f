"""How the tests of each kind are run: coroutines that yield a program and are sent its result.

A coroutine ends with the outcomes of the tests in order, as far as they were run. Many of them
side by side keep the lanes of a sandbox busy (grade.drive).
"""

import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

from r1.rewards.code import cases, compare, runs, wire
from r1.rewards.sandbox import program

# Outcomes of a test; each is also the verdict where it is the first that is not PASSED.
PASSED, FAILED, TIMEOUT, CRASHED, LOST = "right", "wrong", "timeout", "crashed", "no_verdict"
BLOCKS = (1, 2, 4, 8)  # tests at once while one failure ends it all; the last size repeats
PASSES = 32  # of the judge, a few seconds; what the answers keep open for longer is a timeout
LOADING = ""  # the id under which it is told that the code did not load
BROKEN = ("SyntaxError", "IndentationError", "TabError")

T = TypeVar("T")
Talk = Generator[program.Program, program.Result, T]  # yields programs, is sent their results
Steps = Talk[list[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """One program and what it is tested with."""

  code: str
  suite: cases.Suite
  limits: program.Limits
  thorough: bool  # a failure does not end it
  plan: Sequence[dict]  # the judge's first rulings; empty unless the tests are Python code


def run(job: Job) -> Steps:
  """The steps for the kind of the tests."""
  return {cases.STDIO: printed, cases.CALL: returned, cases.ASSERT: asserted}[job.suite.kind](job)


# Programs that read and print -------------------------------------------------------------------


def printed(job: Job) -> Steps:
  """Runs the program on the inputs, a few at a time, and compares what it prints."""
  outcomes: list[str] = []
  todo, sizes = list(job.suite.tests), _sizes(job)
  while todo:
    tests = todo[: next(sizes)]
    result = yield _whole(job, tests)
    if result.build is not None and result.build.status != "ok":
      return [LOST if result.build.status == "lost" else CRASHED]
    for test, run in zip(tests, result.runs):
      if run.status == "timeout" and TIMEOUT not in outcomes:
        again = yield _whole(job, [test])
        if again.runs:
          run = again.runs[0]
        elif again.build is None or again.build.status == "lost":
          run = program.lost("there was no second run")
      outcomes.append(_printed(test, run))
      if not job.thorough and outcomes[-1] != PASSED:
        return outcomes
    if not result.runs:
      return [*outcomes, LOST]
    todo = todo[len(result.runs) :]  # a run that failed may have been the last of its block
  return outcomes


def _sizes(job: Job) -> Iterator[int]:
  """Tests at once: few, so that a wrong program is stopped early; all where it must be built."""
  if job.thorough or job.suite.language != "python":
    return itertools.repeat(len(job.suite.tests))
  return itertools.chain(BLOCKS, itertools.repeat(BLOCKS[-1]))


def _whole(job: Job, tests: Sequence[dict]) -> program.Program:
  return program.Program(
    code=job.code,
    language=job.suite.language,
    stdins=tuple(test["input"].encode() for test in tests),
    files={},
    limits=job.limits,
    until_failure=not job.thorough,
  )


def _printed(test: dict, run: program.Run) -> str:
  if run.status == "ok":
    same = compare.outputs(test["output"], run.stdout.decode(errors="replace"))
    return PASSED if same else FAILED
  return _ended(run)


def _ended(run: program.Run) -> str:
  """The outcome of a run that did not end well."""
  last = run.stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
  if run.status == "failed" and last.startswith(BROKEN):
    return CRASHED
  return {"timeout": TIMEOUT, "lost": LOST}.get(run.status, FAILED)


# Functions that return --------------------------------------------------------------------------


def returned(job: Job) -> Steps:
  """Calls the function with the arguments of each test and compares what it returns."""
  groups = [[_call(str(i), test)] for i, test in enumerate(job.suite.tests)]
  answers = yield from answered(job, groups)
  outcomes = []
  for number, test in enumerate(job.suite.tests):
    answer = answers.get(str(number), {})
    outcomes.append(answer["lost"] if "lost" in answer else _returned(test, answer))
  return outcomes


def _call(key: str, test: dict) -> dict:
  args, kwargs = wire.pack(test["input"]), wire.pack({})
  return {"id": key, "base": None, "name": test["fn_name"], "args": args, "kwargs": kwargs}


def _returned(test: dict, answer: dict) -> str:
  """The outcome of an answer; one that holds no plain value is wrong, whatever else it holds."""
  try:
    value = wire.unpack(answer["value"])
    return PASSED if compare.values(test["output"], value) else FAILED
  except (KeyError, ValueError, RecursionError):
    return FAILED


def answered(job: Job, groups: Sequence[Sequence[dict]]) -> Talk[dict[str, dict]]:
  """The answers, by id, to the calls of each group, which are those of one test.

  All groups share one process as long as it lives. The group that ends it is tried once more in
  a process of its own, and then has the answers {"lost": outcome}; the others go on without it.
  """
  answers: dict[str, dict] = {}
  todo, alone = list(groups), False
  while todo:
    batch, rest = (todo[:1], todo[1:]) if alone else (todo, [])
    calls = [call for group in batch for call in group]
    said = runs.answers((yield _player(job, calls)), calls)
    answers |= said.by_id
    undone = [g for g in batch if not said.loaded or {c["id"] for c in g} - said.by_id.keys()]
    unloadable = not said.loaded and said.run.status != "timeout"
    if undone and not alone and not unloadable:
      todo, alone = undone, True
      continue
    if undone:
      given_up = undone + rest if unloadable or not job.thorough else undone
      outcome = _ended(said.run)
      ids = [c["id"] for g in given_up for c in g] + ([] if said.loaded else [LOADING])
      answers |= {key: {"id": key, "lost": outcome} for key in ids if key not in answers}
      rest = [] if given_up != undone else rest
    todo, alone = rest, False
  return answers


def _player(job: Job, calls: Sequence[dict]) -> program.Program:
  return runs.player(job.code, job.suite.prelude, calls, job.limits)


# Python code that asserts -----------------------------------------------------------------------


def asserted(job: Job) -> Steps:
  """Has a judge evaluate the tests with the player's answers, until no answer is missing."""
  tests = [test["assert"] for test in job.suite.tests]
  rulings, outcomes = job.plan, [LOST] * len(tests)
  answers: dict[str, dict] = {}
  for _ in range(PASSES):
    asked = [r["calls"] for r, outcome in zip(rulings, outcomes) if outcome == LOST]
    answers |= yield from answered(job, asked)
    result = yield runs.judge(tests, list(answers.values()))
    fresh = runs.rulings(result)
    if fresh is None:
      return [LOST if result.runs[0].status == "lost" else FAILED]
    rulings = fresh
    outcomes = [_asserted(ruling, answers) for ruling in rulings]
    if LOST not in outcomes or (FAILED in outcomes and not job.thorough):
      return outcomes
  still = [ruling["status"] == "pending" for ruling in rulings]
  return [TIMEOUT if pending else outcome for pending, outcome in zip(still, outcomes)]


def _asserted(ruling: dict, answers: dict[str, dict]) -> str:
  ids = [LOADING, *(call["id"] for call in ruling["calls"])]
  lost = [answers[key]["lost"] for key in ids if "lost" in answers.get(key, {})]
  if LOADING in answers:
    return lost[0]
  if ruling["status"] in ("passed", "pending"):
    return PASSED if ruling["status"] == "passed" else LOST
  return lost[0] if lost else FAILED
