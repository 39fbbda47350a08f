"""What several seeds say: their mean and its 95 % interval, by Student's t."""

import math
import statistics
from collections.abc import Sequence

# Two-sided 95 % quantiles of Student's t by degrees of freedom, from 1.
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


def mean_and_half_width(values: Sequence[float]) -> tuple[float, float]:
  """(mean, half the width of its 95 % interval) over independent seeds; inf for a single one.

  With three seeds the interval is 2.5 standard deviations wide on each side. Raises ValueError
  without values, and for more than eleven, whose quantiles are not in the table.
  """
  if not 0 < len(values) <= len(QUANTILES) + 1:
    raise ValueError(f"{len(values)} values given; wanted 1 to {len(QUANTILES) + 1} seeds")
  mean = statistics.fmean(values)
  if len(values) == 1:
    return mean, math.inf
  error = statistics.stdev(values) / math.sqrt(len(values))
  return mean, QUANTILES[len(values) - 2] * error


def text(values: Sequence[float], digits: int = 3) -> str:
  """ "0.912 ± 0.034", the mean alone of a single seed, and what there is where some are not finite.

  inf stands for what never came about: "never", or "2 of 3: 12.000, 20.000"; NaN for what is not
  asked of them: "–".
  """
  if all(math.isnan(value) for value in values):
    return "–"
  there = [value for value in values if math.isfinite(value)]
  if not there:
    return "never"
  if len(there) < len(values):
    return f"{len(there)} of {len(values)}: " + ", ".join(f"{value:.{digits}f}" for value in there)
  mean, half = mean_and_half_width(values)
  return f"{mean:.{digits}f}" + ("" if math.isinf(half) else f" ± {half:.{digits}f}")
