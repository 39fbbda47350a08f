"""Bradley-Terry by hand; the score is read at the last token and nowhere else."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import ends, experts, grpo, pairwise
from tests.algorithms import pairs
from tests.model import tiny

CFG = tiny.config(scalar=True, tied=True)


def batch(items, row=8, rows=2):
  made, used = ends.assemble(items, cfg=pairs.rows(row, rows), microbatches=None)
  assert used == 1
  return jax.tree.map(lambda x: x[0], made)


def test_two_pairs_by_hand():
  # Scores: chosen 2, rejected 0.5; chosen -1, rejected 1. -log sigmoid(1.5) = log(1 + e^-1.5) =
  # .201413, -log sigmoid(-2) = 2 + log(1 + e^-2) = 2.126928; their mean is 1.164171.
  # One of two is right; the mean gap is (1.5 - 2) / 2.
  made = batch([pairs.pair(3, 5), pairs.pair(4, 2)])
  value_BL = np.full((2, 8), 77.0, np.float32)  # whatever stands elsewhere has no part
  value_BL[0, [2, 7]], value_BL[1, [3, 5]] = (2.0, 0.5), (-1.0, 1.0)
  value, found = pairwise.loss(jnp.asarray(value_BL), made)
  assert float(value) == pytest.approx(1.164171, abs=1e-6)
  means = grpo.summary(value, found)
  assert float(found["count"]) == 2
  assert float(means["reward_model/accuracy"]) == pytest.approx(0.5)
  assert float(means["reward_model/gap"]) == pytest.approx(-0.25)


def test_the_gradient_by_hand_moves_last_tokens_alone():
  # d/ds_w of -log sigmoid(g) is -(1 - sigmoid(g)): at equal scores -.5 and +.5, over two pairs.
  made = batch([pairs.pair(3, 5), pairs.pair(4, 2)])
  gradient = jax.grad(lambda v: pairwise.loss(v, made)[0])(jnp.zeros((2, 8)))
  want_BL = np.zeros((2, 8))
  want_BL[0, [2, 7]], want_BL[1, [3, 5]] = (-0.25, 0.25), (-0.25, 0.25)
  np.testing.assert_allclose(gradient, want_BL, atol=1e-7)


def test_equal_scores_are_half_right_and_cost_log_two():
  value, found = pairwise.loss(jnp.zeros((2, 8)), batch([pairs.pair(3, 5)]))
  assert float(value) == pytest.approx(math.log(2))
  assert float(found["sum"]["reward_model/accuracy"]) == 0.5


def test_packed_pairs_cost_what_pairs_alone_do():
  """Rows, places in rows and neighbours make no difference; micro-batches add up."""
  params = tiny.params(CFG)
  rng = np.random.default_rng(3)
  draw = lambda n: rng.integers(0, CFG.ids, n).astype(np.int32)
  items = [((draw(a), 1), (draw(b), -1)) for a, b in ((3, 6), (5, 2), (7, 7), (4, 1))]
  loss = tiny.jit(ends.make_loss(pairwise.loss, CFG, experts.OFF))
  alone = [float(loss(params, batch([item], 16, 2))[0]) for item in items]
  made, used = ends.assemble(items, cfg=pairs.rows(16, 2), microbatches=None)
  parts = [loss(params, jax.tree.map(lambda x, u=u: x[u], made))[0] for u in range(used)]
  assert sum(map(float, parts)) == pytest.approx(np.mean(alone), rel=1e-5)
  assert len({round(x, 3) for x in alone}) == 4
