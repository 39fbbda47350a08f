"""Binary cross-entropy by hand; the score is read at the last token and nowhere else."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import ends, experts, pointwise
from tests.algorithms import pairs
from tests.model import tiny


def batch(items):
  made, used = ends.assemble(items, cfg=pairs.rows(8, 2), microbatches=None)
  assert used == 1
  return jax.tree.map(lambda x: x[0], made)


def test_three_labels_by_hand():
  # Safe with score 2: log(1 + e^-2) = .126928. Unsafe with 0.5: log(1 + e^.5) = .974077. Unsafe
  # with -3: log(1 + e^-3) = .048587. Mean .383197; two of three are right; gaps 2, -.5 and 3.
  made = batch([pairs.labelled(3, 1), pairs.labelled(5, -1), pairs.labelled(4, -1)])
  value_BL = np.full((2, 8), -55.0, np.float32)
  value_BL[0, [2, 7]], value_BL[1, 3] = (2.0, 0.5), -3.0
  value, found = pointwise.loss(jnp.asarray(value_BL), made)
  assert float(value) == pytest.approx(0.383197, abs=1e-6)
  assert float(found["count"]) == 3
  assert float(found["sum"]["reward_model/accuracy"]) == 2
  assert float(found["sum"]["reward_model/gap"]) == pytest.approx(4.5)


def test_the_gradient_by_hand_moves_last_tokens_alone():
  made = batch([pairs.labelled(3, 1), pairs.labelled(5, -1)])
  gradient = jax.grad(lambda v: pointwise.loss(v, made)[0])(jnp.zeros((2, 8)))
  want_BL = np.zeros((2, 8))
  want_BL[0, [2, 7]] = -0.25, 0.25
  np.testing.assert_allclose(gradient, want_BL, atol=1e-7)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_scores_at_other_places_cannot_reach_loss_gradient_or_metrics(junk):
  """Padding and all tokens but a response's last; 0 times NaN would be NaN."""
  made = batch([pairs.labelled(3, 1), pairs.labelled(4, -1)])
  live_BL = np.asarray(made.weight_BL) > 0
  assert 0 < live_BL.sum() < live_BL.size
  outcome = jax.value_and_grad(lambda v: pointwise.loss(v, made), has_aux=True)
  clean, dirty = (outcome(jnp.asarray(np.where(live_BL, 0.5, x), jnp.float32)) for x in (0, junk))
  jax.tree.map(np.testing.assert_array_equal, dirty, clean)
  assert (np.asarray(dirty[1])[~live_BL] == 0).all()
  assert np.asarray(dirty[1])[live_BL].all()


def test_a_new_scalar_head_is_half_right_and_costs_log_two():
  cfg = tiny.config(scalar=True)
  params = tiny.params(cfg) | {"scalar_D": jnp.zeros(cfg.D)}
  made = batch([pairs.labelled(3, 1), pairs.labelled(5, -1)])
  value, found = tiny.jit(ends.make_loss(pointwise.loss, cfg, experts.OFF))(params, made)
  assert float(value) == pytest.approx(math.log(2))
  assert float(found["sum"]["reward_model/accuracy"]) == 1.0
