"""The schedule, the clip and the weight decay, each against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1 import spec
from r1.train import optimizer
from tests.train import tiny


def specs():
  def ones(_, shape):
    return jnp.ones(shape)

  return {
    "up_DF": spec.ParamSpec((1, 2), "DF", "D", ones),
    "norm_D": spec.ParamSpec((2,), "D", "", ones),
  }


def first_step(grads, **changes):
  """(change of each parameter, optimiser state) of one step from parameters of all ones."""
  tx = optimizer.make(tiny.adam(**changes), specs())
  params = jax.tree.map(jnp.ones_like, grads)
  delta, state = tx.update(grads, tx.init(params), params)
  return delta, state


def test_the_learning_rate_climbs_to_the_peak_and_follows_the_cosine_down():
  cfg = tiny.adam(learning_rate=1.0, warmup=4, steps=14, final=0.1)
  # Steps 0..4: 1/5 of the peak each. Half of the remaining 10: .1 + .9 (1 + cos(pi/2)) / 2 = .55.
  wanted = {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 1.0, 9: 0.55, 14: 0.1, 99: 0.1}
  rate = optimizer.schedule(cfg)
  assert {n: float(rate(n)) for n in wanted} == pytest.approx(wanted, rel=1e-6)


def test_no_warm_up_starts_at_the_peak_and_a_final_share_of_1_stays_there():
  rate = optimizer.schedule(tiny.adam(learning_rate=0.3, warmup=0, steps=7, final=1.0))
  assert [float(rate(n)) for n in (0, 3, 7, 50)] == pytest.approx([0.3] * 4)


def test_only_matmul_weights_decay():
  zero = {"up_DF": jnp.zeros((1, 2)), "norm_D": jnp.zeros(2)}
  delta, _ = first_step(zero, learning_rate=0.1, weight_decay=0.5)
  np.testing.assert_allclose(delta["up_DF"], -0.1 * 0.5, rtol=1e-6)  # -rate * decay * 1
  np.testing.assert_array_equal(delta["norm_D"], 0)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_sign():
  # m / sqrt(v) = g / |g| after the bias corrections, whatever the size of g.
  grads = {"up_DF": jnp.array([[0.1, -1e-3]]), "norm_D": jnp.array([0.0, 2e-3])}
  delta, _ = first_step(grads, learning_rate=0.1, weight_decay=0.0)
  np.testing.assert_allclose(delta["up_DF"], [[-0.1, 0.1]], rtol=1e-4)
  np.testing.assert_allclose(delta["norm_D"], [0, -0.1], rtol=1e-4)


def test_the_clip_is_on_the_norm_over_all_parameters_together():
  # |(3, 0, 0, 4)| = 5, clipped to 1: (.6, 0, 0, .8); the first moment is .1 of it.
  grads = {"up_DF": jnp.array([[3.0, 0.0]]), "norm_D": jnp.array([0.0, 4.0])}
  _, state = first_step(grads, clip=1.0, b1=0.9)
  moments = optax.tree_utils.tree_get(state, "mu")
  np.testing.assert_allclose(moments["up_DF"], [[0.06, 0]], rtol=1e-5)
  np.testing.assert_allclose(moments["norm_D"], [0, 0.08], rtol=1e-5)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"final": 1.5}, r"final=1.5 must be in \[0, 1\]"),
    ({"learning_rate": -1.0}, "learning_rate=-1.0 >= 0"),
    ({"clip": 0.0}, "clip=0.0 > 0"),
    ({"warmup": 5, "steps": 5}, "warmup=5 must be shorter than steps=5"),
  ],
)
def test_settings_that_make_no_sense_are_refused_with_their_numbers(changes, message):
  with pytest.raises(ValueError, match=message):
    tiny.adam(**changes)
