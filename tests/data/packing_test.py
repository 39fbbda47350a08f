"""Packing: documents stay whole and apart, targets stay inside them."""

import random

import numpy as np
import pytest

from r1.data import packing


def sequences(lengths, first=10):
  """Sequence i holds the tokens 100 i + 10, 100 i + 11, …, the first two not scored."""
  return [
    ([100 * i + first + t for t in range(length)], [t >= 2 for t in range(length)])
    for i, length in enumerate(lengths)
  ]


def test_place_is_first_fit_longest_first_by_hand():
  # Longest first 6 5 4 3 2 (1, 2, 0, 4, 3). Rows of 8: 6 | 5 | 4, then 3 beside 5, 2 beside 6.
  assert packing.place([4, 6, 5, 2, 3], row=8) == [[1, 3], [2, 4], [0]]
  assert packing.place([], row=8) == []


def test_place_keeps_every_sequence_once_and_no_row_too_long():
  rng = random.Random(0)
  lengths = [rng.randint(1, 50) for _ in range(200)]
  placement = packing.place(lengths, row=64)
  assert sorted(i for row in placement for i in row) == list(range(200))
  assert all(sum(lengths[i] for i in row) <= 64 for row in placement)
  # First-fit-decreasing needs at most 11/9 of the best plus 1, and the best is at least the volume.
  assert len(placement) <= 11 / 9 * np.ceil(sum(lengths) / 64) + 1
  assert placement == packing.place(lengths, row=64)


def test_a_packed_row_by_hand():
  # Lengths 3 and 4 in a row of 8: the longer one first, one slot of padding.
  packed = packing.pack(sequences([3, 4]), row=8)
  np.testing.assert_array_equal(packed.token_BL, [[110, 111, 112, 113, 10, 11, 12, 0]])
  np.testing.assert_array_equal(packed.position_BL, [[0, 1, 2, 3, 0, 1, 2, 0]])
  np.testing.assert_array_equal(packed.segment_BL, [[1, 1, 1, 1, 2, 2, 2, 0]])
  np.testing.assert_array_equal(packed.target_BL, [[111, 112, 113, 0, 11, 12, 0, 0]])
  np.testing.assert_array_equal(packed.scored_BL, [[0, 1, 1, 0, 0, 1, 0, 0]])


def test_no_target_crosses_into_the_next_document():
  """Wrapped packing contaminates: TRL #3067, LLaMA-Factory #7318."""
  packed = packing.pack(sequences([5, 3, 7, 2, 6, 1]), row=9, rows=4)
  follows = packed.segment_BL[:, :-1] == packed.segment_BL[:, 1:]
  inside = follows & (packed.segment_BL[:, 1:] > 0)
  np.testing.assert_array_equal(packed.target_BL[:, :-1][inside], packed.token_BL[:, 1:][inside])
  assert not packed.target_BL[:, :-1][~inside].any()
  assert not packed.scored_BL[:, :-1][~inside].any()
  assert not packed.scored_BL[:, -1].any()
  assert not packed.segment_BL[3].any()  # the row that `rows` added


def test_every_scored_token_is_a_target_once_the_last_token_too():
  """End of text is the last token of a document and must be trained."""
  given = sequences([5, 3, 7, 2, 6])
  packed = packing.pack(given, row=9)
  wanted = [t for tokens, scored in given for t, counts in zip(tokens, scored) if counts]
  assert sorted(packed.target_BL[packed.scored_BL].tolist()) == sorted(wanted)


def test_spread_puts_each_value_where_its_token_is_the_target():
  """Shift alignment: prime-rl #605, #606, #1525."""
  lengths = [5, 3, 7, 2]
  given, placement = sequences(lengths), packing.place(lengths, 9)
  packed = packing.pack(given, row=9, rows=3)
  value_BL = packing.spread([tokens for tokens, _ in given], placement, row=9, rows=3)
  np.testing.assert_array_equal(value_BL, packed.target_BL)  # each token's value is the token
  assert value_BL.dtype == np.float32


