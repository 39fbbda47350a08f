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


def test_a_new_scalar_head_is_half_right_and_costs_log_two():
  cfg = tiny.config(scalar=True)
  params = tiny.params(cfg) | {"scalar_D": jnp.zeros(cfg.D)}
  made = batch([pairs.labelled(3, 1), pairs.labelled(5, -1)])
  value, found = tiny.jit(ends.make_loss(pointwise.loss, cfg, experts.OFF))(params, made)
  assert float(value) == pytest.approx(math.log(2))
  assert float(found["sum"]["reward_model/accuracy"]) == 1.0
