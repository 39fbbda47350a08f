"""Accuracy of programs: right if every test passes, in a sandbox that never sees what is expected.

A program that raises, leaves early or breaks a limit on a test fails that test: wrong. Crashed is
a program that cannot run at all: a syntax error, or a build that fails. Timeout means that the
limit was hit a second time, in a run of its own. Where the sandbox lost a run there is no verdict,
unless another test has failed and all must pass.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence

from r1.data import responses
from r1.rewards import verdict
from r1.rewards.code import cases, extract, runs, steps
from r1.rewards.sandbox import program

CREDITS = ("all", "fraction")

# The method `run` of an open sandbox, local or remote.
Box = Callable[[Sequence[program.Program]], list[program.Result]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CodeConfig:
  """How code is graded."""

  credit: str  # "all": 1 if every test passes, else 0; "fraction": the share that passes
  limits: program.Limits  # of one run; a question may have its own

  def __post_init__(self):
    if self.credit not in CREDITS:
      raise ValueError(f"credit {self.credit!r} given; use one of {', '.join(CREDITS)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grade:
  """A score and what it rests on."""

  score: verdict.Score
  outcomes: tuple[str, ...]  # of the tests in order, as far as they were run
  note: str  # why there is no verdict


def grade(
  pairs: Sequence[tuple[object, responses.Response]], cfg: CodeConfig, run: Box
) -> list[Grade]:
  """One grade for each (question, response), in order; tests that cannot be read raise ValueError.

  All are run side by side, round by round, so that the lanes of a sandbox are kept busy.
  """
  suites = [cases.read(question) for question, _ in pairs]
  codes = [extract.code(r.text, s.language) for (_, r), s in zip(pairs, suites)]
  return score(list(zip(codes, suites)), cfg, run)


def score(
  given: Sequence[tuple[str | None, cases.Suite]], cfg: CodeConfig, run: Box
) -> list[Grade]:
  """One grade for each (code, suite); no code is unparsed."""
  plans = plan([suite for code, suite in given if code is not None], run)
  grades: list[Grade | None] = []
  jobs: dict[int, steps.Job] = {}
  for i, (code, suite) in enumerate(given):
    ready = plans.get(_text(suite), [])
    if code is None:
      grades.append(_grade("unparsed", [], 1, cfg))
    elif isinstance(ready, str):
      grades.append(_grade(steps.LOST, [], 1, cfg, ready))
    else:
      limits = dataclasses.replace(cfg.limits, **suite.limits)
      thorough = cfg.credit == "fraction"
      jobs[i] = steps.Job(code=code, suite=suite, limits=limits, thorough=thorough, plan=ready)
      grades.append(None)
  for i, outcomes in drive(jobs, run).items():
    tests = len(given[i][1].tests)
    failed = [outcome for outcome in outcomes if outcome != steps.PASSED]
    assert failed or len(outcomes) == tests, "a program is right if every test was run"
    decided = [outcome for outcome in failed if outcome != steps.LOST]
    grades[i] = _grade((decided or failed or [steps.PASSED])[0], outcomes, tests, cfg)
  return [g for g in grades if g is not None]


def _grade(said: str, outcomes: Sequence[str], tests: int, cfg: CodeConfig, note="") -> Grade:
  """The grade for a verdict: 1 for right, else nothing or the share of the tests that passed."""
  share = outcomes.count(steps.PASSED) / tests if outcomes else 0.0
  if steps.LOST in outcomes and cfg.credit == "fraction":
    said = steps.LOST
  value = share if cfg.credit == "fraction" and said != steps.LOST else float(said == steps.PASSED)
  note = note or ("the sandbox lost a run" if said == steps.LOST else "")
  return Grade(score=verdict.Score(value, said), outcomes=tuple(outcomes), note=note)


def drive(jobs: dict[int, steps.Job], run: Box) -> dict[int, list[str]]:
  """The outcomes of every job: each round runs the next program of all that are not done."""
  outcomes: dict[int, list[str]] = {}
  begun = {key: steps.run(job) for key, job in jobs.items()}
  wanted = {key: next(job) for key, job in begun.items()}
  while wanted:
    results = dict(zip(wanted, run(list(wanted.values()))))
    wanted = {}
    for key, result in results.items():
      try:
        wanted[key] = begun[key].send(result)
      except StopIteration as done:
        outcomes[key] = done.value
  return outcomes


def plan(suites: Sequence[cases.Suite], run: Box) -> dict[str, list[dict] | str]:
  """A judge's first rulings, with the calls that the tests make; a text says why there are none.

  Nothing of a model's is run here, so what goes wrong is the fault of the tests.
  """
  texts = {_text(suite): suite for suite in suites if suite.kind == cases.ASSERT}
  judges = [runs.judge([t["assert"] for t in suite.tests], []) for suite in texts.values()]
  results = run(judges) if judges else []
  return {key: _planned(result) for key, result in zip(texts, results)}


def _planned(result: program.Result) -> list[dict] | str:
  rulings = runs.rulings(result)
  if rulings is None:
    last = result.runs[0].stderr.decode(errors="replace").rstrip().rpartition("\n")[2]
    return f"the tests did not end: {result.runs[0].status} {last[:200]}"
  foreign = [ruling["text"] for ruling in rulings if ruling["status"] == "foreign"]
  return f"a test cannot be kept apart from the code: {foreign[0]}" if foreign else rulings


def _text(suite: cases.Suite) -> str:
  return json.dumps([suite.kind, *suite.tests]) if suite.kind == cases.ASSERT else ""


def faults(questions: Sequence, run: Box) -> dict[str, str]:
  """What keeps questions of kind code from being graded as they should, by id.

  Beside tests that cannot be read or run, those that pass or fail on their own.
  """
  found, suites = {}, {}
  for question in questions:
    try:
      suites[question.id] = cases.read(question)
    except ValueError as error:
      found[question.id] = str(error)
  plans = plan(list(suites.values()), run)
  for key, suite in suites.items():
    ready = plans.get(_text(suite), [])
    if isinstance(ready, str):
      found[key] = ready
      continue
    for number, ruling in enumerate(ready, 1):
      if ruling["status"] != "pending":
        found[key] = f"test {number} {ruling['status']} without the code {ruling['text']}"
  return found
