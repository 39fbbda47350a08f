"""What an update need not run: samples without an advantage, and old log-probabilities."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from r1.algorithms import experts
from r1.model import transformer
from r1.train import optimizer, rl, state, step
from tests.train import rl_test, tiny

CFG = tiny.model()


@functools.cache
def learner(cfg):
  """Gradient, loss and metrics of a step, compiled."""
  loss = rl.make_loss(CFG, cfg, experts.OFF)
  return jax.jit(lambda p, b, n: step.accumulate(loss, p, b, n))


def gradient(scored, cfg, mixture=experts.OFF, weights=None):
  """(micro-batches in use, (gradient, loss, metrics)) of a rollout's only update."""
  ((batch, used),) = rl_test.all_steps(scored, cfg, minibatches=1, mixture=mixture)
  weights = tiny.params(CFG) if weights is None else weights
  return used, learner(cfg)(weights, (batch, np.ones(8, np.float32)), used)


MIXED = [1, 1, 1, 1] * 2 + [1, 0, 0, 1] + [0, 0, 0, 0] * 2  # one of five groups is informative


@pytest.mark.parametrize("normalise", ["token", "response", "constant"])
def test_without_kl_samples_of_advantage_0_are_left_out_and_the_gradient_stays(normalise):
  """prime-rl prunes them before it counts tokens; here what they weigh in the step stays."""
  cfg = tiny.grpo_config(kl=0.0, normalise=normalise)
  samples = tiny.random_samples(20)
  scored = rl_test.prepare(samples, rl_test.rewarded(MIXED), cfg)
  balanced = experts.ExpertsConfig(balance=0.0, bias_rate=1e-3)
  moved = tiny.params(CFG, seed=3)  # so that the ratios, and with them the losses, say something
  more, (want, value, total) = gradient(scored, cfg, balanced, moved)
  fewer, (found, same, less) = gradient(scored, cfg, weights=moved)
  assert fewer < more
  assert float(total["count"]) == sum(s.length for s in samples)
  assert float(less["count"]) == sum(s.length for s in samples[8:12])
  assert float(same) == pytest.approx(float(value), rel=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, want)
  assert max(np.abs(g).max() for g in jax.tree.leaves(want)) > 1e-2


@pytest.mark.parametrize(
  ("kl", "mixture"), [(0.1, {}), (0.0, {"balance": 0.1}), (0.0, {"bias_rate": 0.1})]
)
def test_samples_of_advantage_0_are_run_where_they_are_felt(kl, mixture):
  """TRL #5640: groups without spread still feel the KL; experts are balanced over all tokens."""
  cfg = tiny.grpo_config(kl=kl)
  mixture = experts.ExpertsConfig(**({"balance": 0.0, "bias_rate": 0.0} | mixture))
  samples = tiny.random_samples(20)
  steps = rl_test.all_steps(
    rl_test.prepare(samples, rl_test.rewarded(MIXED), cfg), cfg, mixture=mixture
  )
  assert sum((b.weight_BL > 0).sum() for b, _ in steps) == sum(s.length for s in samples)


def test_a_step_with_nothing_to_learn_changes_nothing():
  """No decay, no moment and no schedule moves on a step without any advantage (TRL #5640)."""
  cfg = tiny.grpo_config(kl=0.0)
  weights = tiny.params(CFG)
  scored = rl_test.prepare(tiny.random_samples(8), rl_test.rewarded([1] * 8), cfg)
  ((batch, used),) = rl_test.all_steps(scored, cfg, minibatches=1)
  assert used == 0
  tx = optimizer.make(tiny.adam(), transformer.specs(CFG))
  update = jax.jit(step.make_update(rl.make_loss(CFG, cfg, experts.OFF), tx))
  before = state.init(weights, tx)
  after, metrics = update(before, (batch, np.ones(8, np.float32)), used)
  jax.tree.map(np.testing.assert_array_equal, after, before)
  assert all(np.isfinite(float(x)) for x in metrics.values())
  assert metrics["policy/loss"] == metrics["policy/grad_norm"] == metrics["policy/skipped"] == 0


@pytest.mark.parametrize(
  ("ratio", "kl"), [("token", 0.0), ("token", 0.1), ("sequence", 0.0), ("geometric", 0.1)]
)
def test_the_only_update_of_a_rollout_takes_its_own_log_probabilities_for_the_old(kl, ratio):
  """The same gradient as with scored ones, and a ratio of exactly 1."""
  cfg = tiny.grpo_config(kl=kl, ratio=ratio, clip_low=0.1, clip_high=0.1, sampler_cap=1.5)
  samples = [dataclasses.replace(s, logp=s.logp - 5) for s in tiny.random_samples(8)]
  rewards = rl_test.rewarded([1, 0, 0, 1, 0, 1, 0, 0])
  ref = tiny.params(CFG, seed=7)
  live = rl_test.prepare(samples, rewards, cfg, ref=ref, minibatches=1)
  assert live.old is None
  assert (live.ref is None) == (kl == 0)
  known = rl_test.prepare(samples, rewards, cfg, ref=ref)
  (_, (found, value, total)), (_, (want, same, _)) = (gradient(s, cfg) for s in (live, known))
  assert float(value) == pytest.approx(float(same), rel=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, want)
  assert max(np.abs(g).max() for g in jax.tree.leaves(want)) > 1e-2
  tops = {name: float(x) for name, x in total["max"].items()}
  assert (tops["policy/ratio_gap"], tops["policy/ratio_max"]) == (0, 1)
  gap = rl.rollout_metrics(known, cfg)["sampler/logp_gap"]
  assert tops["sampler/logp_gap"] == pytest.approx(gap, rel=1e-5)
  assert gap > 0.1
  assert "sampler/logp_gap" not in rl.rollout_metrics(live, cfg)


def test_the_penalty_without_a_reference_is_refused():
  scored = rl_test.prepare(
    tiny.random_samples(4), rl_test.rewarded([1, 0, 0, 1]), tiny.grpo_config(kl=0.0)
  )
  with pytest.raises(ValueError, match=r"kl=0\.1 needs the reference's log-probabilities"):
    gradient(scored, tiny.grpo_config(kl=0.1))
