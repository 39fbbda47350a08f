"""Samples of an 8-bit cache: training tells how far off they are, and can weigh them."""

import dataclasses

import pytest

from r1.algorithms import grpo
from r1.train import rl
from tests.train import rl_skipped_test, rl_test, tiny

CFG = tiny.model()
REWARDS = rl_test.rewarded([i % 2 for i in range(8)])


@pytest.fixture(scope="module")
def samples():
  sampler = dataclasses.replace(tiny.SAMPLER, cache_dtype="int8")
  return tiny.drawn(tiny.params(CFG), CFG, count=2, sampler=sampler)


def test_the_gap_of_a_rollout_is_told_with_and_without_old_log_probabilities(samples):
  cfg = tiny.grpo_config(kl=0.0)
  known, live = (rl_test.prepare(samples, REWARDS, cfg, minibatches=n) for n in (2, 1))
  gap = rl.rollout_metrics(known, cfg)["sampler/logp_gap"]
  assert gap > 1e-4  # 1e-5 is what float32 leaves of an exact cache
  _, (_, value, total) = rl_skipped_test.gradient(live, cfg)
  metrics = grpo.summary(value, total)
  assert float(metrics["sampler/logp_gap"]) == pytest.approx(gap, abs=1e-5)
  assert 0 < metrics["sampler/logp_gap_mean"] < gap


def test_training_on_samples_of_a_rounded_cache_needs_a_cap():
  rl_test.check({}, {})
  rl_test.check({}, {"sampler_cap": 2.0}, cache_dtype="int8")
  with pytest.raises(ValueError, match=r"cache_dtype='int8' without a sampler_cap: .* set grpo"):
    rl_test.check({}, {}, cache_dtype="int8")


def test_a_cap_weighs_each_token_by_how_much_likelier_the_trainer_finds_it(samples):
  plain, capped = tiny.grpo_config(kl=0.0), tiny.grpo_config(kl=0.0, sampler_cap=2.0)
  live = rl_test.prepare(samples, REWARDS, plain, minibatches=1)
  _, (_, without, _) = rl_skipped_test.gradient(live, plain)
  _, (_, weighed, _) = rl_skipped_test.gradient(live, capped)
  assert float(weighed) != float(without)
