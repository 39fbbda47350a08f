"""Whole sequences in packed rows, each judged by the number at its last token.

What is learned from is an item: one sequence with a label, or a chosen one and a rejected one. All
sequences of an item stand in the same micro-batch, so a loss may compare them.
"""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import struct

from r1 import dims
from r1.algorithms import experts, minibatch
from r1.data import packing
from r1.model import heads, transformer

# (tokens, +1 chosen or safe, -1 rejected or unsafe) of each sequence.
Item = Sequence[tuple[np.ndarray, int]]


class EndsBatch(struct.PyTreeNode):
  """Packed rows of one micro-batch; the last three are 0 but at the last token of a sequence.

  item_BL: the number of its item in the micro-batch, from 1. side_BL: +1 or -1. weight_BL: of the
  item in the loss, at the first of its sequences; they add up to 1 over an optimiser step.
  """

  token_BL: dims.Array
  position_BL: dims.Array
  segment_BL: dims.Array
  item_BL: dims.Array
  side_BL: dims.Array
  weight_BL: dims.Array


def capacity(items: int, sides: int, cfg: minibatch.BatchConfig) -> int:
  """Micro-batches that hold any `items` items of so many sequences, however long these are.

  Raises ValueError where a micro-batch has fewer rows than an item has sequences.
  """
  if cfg.rows < sides:
    raise ValueError(
      f"microbatch_tokens={cfg.microbatch_tokens} are {cfg.rows} rows of row_tokens="
      f"{cfg.row_tokens}: an item of {sides} sequences may need {sides}"
    )
  return math.ceil(items / (cfg.rows // sides))


def place(items: Sequence[Item], cfg: minibatch.BatchConfig) -> list[list[list[tuple[int, int]]]]:
  """For each micro-batch, for each of its rows, the (item, place in the item) of its sequences.

  In order, each sequence in the first row with room; an item that does not fit begins the next
  micro-batch. Raises ValueError for a sequence longer than a row.
  """
  placed: list[list[list[tuple[int, int]]]] = []
  free: list[int] = []
  for i, item in enumerate(items):
    for tokens, _ in item:
      if not 1 <= len(tokens) <= cfg.row_tokens:
        raise ValueError(f"item {i} has {len(tokens)} tokens, wanted 1 to {cfg.row_tokens}")
    homes = _homes(item, free)
    if homes is None:
      placed.append([[] for _ in range(cfg.rows)])
      free = [cfg.row_tokens] * cfg.rows
      homes = _homes(item, free)
      assert homes is not None, "`capacity` has refused rows that are too few"
    for side, b in enumerate(homes):
      placed[-1][b].append((i, side))
      free[b] -= len(item[side][0])
  return placed


def _homes(item: Item, free: Sequence[int]) -> list[int] | None:
  """The row of each sequence, None where they do not fit together."""
  left, homes = list(free), []
  for tokens, _ in item:
    b = next((b for b, room in enumerate(left) if room >= len(tokens)), None)
    if b is None:
      return None
    left[b] -= len(tokens)
    homes.append(b)
  return homes


def assemble(
  items: Sequence[Item], *, cfg: minibatch.BatchConfig, microbatches: int | None
) -> tuple[EndsBatch, int]:
  """(batch [U, B, L], micro-batches in use) of one optimiser step.

  microbatches: U, the same for every step of a run; None for as many as these need.
  """
  if not items:
    raise ValueError("no items: an optimiser step needs one at least")
  placed = place(items, cfg)
  count = len(placed) if microbatches is None else microbatches
  placed += [[[] for _ in range(cfg.rows)] for _ in range(count - len(placed))]
  micro = [_fill(items, rows, cfg, 1 / len(items)) for rows in placed]
  used = sum(any(rows) for rows in placed)
  return jax.tree.map(lambda *arrays: np.stack(arrays), *micro), used


def _fill(items: Sequence[Item], rows, cfg: minibatch.BatchConfig, weight: float) -> EndsBatch:
  """One micro-batch."""
  members = [place for row in rows for place in row]
  tokens = [items[i][side][0] for i, side in members]
  of = {place: number for number, place in enumerate(members)}
  placement = [[of[place] for place in row] for row in rows]
  packed = packing.fill(
    [(t, np.zeros(len(t), bool)) for t in tokens], placement, cfg.row_tokens, cfg.rows
  )
  number = {i: n for n, i in enumerate(dict.fromkeys(i for i, _ in members), 1)}
  item_BL = np.zeros(packed.token_BL.shape, np.int32)
  side_BL, weight_BL = (np.zeros(item_BL.shape, np.float32) for _ in range(2))
  lengths = [len(t) for t in tokens]
  for b, row in enumerate(placement):
    for n, first, end, _, start in packing.segments(row, lengths, None):
      at = b, start + end - first - 1
      i, side = members[n]
      item_BL[at], side_BL[at] = number[i], items[i][side][1]
      weight_BL[at] = weight if side == 0 else 0.0
  return EndsBatch(
    packed.token_BL, packed.position_BL, packed.segment_BL, item_BL, side_BL, weight_BL
  )


def make_loss(loss: Callable, cfg, mixture: experts.ExpertsConfig):
  """`loss(params, batch)` of one micro-batch, for a model with a scalar head.

  loss: of (value_BL, batch), as in `pairwise` and `pointwise`.
  """

  def of_batch(params, batch: EndsBatch):
    out = transformer.forward(params, batch.token_BL, batch.position_BL, batch.segment_BL, cfg)
    value, found = loss(heads.scalar(params, out.hidden_BLD, cfg), batch)
    return experts.regularise(value, found, out.aux, batch.weight_BL, mixture)

  return of_batch
