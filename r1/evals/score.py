"""From right and wrong to pass@1, pass@k and majority votes, with standard errors."""

import collections
import math
from collections.abc import Sequence

import numpy as np


def mean_and_error(correct: Sequence[Sequence[float]]) -> tuple[float, float]:
  """pass@1 over questions (2501.12948 section 3) and its standard error over questions.

  correct: per question, its samples. Samples without a verdict are left out by the caller, so each
  question divides by the samples present (lighteval #771); questions without any do not count.
  """
  rates = np.array([np.mean(samples) for samples in correct if len(samples)], np.float64)
  if not len(rates):
    raise ValueError("no question has a sample with a verdict: nothing to score")
  spread = rates.std(ddof=1) if len(rates) > 1 else 0.0
  return float(rates.mean()), float(spread / math.sqrt(len(rates)))


def pass_at(correct: Sequence[Sequence[bool]], k: int) -> float:
  """Unbiased pass@k: 1 - C(n - c, k) / C(n, k) averaged over questions (arXiv 2107.03374 eq. 1)."""
  if short := [len(samples) for samples in correct if len(samples) < k]:
    raise ValueError(f"pass@{k} needs {k} samples per question; one has {min(short)}")
  chances = [
    1 - math.comb(len(samples) - sum(samples), k) / math.comb(len(samples), k)
    for samples in correct
  ]
  return float(np.mean(chances))


def majority(answers: Sequence[str | None]) -> str | None:
  """The most frequent answer (the first of several); None where no sample gave one."""
  counts = collections.Counter(a for a in answers if a is not None)
  return counts.most_common(1)[0][0] if counts else None