def test_spread_by_hand():
  value_BL = packing.spread([[9.0, 0.5, 0.25], [9.0, -1.0]], [[0, 1]], row=6)
  np.testing.assert_array_equal(value_BL, [[0.5, 0.25, 0, -1, 0, 0]])


# Families ------------------------------------------------------------------------------------


def alike(lengths, shared, family=0):
  """Sequences of a family: token 1000 f + t in what they share, then tokens of their own."""
  made = []
  for i, length in enumerate(lengths):
    own = [1000 * family + 100 * (i + 1) + t for t in range(shared, length)]
    made.append(([1000 * family + t for t in range(shared)] + own, np.arange(length) > shared))
  return made


def test_a_row_with_a_family_by_hand():
  # Of 4 and 5 tokens, the first two shared: 2 + 2 + 3 of 8 slots. Each own first token (102, 202)
  # stands where it has a target, so nothing that is scored is in the shared segment.
  packed = packing.fill(alike([4, 5], 2), [[0, 1]], 8, None, [(0, 2), (0, 2)])
  assert packed.parent_BL is not None
  np.testing.assert_array_equal(packed.token_BL, [[0, 1, 102, 103, 202, 203, 204, 0]])
  np.testing.assert_array_equal(packed.position_BL, [[0, 1, 2, 3, 2, 3, 4, 0]])
  np.testing.assert_array_equal(packed.segment_BL, [[1, 1, 2, 2, 3, 3, 3, 0]])
  np.testing.assert_array_equal(packed.parent_BL, [[0, 0, 1, 1, 1, 1, 1, 0]])
  np.testing.assert_array_equal(packed.target_BL, [[1, 0, 103, 0, 203, 204, 0, 0]])
  np.testing.assert_array_equal(packed.scored_BL, [[0, 0, 1, 0, 1, 1, 0, 0]])


def test_a_row_names_the_parent_of_each_segment():
  kin = [(7, 2), (7, 2), (3, 4), (5, 0), (5, 0), (9, 1), (9, 1)]
  lengths = [4, 5, 6, 2, 3, 2, 2]
  assert packing.segments([0, 1, 2, 3, 4, 6, 5], lengths, kin) == [
    (0, 0, 2, 0, 0),
    (0, 2, 4, 1, 2),
    (1, 2, 5, 1, 4),
    (2, 0, 6, 0, 7),  # alone
    (3, 0, 2, 0, 13),  # a family that shares nothing
    (4, 0, 3, 0, 15),
    (6, 0, 1, 0, 18),
    (6, 1, 2, 7, 19),
    (5, 1, 2, 7, 20),
  ]
  assert packing.segments([1, 0], lengths, None) == [(1, 0, 5, 0, 0), (0, 0, 4, 0, 5)]


def test_families_are_placed_together_by_hand():
  # Three times 4 tokens, 3 of them shared, and rows of 5: 4 + 1 fill one row, the third begins
  # another with its own copy. The other family (5 tokens, one) comes behind, into a third row.
  kin = [(0, 3), (0, 3), (1, 3), (0, 3)]
  assert packing.place_families([4, 4, 5, 4], kin, row=5) == [[0, 1], [3], [2]]
  assert packing.place([4, 4, 5, 4], row=5) == [[2], [0], [1], [3]]


def test_sharing_is_left_where_it_takes_as_many_rows():
  # 3 + 1 + 1 of 8 slots are no better than 4 + 4; the plain order (longest first) stays.
  lengths, kin = [4, 4, 6, 6], [(0, 3), (0, 3), (1, 1), (2, 1)]
  assert packing.place_families(lengths, kin, row=8) == packing.place(lengths, row=8)
  assert packing.place_families([], [], row=8) == []


