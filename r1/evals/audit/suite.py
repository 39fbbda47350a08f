"""The face of a suite of recorded grader cases, and its count.

A suite is a file `<name>.jsonl` or `<name>.jsonl.gz`; its judge is a function from a row to a
Ruling. A row that encodes a choice of its project rather than a fact (a tolerance, an order, a
unit) is `policy`: the note says which choice was made here, and it counts neither way.
"""

import collections
import dataclasses
import statistics
from collections.abc import Sequence

OUTCOMES = ("agree", "false_pos", "false_neg", "policy", "skipped")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruling:
  """What our rules say of one row."""

  outcome: str  # one of OUTCOMES
  mode: str  # the rule or the extraction mode that was used
  note: str = ""  # the choice made, the reason of a skip, or the two values that differ


def compare(expected, said, mode: str) -> Ruling:
  """The ruling for two plain values; more said than expected is a false positive.

  False, None, 0 and "" are less than anything else; of two numbers the higher is more; of two
  other values that differ the row is a false positive, since something untrue was accepted.
  """
  if expected == said:
    return Ruling(outcome="agree", mode=mode)
  note = f"expected {expected!r:.200}, said {said!r:.200}"
  numbers = all(isinstance(value, (int, float)) for value in (expected, said))
  less = said < expected if numbers else not said
  return Ruling(outcome="false_neg" if less else "false_pos", mode=mode, note=note)


def reasons(rulings: Sequence[Ruling]) -> dict[tuple[str, str], int]:
  """How many rows were policy or skipped, by (outcome, note)."""
  told = [(r.outcome, r.note) for r in rulings if r.outcome in ("policy", "skipped")]
  return dict(collections.Counter(told))


def tally(rulings: Sequence[Ruling], seconds: Sequence[float]) -> dict[str, float]:
  """Rows, the count of every outcome, and the median time of a judged row in milliseconds."""
  counts = collections.Counter(ruling.outcome for ruling in rulings)
  times = [s for s, r in zip(seconds, rulings) if r.outcome != "skipped"]
  median = 1e3 * statistics.median(times) if times else 0.0
  return {"rows": len(rulings)} | {name: counts[name] for name in OUTCOMES} | {"ms_median": median}
