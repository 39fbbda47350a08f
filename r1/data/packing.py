"""Sequences of many lengths in rows of one length, with targets that never cross a document.

A row holds segments 1, 2, … one after the other, then padding (segment 0). Positions start at 0 in
each. Index l holds token l and, as its target, the next token of the same segment.

Sequences that begin alike, the answers to one question, may share their beginning: neighbours of
one family stand behind one segment with their common tokens, their parent, and continue its
positions. Each still has the target of every token that is its own. They stand one after the other,
or, in a row that forks, in branches of one width, where attention finds them without a search.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from flax import struct

# Tokens; may the loss count this token?
Scored = tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]
# The number of a sequence's family, and how many first tokens are the same in all of it.
Kin = tuple[int, int]


class Fork(NamedTuple):
  """Slots of a row that one family has for itself: a trunk for what it shares, then branches of
  equal width, each for the own tokens of one or more of its sequences. In tokens."""

  trunk: int
  branch: int


class Packed(struct.PyTreeNode):
  token_BL: np.ndarray
  position_BL: np.ndarray
  segment_BL: np.ndarray  # 1.. in each row, 0 is padding
  target_BL: np.ndarray  # the next token of the segment; 0 where there is none
  scored_BL: np.ndarray  # bool: target_BL is a token that the loss may count
  parent_BL: np.ndarray | None = None  # the segment that this one continues; 0 or None: none
  fork: Fork | None = struct.field(pytree_node=False, default=None)  # of every row


class Segment(NamedTuple):
  """Tokens first to end of a sequence, which continue the parent, a segment of the same row.

  start: where in the row the first of them stands.
  """

  sequence: int
  first: int
  end: int
  parent: int
  start: int


def segments(
  members: Sequence[int],
  lengths: Sequence[int],
  kin: Sequence[Kin] | None,
  fork: Fork | None = None,
) -> list[Segment]:
  """The segments of a row, in order, of its sequences; their numbers count from 1."""
  if fork:
    assert kin is not None, "a row forks where its sequences share something"
    return _forked(members, lengths, kin, fork)
  row: list[Segment] = []
  start = 0
  for _, family in itertools.groupby(members, lambda i: -1 - i if kin is None else kin[i][0]):
    family = list(family)
    shared = 0 if kin is None or len(family) == 1 else kin[family[0]][1]
    if shared:
      row.append(Segment(family[0], 0, shared, 0, start))
      start += shared
    parent = len(row) if shared else 0
    for i in family:
      row.append(Segment(i, shared, lengths[i], parent, start))
      start += lengths[i] - shared
  return row


def _forked(members, lengths, kin, fork: Fork) -> list[Segment]:
  """The same for a row that forks: each sequence in the first branch with room for it."""
  if not members:
    return []
  shared = kin[members[0]][1]
  row = [Segment(members[0], 0, shared, 0, 0)] if shared else []
  parent, used = len(row), []
  for i in members:
    own = lengths[i] - shared
    b = next((b for b, taken in enumerate(used) if taken + own <= fork.branch), len(used))
    used += [0] * (b == len(used))
    row.append(Segment(i, shared, lengths[i], parent, fork.trunk + b * fork.branch + used[b]))
    used[b] += own
  return row


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


def place_families(lengths: Sequence[int], kin: Sequence[Kin] | None, row: int) -> list[list[int]]:
  """Like `place`, where a row holds once what neighbours of a family share, if that saves rows.

  Family after family, the one with most tokens first; a family that does not fit one row goes on
  in others, which repeat what it shares. kin: None where nothing is shared.
  """
  plain = place(lengths, row)
  if kin is None:
    return plain
  total: dict[int, int] = {}
  for length, (family, _) in zip(lengths, kin, strict=True):
    total[family] = total.get(family, 0) + length
  order = sorted(range(len(lengths)), key=lambda i: (-total[kin[i][0]], kin[i][0], -lengths[i]))
  free = np.full(len(lengths), row)
  placement: list[list[int]] = []
  for _, members in itertools.groupby(order, lambda i: kin[i][0]):
    homes: list[int] = []  # the rows that hold what this family shares
    for i in members:
      own = lengths[i] - kin[i][1]
      b = next((b for b in homes if free[b] >= own), None)
      if b is None:
        b, own = int(np.argmax(free >= lengths[i])), lengths[i]
        homes.append(b)
      if b == len(placement):
        placement.append([])
      placement[b].append(i)
      free[b] -= own
  return min(plain, placement, key=len)


def place_forks(
  lengths: Sequence[int], kin: Sequence[Kin], row: int, fork: Fork
) -> list[list[int]]:
  """For each row that forks, the indices of its sequences: of one family, the longest first."""
  branches = (row - fork.trunk) // fork.branch
  placement: list[list[int]] = []
  order = sorted(range(len(lengths)), key=lambda i: (kin[i][0], -lengths[i]))
  for _, members in itertools.groupby(order, lambda i: kin[i][0]):
    free: list[int] = []  # of the branches of the family's last row
    for i in members:
      own = lengths[i] - kin[i][1]
      if kin[i][1] > fork.trunk or own > fork.branch:
        raise ValueError(
          f"sequence {i} shares {kin[i][1]} tokens and has {own} of its own, wanted at most "
          f"{fork.trunk} and {fork.branch} (the fork's)"
        )
      b = next((b for b, space in enumerate(free) if space >= own), None)
      if b is None:
        placement.append([])
        free, b = [fork.branch] * branches, 0
      placement[-1].append(i)
      free[b] -= own
  return placement


def pack(sequences: Sequence[Scored], row: int, rows: int | None = None) -> Packed:
  """Packs as `place` says; `rows` adds empty rows up to that many."""
  return fill(sequences, place([len(tokens) for tokens, _ in sequences], row), row, rows)


def stream(sequences: Iterable[Scored], row: int, rows: int, waiting: int) -> Iterator[Packed]:
  """Batches of `rows` rows: first fit in order of arrival; no sequence is cut or left out.

  waiting: sequences that fit in none of a batch's rows and wait for the next one, where they come
  first, while shorter ones fill the gaps. A batch ends with the first that is one too many.
  """
  pending: list[Scored] = []
  source = iter(sequences)
  while True:
    batch, placement, free, put_off = [], [[] for _ in range(rows)], [row] * rows, []
    for tokens, scored in itertools.chain(pending, source):
      _check([len(tokens)], row)
      b = next((b for b, space in enumerate(free) if space >= len(tokens)), None)
      if b is None:
        put_off.append((tokens, scored))
        if len(put_off) > waiting:
          break
        continue
      placement[b].append(len(batch))
      free[b] -= len(tokens)
      batch.append((tokens, scored))
    if not batch:
      return
    yield fill(batch, placement, row, rows)
    pending = put_off


def spread(
  values: Sequence[Sequence[float] | np.ndarray],
  placement: Sequence[Sequence[int]],
  row: int,
  rows: int | None = None,
  kin: Sequence[Kin] | None = None,
  fork: Fork | None = None,
) -> np.ndarray:
  """Aligns one value per token with target_BL: index l holds the value of the token target_BL[l].

  The value of a sequence's first token, which is nobody's target, is dropped; other slots are 0.
  """
  value_BL = np.zeros((_rows(placement, rows), row), np.float32)
  lengths = [len(own) for own in values]
  for b, members in enumerate(placement):
    for i, first, end, _, start in segments(members, lengths, kin, fork):
      value_BL[b, start : start + end - first - 1] = values[i][first + 1 : end]
  return value_BL


def gather(
  value_BL,
  placement: Sequence[Sequence[int]],
  lengths: Sequence[int],
  kin: Sequence[Kin] | None = None,
  fork: Fork | None = None,
) -> list[np.ndarray]:
  """The inverse of `spread`: one value per token of each sequence, 0 for its first token.

  What a family shares comes back to the first of it in each row, and is 0 in the others.
  """
  values = [np.zeros(length, np.float32) for length in lengths]
  for b, members in enumerate(placement):
    for i, first, end, _, start in segments(members, lengths, kin, fork):
      values[i][first + 1 : end] = value_BL[b, start : start + end - first - 1]
  return values


def fill(
  sequences: Sequence[Scored],
  placement,
  row: int,
  rows: int | None,
  kin: Sequence[Kin] | None = None,
  fork: Fork | None = None,
) -> Packed:
  """The packed rows of a placement; `rows` adds empty rows up to that many.

  kin: of the sequences; there are parents only where it is given. fork: of the rows, with kin only.
  """
  shape = _rows(placement, rows), row
  token_BL, position_BL, segment_BL, target_BL, parent_BL = (
    np.zeros(shape, np.int32) for _ in range(5)
  )
  scored_BL = np.zeros(shape, bool)
  for i, (tokens, scored) in enumerate(sequences):
    if len(scored) != len(tokens):
      raise ValueError(f"sequence {i}: {len(tokens)} tokens but {len(scored)} scored flags")
  lengths = [len(tokens) for tokens, _ in sequences]
  for b, members in enumerate(placement):
    family = segments(members, lengths, kin, fork)
    for number, (i, first, end, parent, start) in enumerate(family, 1):
      tokens, scored = sequences[i]
      stop = start + end - first
      token_BL[b, start:stop] = tokens[first:end]
      position_BL[b, start:stop] = np.arange(first, end)
      segment_BL[b, start:stop] = number
      target_BL[b, start : stop - 1] = tokens[first + 1 : end]
      scored_BL[b, start : stop - 1] = scored[first + 1 : end]
      parent_BL[b, start:stop] = parent
  parents = None if kin is None else parent_BL
  return Packed(token_BL, position_BL, segment_BL, target_BL, scored_BL, parents, fork)


def _rows(placement, rows: int | None) -> int:
  if rows is not None and len(placement) > rows:
    raise ValueError(f"the sequences fill {len(placement)} rows, more than rows={rows}")
  return len(placement) if rows is None else rows


def _check(lengths: Sequence[int], row: int) -> None:
  for i, length in enumerate(lengths):
    if not 1 <= length <= row:
      raise ValueError(f"sequence {i} has {length} tokens, wanted 1 to {row} (the row's length)")