def test_without_families_rows_are_placed_longest_first():
  assert packing.place_families([4, 4, 5, 4], None, row=5) == [[2], [0], [1], [3]]


@pytest.mark.parametrize("seed", range(10))
def test_families_lose_nothing_and_take_no_more_rows(seed):
  rng = np.random.default_rng(seed)
  given, kin = [], []
  for family in range(9):
    shared, count = int(rng.integers(0, 12)), int(rng.integers(1, 9))
    given += alike((shared + rng.integers(1, 20, count)).tolist(), shared, family + 1)
    kin += [(family, shared)] * count
  lengths = [len(tokens) for tokens, _ in given]
  placement = packing.place_families(lengths, kin, 40)
  assert sorted(i for members in placement for i in members) == list(range(len(given)))
  assert len(placement) <= len(packing.place(lengths, 40))
  packed = packing.fill(given, placement, 40, None, kin)
  wanted = [t for tokens, scored in given for t, counts in zip(tokens, scored) if counts]
  assert sorted(packed.target_BL[packed.scored_BL].tolist()) == sorted(wanted)
  value_BL = packing.spread([tokens for tokens, _ in given], placement, 40, None, kin)
  np.testing.assert_array_equal(value_BL, packed.target_BL)
  back = packing.gather(np.where(packed.scored_BL, value_BL, 0), placement, lengths, kin)
  for (tokens, scored), found in zip(given, back, strict=True):
    np.testing.assert_array_equal(found, np.where(scored, tokens, 0))


def test_a_row_that_forks_by_hand():
  # Trunk of 3 for 2 shared tokens, branches of 3: own 3 | 2, and 1 fits beside the second.
  fork, kin = packing.Fork(3, 3), [(0, 2)] * 3
  placement = packing.place_forks([3, 5, 4], kin, 9, fork)
  assert placement == [[1, 2, 0]]
  packed = packing.fill(alike([3, 5, 4], 2), placement, 9, None, kin, fork)
  assert packed.parent_BL is not None
  assert packed.fork == (3, 3)
  np.testing.assert_array_equal(packed.token_BL, [[0, 1, 0, 202, 203, 204, 302, 303, 102]])
  np.testing.assert_array_equal(packed.position_BL, [[0, 1, 0, 2, 3, 4, 2, 3, 2]])
  np.testing.assert_array_equal(packed.segment_BL, [[1, 1, 0, 2, 2, 2, 3, 3, 4]])
  np.testing.assert_array_equal(packed.parent_BL, [[0, 0, 0, 1, 1, 1, 1, 1, 1]])
  np.testing.assert_array_equal(packed.target_BL, [[1, 0, 0, 203, 204, 0, 303, 0, 0]])
  np.testing.assert_array_equal(packed.scored_BL, [[0, 0, 0, 1, 1, 0, 1, 0, 0]])


@pytest.mark.parametrize("seed", range(10))
def test_rows_that_fork_lose_nothing(seed):
  """Each row is of one family, and no sequence crosses from one branch into the next."""
  rng = np.random.default_rng(seed)
  fork, row, given, kin = packing.Fork(12, 19), 12 + 3 * 19, [], []
  for family in range(6):
    shared, count = int(rng.integers(0, 13)), int(rng.integers(1, 9))
    given += alike((shared + rng.integers(1, 20, count)).tolist(), shared, family + 1)
    kin += [(family, shared)] * count
  lengths = [len(tokens) for tokens, _ in given]
  placement = packing.place_forks(lengths, kin, row, fork)
  assert sorted(i for members in placement for i in members) == list(range(len(given)))
  assert all(len({kin[i][0] for i in members}) == 1 for members in placement)
  packed = packing.fill(given, placement, row, None, kin, fork)
  slots_BRS = packed.segment_BL[:, 12:].reshape(len(placement), 3, 19)
  for branches in slots_BRS:
    found = [set(slot[slot > 0].tolist()) for slot in branches]
    assert sum(map(len, found)) == len(set.union(*found))
  wanted = [t for tokens, scored in given for t, counts in zip(tokens, scored) if counts]
  assert sorted(packed.target_BL[packed.scored_BL].tolist()) == sorted(wanted)
  value_BL = packing.spread([tokens for tokens, _ in given], placement, row, None, kin, fork)
  np.testing.assert_array_equal(value_BL, packed.target_BL)
  scored = np.where(packed.scored_BL, value_BL, 0)
  back = packing.gather(scored, placement, lengths, kin, fork)
  for (tokens, scored), found in zip(given, back, strict=True):
    np.testing.assert_array_equal(found, np.where(scored, tokens, 0))


