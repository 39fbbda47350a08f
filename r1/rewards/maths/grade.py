"""Accuracy reward of mathematics: the answer's place, an exact fast path, then math-verify.

Most answers are decided by comparing texts and exact numbers. The others go to worker processes
that are killed at their limit; guards refuse the hostile ones before.
"""

import collections
from collections.abc import Sequence

from r1.data import responses
from r1.rewards import verdict
from r1.rewards.maths import extract, guard, numbers, spelling, symbolic
from r1.rewards.workers import pool

WORK = f"{symbolic.__name__}:{symbolic.compare.__name__}"
REMEMBERED = 20_000  # verdicts kept, of (gold, answer)
WRONG, RIGHT = verdict.Score(0.0, "wrong"), verdict.Score(1.0, "right")
UNPARSED, UNKNOWN = verdict.Score(0.0, "unparsed"), verdict.Score(0.0, "no_verdict")
OF_STATUS = {"timeout": "timeout", "crashed": "crashed", "memory": "crashed", "raised": "crashed"}


def quick(gold: str, answer: str) -> bool | None:
  """Equality where it can be told without algebra, else None.

  Texts in one spelling, and numbers exactly. p% is p, never p/100. A unit may be left out; two
  different ones are unequal. A number with a base as its subscript equals only itself.
  """
  gold, answer = spelling.canonical(gold), spelling.canonical(answer)
  if not gold or not answer or gold == answer:
    return bool(gold) and gold == answer
  (gold, gold_unit), (answer, unit) = spelling.split_unit(gold), spelling.split_unit(answer)
  if gold_unit and unit and gold_unit != unit:
    return False
  if gold == answer:
    return True
  if numbers.base(gold) or numbers.base(answer):
    return numbers.base(gold) == numbers.base(answer)
  wanted, given = numbers.read(gold), numbers.read(answer)
  return numbers.same(wanted, given) if wanted and given else None


class Grader:
  """Grades batches; holds the workers and what they said before. close() ends the workers."""

  def __init__(self, cfg: pool.PoolConfig, *, guarded: bool = True):
    self._pool = pool.Pool(cfg)
    self._guarded = guarded
    self._said: collections.OrderedDict[tuple, pool.Outcome] = collections.OrderedDict()

  def close(self) -> None:
    self._pool.close()

  def equal(
    self,
    pairs: Sequence[tuple[str, str]],
    *,
    free: bool = False,
    kinds: Sequence[str] = symbolic.KINDS,
    places: int = symbolic.PLACES,
  ) -> list[pool.Outcome]:
    """Whether each answer equals its gold: done with True, False, or None for unreadable gold.

    Gold comes first: the comparison is not symmetric. free, kinds, places: symbolic.compare.
    """
    known: dict[tuple, pool.Outcome] = {}
    for gold, answer in set(pairs):
      key = (gold, answer, free, tuple(kinds), places)
      said = quick(gold, answer) if places == symbolic.PLACES else None
      if said is not None:
        known[key] = pool.Outcome("done", said)
      elif self._refuses(answer, free):
        known[key] = pool.Outcome("refused", guard.costly(answer))
      elif key in self._said:
        self._said.move_to_end(key)
        known[key] = self._said[key]
    keys = [(gold, answer, free, tuple(kinds), places) for gold, answer in pairs]
    asked = [key for key in dict.fromkeys(keys) if key not in known]
    fresh = dict(zip(asked, self._pool.run(asked)))
    self._remember(fresh)
    return [known.get(key) or fresh[key] for key in keys]

  def _refuses(self, answer: str, free: bool) -> bool:
    """Texts are searched, so only bare formulas are looked at when free."""
    bare = not free or symbolic.is_formula(answer)
    return self._guarded and bare and bool(guard.costly(answer))

  def _remember(self, fresh: dict[tuple, pool.Outcome]) -> None:
    """Keeps what holds at any time: a worker that was lost says nothing of the answer."""
    self._said.update((k, v) for k, v in fresh.items() if v.status != "lost")
    while len(self._said) > REMEMBERED:
      self._said.popitem(last=False)

  def readable(self, golds: Sequence[str]) -> list[bool]:
    """Can each gold answer be compared with anything but itself?"""
    outcomes = self.equal([(gold, "0") for gold in golds])
    fine = lambda gold, outcome: outcome.status == "done" and outcome.value is not None
    return [
      fine(gold, outcome) and not (self._guarded and guard.costly(gold))
      for gold, outcome in zip(golds, outcomes)
    ]

  def grade(
    self, questions: Sequence, answers: Sequence[responses.Response], mode: str
  ) -> list[verdict.Score]:
    """1 where the extracted answer equals the gold one, else 0 (arXiv 2501.12948 §2.2.2).

    Unparsed: no answer where the mode wants it, or one that a guard refuses to read. Missing or
    unreadable gold, and a worker that was lost, are ours: no_verdict.
    """
    said = [extract.extract(answer.text, mode) for answer in answers]
    scores = [_before(question.answer, text) for question, text in zip(questions, said)]
    open_rows = [i for i, score in enumerate(scores) if score is None]
    pairs = [(questions[i].answer, said[i]) for i in open_rows]
    for i, outcome in zip(open_rows, self.equal(pairs)):
      scores[i] = _score(outcome)
    return [score or UNKNOWN for score in scores]


def _before(gold: str | None, answer: str | None) -> verdict.Score | None:
  """The score where nothing needs to be compared, else None."""
  if not (gold or "").strip():
    return UNKNOWN
  if answer is None:
    return UNPARSED
  plain, said = spelling.canonical(gold), spelling.canonical(answer)
  value, _ = spelling.split_unit(plain)
  if plain != said and guard.evasive(plain, said, numbers.read(value) is not None):
    # A fraction is worked out; everything else with an operator is not.
    return None if numbers.read(spelling.split_unit(said)[0]) else WRONG
  return None


def _score(outcome: pool.Outcome) -> verdict.Score:
  if outcome.status == "done":
    return UNKNOWN if outcome.value is None else RIGHT if outcome.value else WRONG
  if outcome.status == "refused":
    return UNPARSED
  return verdict.Score(0.0, OF_STATUS.get(outcome.status, "no_verdict"))
