"""Items of made-up tokens, and rows for them."""

import numpy as np

from r1.algorithms import minibatch


def rows(row: int, count: int) -> minibatch.BatchConfig:
  return minibatch.BatchConfig(
    row_tokens=row, microbatch_tokens=row * count, minibatches=1, share_prompts=False, fork=()
  )


def pair(chosen: int, rejected: int, first: int = 1):
  """A pair of so many tokens, whose ids count from `first`."""
  ids = np.arange(first, first + chosen + rejected, dtype=np.int32)
  return (ids[:chosen], 1), (ids[chosen:], -1)


def labelled(length: int, side: int, first: int = 1):
  return ((np.arange(first, first + length, dtype=np.int32), side),)
