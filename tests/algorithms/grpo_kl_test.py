"""The KL penalty of the GRPO loss: its sign, its gradient, and what each estimator is good for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import grpo
from tests.algorithms import rows

KLS = ("k1", "k2", "k3")
REF_V = np.array([0.2, 0.7, 0.1])
LOGIT_V = np.log([0.5, 0.3, 0.2])  # softmax of it: .5 .3 .2


def expected_penalty(logit_V, cfg):
  """The loss's expectation over a three-word vocabulary: every word, weighted by its chance."""
  logp_1V = jax.nn.log_softmax(logit_V)[None]
  weight_1V = jnp.exp(jax.lax.stop_gradient(logp_1V))
  zero_1V, one_1V = jnp.zeros_like(logp_1V), jnp.ones((1, 3), jnp.int32)
  batch = grpo.GrpoBatch(
    token_BL=one_1V,
    position_BL=one_1V,
    segment_BL=one_1V,
    target_BL=one_1V,
    weight_BL=weight_1V,
    advantage_BL=zero_1V,
    old_logp_BL=logp_1V,
    ref_logp_BL=jnp.log(jnp.asarray(REF_V, jnp.float32))[None],
    sampler_logp_BL=logp_1V,
  )
  return grpo.loss(logp_1V, zero_1V, batch, cfg)[0]


def reverse_kl(logit_V):
  """KL(policy || ref), the distance that the paper's penalty estimates."""
  logp_V = jax.nn.log_softmax(logit_V)
  return jnp.sum(jnp.exp(logp_V) * (logp_V - jnp.log(jnp.asarray(REF_V, jnp.float32))))


def forward_kl(logit_V):
  """KL(ref || policy)."""
  logp_V = jax.nn.log_softmax(logit_V)
  return jnp.sum(REF_V * (np.log(REF_V) - logp_V))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_a_step_on_the_kl_alone_brings_the_policy_closer_to_the_reference(estimator):
  """verl PR #179, ToolRL #52, Logic-RL #58: the penalty is added to what is minimised."""
  cfg = rows.config(kl=1.0, kl_estimator=estimator)
  logit_V = jnp.asarray(LOGIT_V, jnp.float32)
  start = float(reverse_kl(logit_V))
  for _ in range(20):
    logit_V = logit_V - 0.5 * jax.grad(expected_penalty)(logit_V, cfg)
  assert float(reverse_kl(logit_V)) < 0.1 * start


def test_the_kl_estimators_have_the_value_and_the_gradient_they_claim():
  """verl #2953, NeMo-RL #2506, TRL #6503: an unbiased value does not make the gradient right."""
  logit_V = jnp.asarray(LOGIT_V, jnp.float32)
  value, gradient = {}, {}
  for estimator in KLS:
    cfg = rows.config(kl=1.0, kl_estimator=estimator)
    value[estimator], gradient[estimator] = jax.value_and_grad(expected_penalty)(logit_V, cfg)
  reverse, forward = jax.grad(reverse_kl)(logit_V), jax.grad(forward_kl)(logit_V)
  # .5 ln 2.5 + .3 ln(3/7) + .2 ln 2 = .342586
  assert value["k1"] == pytest.approx(0.342586, rel=1e-4)
  assert value["k3"] == pytest.approx(0.342586, rel=1e-4)
  np.testing.assert_allclose(gradient["k1"], np.zeros(3), atol=1e-6)
  # p (ln p/ref - .342586), word by word
  np.testing.assert_allclose(reverse, [0.286852, -0.356965, 0.070112], rtol=1e-4)
  np.testing.assert_allclose(gradient["k2"], reverse, rtol=1e-4, atol=1e-6)
  # k3's is that of the other divergence: for a softmax p - ref = (.3, -.4, .1).
  np.testing.assert_allclose(gradient["k3"], [0.3, -0.4, 0.1], atol=1e-6)
  np.testing.assert_allclose(gradient["k3"], forward, atol=1e-6)


@pytest.mark.parametrize("estimator", KLS)
def test_the_kl_carries_gradient_where_the_gain_has_none(estimator):
  """open-instruct #530, SkyRL #1340; TRL #5640: groups of equal rewards still feel the KL."""
  # d = ref - logp = ln 2: dk/dlogp is 1, -d = -.693147 and 1 - e^d = -1; two tokens, kl .5.
  slope = {"k1": 1.0, "k2": -0.693147, "k3": -1.0}[estimator]
  still = rows.response(np.log([0.25, 0.25]), ref=np.log([0.5, 0.5]), advantage=0)
  _, _, (gradient,) = rows.loss([still], rows.config(kl=0.5, kl_estimator=estimator))
  np.testing.assert_allclose(gradient, [0.25 * slope] * 2, rtol=1e-5)


def test_without_kl_the_reference_is_never_read():
  cfg = rows.config(kl=0.0)
  o = rows.response([-1.0, -2.0], ref=[np.nan, np.inf])
  value, _, (gradient,) = rows.loss([o], cfg)
  assert value == -1
  np.testing.assert_array_equal(gradient, [-0.5, -0.5])


def test_a_reference_ninety_nats_away_overflows_nothing_and_pulls_nothing():
  """NeMo-RL #874, TRL #3015: exp(90) is infinite in float32."""
  cfg = rows.config(kl=1.0)
  one = lambda d: rows.loss([rows.response([-100.0], ref=[-100.0 + d], advantage=0)], cfg)
  value, summary, (gradient,) = one(90.0)
  assert value == summary["policy/kl"] == pytest.approx(np.expm1(20) - 20, rel=1e-5)
  assert gradient == 0
  assert one(-90.0)[0] == pytest.approx(np.exp(-20) - 1 + 20, rel=1e-5)
  np.testing.assert_allclose(one(19.0)[2][0], 1 - np.exp(19), rtol=1e-4)


def test_k3_is_exact_for_tiny_distances():
  # d = 1e-3: exp(d) - 1 - d in float32 keeps two digits of 5.0017e-7; expm1 keeps four.
  d_BL = jnp.full((1, 1), 1e-3)
  np.testing.assert_allclose(grpo.k3(d_BL), [[5.00167e-7]], rtol=1e-3)
