"""Win rates: how often one model's answer is better than another's to the same prompt."""

import collections
from collections.abc import Iterable

from r1.evals import score


def win_rate(pairs: Iterable[tuple[str, float, float]]) -> tuple[float, float]:
  """(share of the pairs that the first side wins, a draw being half a win; standard error).

  pairs: (prompt, score of the first side, score of the second). The error is over prompts, since
  answers to one prompt are no independent draws. Raises ValueError without any pair.
  """
  wins: dict[str, list[float]] = collections.defaultdict(list)
  for prompt, ours, theirs in pairs:
    wins[prompt].append(0.5 if ours == theirs else float(ours > theirs))
  if not wins:
    raise ValueError("no pair of answers to compare; give both sides' answers to the same prompts")
  return score.mean_and_error(list(wins.values()))
