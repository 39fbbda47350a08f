"""Sequences of an item stay together, and what is said of them stands at their last tokens."""

import numpy as np
import pytest

from r1.algorithms import ends
from tests.algorithms import pairs


def test_a_micro_batch_by_hand():
  """Rows of 8: the first pair (3, 5 tokens) fills row 0, the second (4, 2) goes to row 1."""
  items = [pairs.pair(3, 5, first=10), pairs.pair(4, 2, first=30)]
  batch, used = ends.assemble(items, cfg=pairs.rows(8, 2), microbatches=None)
  assert used == 1
  np.testing.assert_array_equal(
    batch.token_BL[0], [[10, 11, 12, 13, 14, 15, 16, 17], [30, 31, 32, 33, 34, 35, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch.segment_BL[0], [[1, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 2, 2, 0, 0]]
  )
  np.testing.assert_array_equal(batch.position_BL[0, 0], [0, 1, 2, 0, 1, 2, 3, 4])
  np.testing.assert_array_equal(
    batch.item_BL[0], [[0, 0, 1, 0, 0, 0, 0, 1], [0, 0, 0, 2, 0, 2, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch.side_BL[0], [[0, 0, 1, 0, 0, 0, 0, -1], [0, 0, 0, 1, 0, -1, 0, 0]]
  )
  np.testing.assert_array_equal(
    batch.weight_BL[0], [[0, 0, 0.5, 0, 0, 0, 0, 0], [0, 0, 0, 0.5, 0, 0, 0, 0]]
  )


def test_a_pair_is_never_split_over_micro_batches():
  """Two rows of 8: the second pair's first sequence would fit, its second would not."""
  items = [pairs.pair(5, 5), pairs.pair(3, 4), pairs.pair(1, 1)]
  batch, used = ends.assemble(items, cfg=pairs.rows(8, 2), microbatches=None)
  assert used == 2
  for u in range(used):
    numbers = batch.item_BL[u][batch.item_BL[u] > 0]
    counts = np.bincount(numbers)[1:]
    assert (counts == 2).all()
  assert [int(batch.item_BL[u].max()) for u in range(used)] == [1, 2]
  np.testing.assert_allclose(batch.weight_BL.sum(), 1.0, rtol=1e-6)


def test_random_items_are_all_there_once_and_fit_the_capacity():
  rng = np.random.default_rng(0)
  cfg = pairs.rows(16, 4)
  for count in (1, 7, 40):
    items = [pairs.pair(*rng.integers(1, 17, 2)) for _ in range(count)]
    room = ends.capacity(count, 2, cfg)
    batch, used = ends.assemble(items, cfg=cfg, microbatches=room)
    assert used <= room == batch.token_BL.shape[0]
    assert (batch.item_BL > 0).sum() == 2 * count
    assert (batch.side_BL == 1).sum() == (batch.side_BL == -1).sum() == count
    np.testing.assert_allclose(batch.weight_BL.sum(), 1.0, rtol=1e-5)


def test_what_does_not_fit_is_refused_with_its_numbers():
  with pytest.raises(ValueError, match="item 0 has 9 tokens, wanted 1 to 8"):
    ends.assemble([pairs.pair(9, 2)], cfg=pairs.rows(8, 2), microbatches=None)
  with pytest.raises(ValueError, match="are 1 rows of row_tokens=8: an item of 2 sequences may"):
    ends.capacity(4, 2, pairs.rows(8, 1))
  with pytest.raises(ValueError, match="no items"):
    ends.assemble([], cfg=pairs.rows(8, 2), microbatches=None)
