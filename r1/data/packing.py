"""Sequences of many lengths in rows of one length, with targets that never cross a document.

A row holds segments 1, 2, … one after the other, then padding (segment 0). Positions start at 0 in
each. Index l holds token l and, as its target, the next token of the same segment.
"""

from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from flax import struct

Array = np.ndarray | jax.Array  # rows are packed on the host and learned from on the device
# Tokens; may the loss count this token?
Scored = tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]


class Packed(struct.PyTreeNode):
  token_BL: np.ndarray
  position_BL: np.ndarray
  segment_BL: np.ndarray  # 1.. in each row, 0 is padding
  target_BL: np.ndarray  # the next token of the segment; 0 where there is none
  scored_BL: np.ndarray  # bool: target_BL is a token that the loss may count


def place(lengths: Sequence[int], row: int) -> list[list[int]]:
  """First fit, longest first: for each row the indices of its sequences. The same every time."""
  _check(lengths, row)
  order = sorted(range(len(lengths)), key=lambda i: -lengths[i])  # stable: ties keep their order
  free = np.full(len(lengths), row)
  placement: list[list[int]] = []
  for i in order:
    b = int(np.argmax(free >= lengths[i]))
    if b == len(placement):
      placement.append([])
    placement[b].append(i)
    free[b] -= lengths[i]
  return placement


def pack(sequences: Sequence[Scored], row: int, rows: int | None = None) -> Packed:
  """Packs as `place` says; `rows` adds empty rows up to that many."""
  return fill(sequences, place([len(tokens) for tokens, _ in sequences], row), row, rows)


def stream(sequences: Iterable[Scored], row: int, rows: int) -> Iterator[Packed]:
  """Batches of `rows` rows: first fit in order of arrival; no sequence is cut or put off.

  A batch ends with the first sequence that fits in none of its rows.
  """
  batch, placement, free = [], [[] for _ in range(rows)], [row] * rows
  for tokens, scored in sequences:
    _check([len(tokens)], row)
    b = next((b for b, space in enumerate(free) if space >= len(tokens)), None)
    if b is None:
      yield fill(batch, placement, row, rows)
      batch, placement, free, b = [], [[] for _ in range(rows)], [row] * rows, 0
    placement[b].append(len(batch))
    free[b] -= len(tokens)
    batch.append((tokens, scored))
  if batch:
    yield fill(batch, placement, row, rows)


def spread(
  values: Sequence[Sequence[float] | np.ndarray],
  placement: Sequence[Sequence[int]],
  row: int,
  rows: int | None = None,
) -> np.ndarray:
  """Aligns one value per token with target_BL: index l holds the value of the token target_BL[l].

  The value of a sequence's first token, which is nobody's target, is dropped; other slots are 0.
  """
  value_BL = np.zeros((_rows(placement, rows), row), np.float32)
  for b, members in enumerate(placement):
    start = 0
    for i in members:
      value_BL[b, start : start + len(values[i]) - 1] = values[i][1:]
      start += len(values[i])
  return value_BL


def gather(
  value_BL, placement: Sequence[Sequence[int]], lengths: Sequence[int]
) -> list[np.ndarray]:
  """The inverse of `spread`: one value per token of each sequence, 0 for its first token."""
  values = [np.zeros(length, np.float32) for length in lengths]
  for b, members in enumerate(placement):
    start = 0
    for i in members:
      values[i][1:] = value_BL[b, start : start + lengths[i] - 1]
      start += lengths[i]
  return values


def fill(sequences: Sequence[Scored], placement, row: int, rows: int | None) -> Packed:
  """The packed rows of a placement; `rows` adds empty rows up to that many."""
  shape = _rows(placement, rows), row
  token_BL, position_BL, segment_BL, target_BL = (np.zeros(shape, np.int32) for _ in range(4))
  scored_BL = np.zeros(shape, bool)
  for b, members in enumerate(placement):
    start = 0
    for segment, i in enumerate(members, 1):
      tokens, scored = sequences[i]
      if len(scored) != len(tokens):
        raise ValueError(f"sequence {i}: {len(tokens)} tokens but {len(scored)} scored flags")
      stop = start + len(tokens)
      token_BL[b, start:stop] = tokens
      position_BL[b, start:stop] = np.arange(len(tokens))
      segment_BL[b, start:stop] = segment
      target_BL[b, start : stop - 1] = tokens[1:]
      scored_BL[b, start : stop - 1] = scored[1:]
      start = stop
  return Packed(token_BL, position_BL, segment_BL, target_BL, scored_BL)


def _rows(placement, rows: int | None) -> int:
  if rows is not None and len(placement) > rows:
    raise ValueError(f"the sequences fill {len(placement)} rows, more than rows={rows}")
  return len(placement) if rows is None else rows


def _check(lengths: Sequence[int], row: int) -> None:
  for i, length in enumerate(lengths):
    if not 1 <= length <= row:
      raise ValueError(f"sequence {i} has {length} tokens, wanted 1 to {row} (the row's length)")
