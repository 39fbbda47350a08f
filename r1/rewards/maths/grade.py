"""Accuracy reward of mathematics: the answer's place, an exact fast path, then math-verify.

Most answers are decided by comparing texts and exact numbers. The others go to worker processes
that are killed at their limit; guards refuse the hostile ones before.
"""

import collections
from collections.abc import Sequence

from r1.data import responses
from r1.rewards import verdict
from r1.rewards.maths import extract, guard, latex, numbers, symbolic, units
from r1.rewards.workers import pool

WORK = f"{symbolic.__name__}:{symbolic.compare.__name__}"
REMEMBERED = 20_000  # verdicts kept, of (gold, answer)
# Of a worker's end: what the answer caused, and what nobody can blame on it.
OF_STATUS = {"timeout": "timeout", "crashed": "crashed", "memory": "crashed", "raised": "crashed"}


def quick(gold: str, answer: str) -> str | None:
  """The verdict where it can be told without algebra, else None.

  Texts in one spelling, and numbers exactly. p% is p, never p/100. A unit may be left out; two
  different ones are unequal, and so are 8 million and 8. A number with a base as its subscript
  equals only itself.
  """
  if max(len(gold), len(answer)) > guard.LONGEST:
    return "right" if gold.strip() == answer.strip() else None
  gold, answer = latex.canonical(gold), latex.canonical(answer)
  if not gold or not answer or gold == answer:
    return _said(bool(gold) and gold == answer)
  (gold, gold_unit), (answer, unit) = units.split(gold), units.split(answer)
  if (gold_unit and unit and gold_unit != unit) or units.scales(gold) != units.scales(answer):
    return "wrong"
  if gold == answer:
    return "right"
  wanted, given = numbers.read(gold), numbers.read(answer)
  if wanted and given:
    return _said(numbers.same(wanted, given))
  based = numbers.base(gold), numbers.base(answer)
  # One with a base beside one without: math-verify would drop the subscript.
  return _said(based[0] == based[1]) if (based[0] or wanted) and (based[1] or given) else None


def _said(equal: bool) -> str:
  return "right" if equal else "wrong"


def dodges(gold: str, answer: str) -> bool:
  """Does the answer leave the question open (guard.evasive)? A worked-out fraction does not."""
  if max(len(gold), len(answer)) > guard.LONGEST:
    return False
  gold, answer = latex.canonical(gold), latex.canonical(answer)
  if gold == answer or numbers.read(units.split(answer)[0]):
    return False
  return bool(guard.evasive(gold, answer))


class Grader:
  """Grades batches; holds the workers, and what they said before. close() ends the workers.

  guarded: refuse costly answers unread. Without, only the workers' limits stand; for tests.
  """

  def __init__(self, cfg: pool.PoolConfig, *, guarded: bool = True):
    self._pool = pool.Pool(cfg)
    self._guarded = guarded
    self._remembered: collections.OrderedDict[tuple, str] = collections.OrderedDict()

  def close(self) -> None:
    self._pool.close()

  def compare(
    self,
    pairs: Sequence[tuple[str, str]],
    *,
    free: bool = False,
    kinds: Sequence[str] = symbolic.KINDS,
    places: int = symbolic.PLACES,
  ) -> list[str]:
    """The verdict on each (gold, answer); the comparison is not symmetric, so gold comes first.

    free, kinds, places: as in symbolic.compare.
    """
    keys = [(gold, answer, free, tuple(kinds), places) for gold, answer in pairs]
    said = {key: known for key in dict.fromkeys(keys) if (known := self._known(key))}
    asked = [key for key in dict.fromkeys(keys) if key not in said]
    for key, outcome in zip(asked, self._pool.run(asked)):
      done = outcome.status == "done"
      said[key] = outcome.value if done else OF_STATUS.get(outcome.status, "no_verdict")
      if done or outcome.status in OF_STATUS:  # a lost worker says nothing of the answer
        self._remembered[key] = said[key]
    while len(self._remembered) > REMEMBERED:
      self._remembered.popitem(last=False)
    return [said[key] for key in keys]

  def _known(self, key: tuple) -> str | None:
    """The verdict without a worker, where there is one."""
    gold, answer, free, _, places = key
    said = quick(gold, answer) if places == symbolic.PLACES else None
    if said is None and self._refuses(answer, free):
      return "unparsed"
    return said or self._remembered.get(key)

  def _refuses(self, answer: str, free: bool) -> bool:
    """Texts are searched, so only bare formulas are looked at when free."""
    bare = not free or symbolic.is_formula(answer)
    return self._guarded and bare and bool(guard.costly(answer))

  def readable(self, golds: Sequence[str]) -> list[bool]:
    """Can each gold answer be compared with anything but itself?"""
    said = dict(zip(golds, self.compare([(gold, "0") for gold in golds])))
    refused = lambda gold: self._guarded and guard.costly(gold)
    bad = ("no_verdict", *OF_STATUS.values())
    return [
      bool(latex.canonical(gold)) and said[gold] not in bad and not refused(gold) for gold in golds
    ]

  def grade(
    self, questions: Sequence, answers: Sequence[responses.Response], mode: str
  ) -> list[verdict.Score]:
    """1 where the extracted answer equals the gold one, else 0 (arXiv 2501.12948 §2.2.2).

    Unparsed: no answer where the mode wants it, or one that a guard refuses to read. Missing or
    unreadable gold, and a worker that was lost, are ours: no_verdict.
    """
    found = [extract.extract(answer.text, mode) for answer in answers]
    rows = list(zip([(question.answer or "").strip() for question in questions], found))
    said = {
      i: "no_verdict" if not gold else "unparsed" if answer is None else "wrong"
      for i, (gold, answer) in enumerate(rows)
      if not gold or answer is None or dodges(gold, answer)
    }
    asked = {i: (gold, answer) for i, (gold, answer) in enumerate(rows) if answer and i not in said}
    said |= zip(asked, self.compare(list(asked.values())))
    return [verdict.Score(float(said[i] == "right"), said[i]) for i in range(len(rows))]