def test_what_fits_no_slot_of_a_fork_is_refused_with_the_numbers():
  fork = packing.Fork(3, 4)
  with pytest.raises(ValueError, match=r"shares 4 tokens and has 2 of its own.* at most 3 and 4"):
    packing.place_forks([6], [(0, 4)], 11, fork)
  with pytest.raises(ValueError, match="shares 3 tokens and has 5 of its own"):
    packing.place_forks([8], [(0, 3)], 11, fork)


def test_stream_by_hand():
  # Two rows of 6: 4 → row 0, 3 → row 1, 2 → row 0 (full), 3 → row 1 (full), 1 → nowhere: new batch.
  first, second = packing.stream(iter(sequences([4, 3, 2, 3, 1])), row=6, rows=2, waiting=0)
  np.testing.assert_array_equal(first.token_BL[0], [10, 11, 12, 13, 210, 211])
  np.testing.assert_array_equal(first.token_BL[1], [110, 111, 112, 310, 311, 312])
  np.testing.assert_array_equal(second.segment_BL, [[1, 0, 0, 0, 0, 0], [0] * 6])


def test_a_sequence_without_a_row_waits_for_the_next_batch():
  # One row of 6: 4 in, 3 waits, 2 in (full), 1 is one too many. Then 3, 1, and 2 fills the row.
  first, second, third = packing.stream(
    iter(sequences([4, 3, 2, 1, 2, 5])), row=6, rows=1, waiting=1
  )
  np.testing.assert_array_equal(first.token_BL, [[10, 11, 12, 13, 210, 211]])
  np.testing.assert_array_equal(second.token_BL, [[110, 111, 112, 310, 410, 411]])
  np.testing.assert_array_equal(third.token_BL, [[510, 511, 512, 513, 514, 0]])


@pytest.mark.parametrize("waiting", [0, 1, 4])
def test_stream_is_lazy_and_loses_nothing(waiting):
  def endless():
    i = 0
    while True:
      yield [i + 1] * (i % 5 + 1), [True] * (i % 5 + 1)
      i += 1

  batches = packing.stream(endless(), row=7, rows=3, waiting=waiting)
  seen = [token for _ in range(20) for token in next(batches).token_BL.ravel().tolist()]
  counts = np.bincount(seen)[1:]
  missing = [i for i, count in enumerate(counts) if count != i % 5 + 1]
  assert len(missing) <= waiting  # those that still wait
  assert all(counts[i] == 0 for i in missing)


def test_lengths_that_cannot_be_packed_are_refused_with_the_numbers():
  with pytest.raises(ValueError, match="sequence 1 has 9 tokens, wanted 1 to 8"):
    packing.place([8, 9], row=8)
  with pytest.raises(ValueError, match="sequence 0 has 0 tokens"):
    packing.pack([([], [])], row=8)
  with pytest.raises(ValueError, match="fill 2 rows, more than rows=1"):
    packing.pack(sequences([5, 5]), row=8, rows=1)
  with pytest.raises(ValueError, match="3 tokens but 2 scored"):
    packing.pack([([1, 2, 3], [True, True])], row=8)
  with pytest.raises(ValueError, match="9 tokens"):
    next(packing.stream(iter(sequences([9])), row=8, rows=2, waiting=0))
