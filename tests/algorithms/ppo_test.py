"""The value loss by hand, against finite differences, and blind to masked slots."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import grpo, ppo
from tests.algorithms import rows
from tests.train import tiny

PPO = {
  "group": 4,
  "gamma": 1.0,
  "lam": 0.95,
  "kl": 0.001,
  "clip_low": 0.2,
  "clip_high": 0.2,
  "value_clip": None,
  "whiten": True,
  "normalise": "token",
  "max_tokens": 64,
  "truncated": "keep",
  "sampler_cap": None,
}


def config(**changes):
  return ppo.PpoConfig(**(PPO | changes))


def batch(weight, *, returns: Any = 0.0, old_value: Any = 0.0):
  """One row whose tokens have these numbers."""
  weight_BL = jnp.asarray([weight], jnp.float32)
  row = lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.float32), weight_BL.shape)
  ids_BL = jnp.ones(weight_BL.shape, jnp.int32)
  return ppo.ValueBatch(
    token_BL=ids_BL,
    position_BL=ids_BL,
    segment_BL=ids_BL,
    target_BL=ids_BL,
    weight_BL=weight_BL,
    return_BL=row(returns),
    old_value_BL=row(old_value),
  )


def value(values, made, cfg):
  """(loss, summary, gradient with respect to the row of values)."""
  loss = functools.partial(ppo.value_loss, batch=made, cfg=cfg)
  (found, metrics), grads = jax.value_and_grad(loss, has_aux=True)(
    jnp.asarray([values], jnp.float32)
  )
  summary = {name: float(x) for name, x in grpo.summary(found, metrics).items()}
  return float(found), summary, np.asarray(grads[0])


# The policy --------------------------------------------------------------------------------------


def test_the_policy_s_loss_is_grpo_s_with_an_advantage_per_token_and_no_kl():
  """1707.06347 eq. 7, token by token; the KL is in the reward, so its reference is not read."""
  # Ratios 2, 2, .5, .5 with clip .2: A 1 -> 1.2; A -1 -> -2; A 2 -> 1; A -2 -> -1.6.
  one = rows.response(
    np.log([0.5, 0.5, 0.1, 0.1]), old=np.log([0.25, 0.25, 0.2, 0.2]), ref=np.full(4, np.nan)
  )
  one["advantage"] = np.array([1, -1, 2, -2])
  found, summary, (gradient,) = rows.loss([one], config(kl=5.0).policy)
  assert found == pytest.approx(-(1.2 - 2 + 1 - 1.6) / 4, rel=1e-6)
  # -w A r where it is not clipped.
  np.testing.assert_allclose(gradient, [0, 0.5, -0.25, 0], rtol=1e-6)
  assert summary["policy/clip_fraction"] == 0.5


def test_every_setting_of_the_policy_s_loss_is_handed_on():
  changes = {"clip_low": 0.1, "clip_high": 0.3, "normalise": "constant", "max_tokens": 7}
  changes |= {"truncated": "mask", "sampler_cap": 2.0, "group": 5}
  made = config(**changes).policy
  assert {name: getattr(made, name) for name in changes} == changes
  assert made.kl == 0
  assert made.ratio == "token"


# The value ---------------------------------------------------------------------------------------


def test_the_value_loss_by_hand():
  # Errors .5, -1, 2 with weights .5, .25, .25: .5 (.5 x .25 + .25 x 1 + .25 x 4) = .6875.
  made = batch([0.5, 0.25, 0.25], returns=[0.5, 2.0, 1.0])
  found, summary, gradient = value([1.0, 1.0, 3.0], made, config())
  assert found == pytest.approx(0.6875)
  np.testing.assert_allclose(gradient, [0.25, -0.25, 0.5])
  assert summary["value/mean"] == pytest.approx(5 / 3)
  assert summary["value/clip_fraction"] == 0


def test_the_clipped_value_loss_by_hand():
  """The larger of both losses: an overshoot towards the return is flat, one away from it is not."""
  # Old values 0, clip .5. V 1, R 2: near .5, 1.5^2 > 1, flat. V 1, R -1: 2^2 > 1.5^2, live.
  # V .25, R 2: within the clip, 1.75^2 both ways, live.
  made = batch([1, 1, 1], returns=[2, -1, 2])
  found, summary, gradient = value([1.0, 1.0, 0.25], made, config(value_clip=0.5))
  assert found == pytest.approx(0.5 * (2.25 + 4 + 1.75**2))
  np.testing.assert_allclose(gradient, [0, 2, -1.75])
  assert summary["value/clip_fraction"] == pytest.approx(1 / 3)
  assert summary["value/moved"] == 1


@pytest.mark.parametrize("value_clip", [None, 0.3])
def test_the_value_loss_has_the_gradient_of_finite_differences(value_clip):
  rng, cfg = np.random.default_rng(7), config(value_clip=value_clip)
  weight, returns, old = rng.random(12), rng.normal(size=12), rng.normal(size=12)
  made = batch(weight, returns=returns, old_value=old)
  at = old + rng.normal(size=12)
  gradient = value(at, made, cfg)[2]

  def exact(values):
    """The same loss in float64."""
    plain = (values - returns) ** 2
    if value_clip is not None:
      near = old + np.clip(values - old, -value_clip, value_clip)
      plain = np.maximum(plain, (near - returns) ** 2)
    return 0.5 * np.sum(weight * plain)

  step = 1e-6 * np.eye(12)
  wanted = [(exact(at + e) - exact(at - e)) / 2e-6 for e in step]
  np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_float_noise_within_the_clip_is_not_counted_as_clipped():
  old = np.random.default_rng(1).normal(size=999)
  made = batch(np.ones(999), returns=np.roll(old, 1), old_value=old)
  assert value(old + 0.123456, made, config(value_clip=0.3))[1]["value/clip_fraction"] == 0


def test_a_value_is_what_the_head_gives_of_the_state_before_the_token():
  """And no temperature divides it (slime's test of value heads): twice the head, twice the value.

  Behind one token the states differ, so the value of a state must not depend on the token after.
  """
  model = tiny.model(scalar=True)
  params = tiny.params(model) | {"scalar_D": jnp.linspace(-1, 1, model.D)}
  ids_BL = jnp.arange(8)[None] + 5
  one_BL = jnp.ones_like(ids_BL)
  made = batch(np.ones(8)).replace(
    token_BL=ids_BL, position_BL=jnp.arange(8)[None], segment_BL=one_BL
  )
  value_BL = ppo.score(params, made, model)
  double_BL = ppo.score(params | {"scalar_D": 2 * params["scalar_D"]}, made, model)
  np.testing.assert_allclose(double_BL, 2 * value_BL, rtol=1e-5)
  assert len(set(np.asarray(value_BL)[0].tolist())) == 8
  other_BL = ppo.score(params, made.replace(token_BL=ids_BL.at[0, 5].set(99)), model)
  np.testing.assert_allclose(other_BL[:, :5], value_BL[:, :5], atol=1e-6)
  assert abs(other_BL[0, 5] - value_BL[0, 5]) > 1e-4


# Masked slots ------------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_masked_slots_may_hold_anything(junk):
  """OpenRLHF #1240: 0 x NaN is NaN, in the gradient too."""
  dead = np.array([False, True, False, True])
  poison = lambda x: np.where(dead, junk, x)
  cfg = config(value_clip=0.2)
  plain = batch([1.0, 0.0, 1.0, 0.0], returns=0.5, old_value=0.1)
  dirty = batch([1.0, 0.0, 1.0, 0.0], returns=poison(0.5), old_value=poison(0.1))
  at = np.array([0.9, 0.9, -0.9, 0.9])
  wanted, found = value(at, plain, cfg), value(poison(at), dirty, cfg)
  assert found[0] == wanted[0]
  assert found[1] == wanted[1]
  np.testing.assert_array_equal(found[2], wanted[2])
  assert not found[2][dead].any()
  assert found[2][~dead].all()


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"lam": 1.01}, "lam=1.01: wanted a number from 0 to 1"),
    ({"lam": -0.1}, "lam=-0.1"),
    ({"lam": float("nan")}, "lam=nan"),
    ({"gamma": 2.0}, "gamma=2.0"),
    ({"kl": -1.0}, "kl=-1.0: wanted a finite number, 0 or more"),
    ({"clip_high": float("inf")}, "clip_high=inf"),
    ({"value_clip": 0.0}, "value_clip=0.0: wanted more than 0, or None"),
    ({"sampler_cap": -1.0}, "sampler_cap=-1.0"),
    ({"group": 1}, "group=1"),
    ({"max_tokens": 0}, "max_tokens=0"),
    ({"normalise": "sum"}, "normalise='sum': choose one of response, token, constant"),
    ({"truncated": "drop"}, "truncated='drop': choose one of keep, mask, zero"),
  ],
)
def test_a_setting_that_makes_no_sense_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**changes)
