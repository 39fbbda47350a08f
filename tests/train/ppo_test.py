"""PPO's half of an iteration: values of states, rewards of tokens, two batches, and a critic."""

import functools

import jax
import numpy as np
import pytest

from r1.algorithms import experts, gae, minibatch
from r1.algorithms import ppo as objective
from r1.data import packing
from r1.model import transformer
from r1.train import optimizer, ppo, state
from tests.algorithms import ppo_test as by_hand
from tests.train import rl_test, tiny

CFG, VALUE_CFG = tiny.model(), tiny.model(scalar=True)


def config(**changes):
  return by_hand.config(**({"max_tokens": 24, "whiten": False, "kl": 0.0} | changes))


@functools.cache
def critic(seed=3):
  """A value model whose head is not 0."""
  head_D = np.random.default_rng(seed).normal(size=VALUE_CFG.D).astype(np.float32)
  return tiny.params(VALUE_CFG, seed) | {"scalar_D": head_D}


def prepare(samples, rewards, cfg, *, value=None, ref=None, minibatches=2, temperature=1.0):
  return ppo.prepare(
    samples,
    rewards,
    tiny.params(CFG),
    tiny.params(CFG) if ref is None else ref,
    tiny.params(VALUE_CFG) if value is None else value,
    model_cfg=CFG,
    value_cfg=VALUE_CFG,
    batch=tiny.batch_config(minibatches=minibatches),
    cfg=cfg,
    temperature=temperature,
  )


def all_steps(scored, cfg, minibatches=2, seed=0):
  batch, rng = tiny.batch_config(minibatches=minibatches), np.random.default_rng(seed)
  return list(ppo.steps(scored, batch=batch, cfg=cfg, rng=rng, microbatches=8))


def logp(weights, samples, temperature=1.0):
  """Of the answers' tokens."""
  found = rl_test.score(weights, samples, temperature)
  return [x[s.prompt_length :] for s, x in zip(samples, found, strict=True)]


# Values and advantages -------------------------------------------------------------------------


def test_a_token_s_value_is_of_the_prefix_in_front_of_it():
  """Packed rows with shared prompts against each sample alone in a row; temperature or not."""
  samples = tiny.random_samples(8)
  scored = prepare(samples, rl_test.rewarded([0] * 8), config(), value=critic(), temperature=0.5)
  for s, value_T in zip(samples, scored.values, strict=True):
    alone = packing.pack([(s.tokens, np.ones(len(s.tokens), bool))], 32)
    value_BL = np.asarray(objective.score(critic(), alone, VALUE_CFG))
    # The state before answer token t ends with token prompt_length + t - 1.
    wanted_T = value_BL[0, s.prompt_length - 1 : len(s.tokens) - 1]
    np.testing.assert_allclose(value_T, wanted_T, rtol=1e-4, atol=1e-5)


def test_with_values_of_0_and_lambda_1_every_token_gets_the_answer_s_reward():
  samples = tiny.random_samples(8)
  scored = prepare(samples, rl_test.rewarded(range(8)), config(lam=1.0))
  for i, (own_T, return_T) in enumerate(zip(scored.advantages, scored.returns, strict=True)):
    np.testing.assert_array_equal(own_T, np.full(samples[i].length, i))
    np.testing.assert_array_equal(return_T, own_T)
  np.testing.assert_array_equal(scored.rollout.advantage_B, range(8))


def test_with_values_of_0_lambda_fades_the_reward_towards_the_front():
  # The last token gets 1, the one before .5, then .25, ...
  samples = tiny.random_samples(4)
  scored = prepare(samples, rl_test.rewarded([1] * 4), config(lam=0.5))
  for own_T in scored.advantages:
    np.testing.assert_allclose(own_T, 0.5 ** np.arange(len(own_T))[::-1])


def test_the_advantages_are_those_of_the_critic_s_values():
  samples = tiny.random_samples(4)
  scored = prepare(samples, rl_test.rewarded([1, 0, 0, 1]), config(gamma=0.9), value=critic())
  for reward, value_T, own_T, return_T in zip(
    (1, 0, 0, 1), scored.values, scored.advantages, scored.returns, strict=True
  ):
    wanted_T = gae.advantages(
      gae.token_rewards(reward, np.zeros(len(value_T)), 0.0), value_T, gamma=0.9, lam=0.95
    )
    np.testing.assert_allclose(own_T, wanted_T)
    np.testing.assert_allclose(return_T, wanted_T + value_T)


def test_the_kl_to_the_reference_is_paid_token_by_token_in_the_reward():
  """2402.03300 eq. 2. With lambda 1 and values of 0 an advantage is the reward to go."""
  samples, other, temperature = tiny.random_samples(8), tiny.params(CFG, seed=9), 0.7
  given = rl_test.rewarded([1] * 8)
  cfg = config(kl=0.3, lam=1.0)
  scored = prepare(samples, given, cfg, ref=other, temperature=temperature)
  both = zip(logp(tiny.params(CFG), samples, temperature), logp(other, samples, temperature))
  drift = [old_T - ref_T for old_T, ref_T in both]
  for own_T, drift_T in zip(scored.advantages, drift, strict=True):
    wanted = [1 - 0.3 * drift_T[t:].sum() for t in range(len(drift_T))]
    np.testing.assert_allclose(own_T, wanted, rtol=1e-5, atol=1e-5)
  assert scored.metrics["policy/kl"] == pytest.approx(np.concatenate(drift).mean(), rel=1e-5)
  paid = -0.3 * np.mean([drift_T.sum() for drift_T in drift])
  assert scored.metrics["reward/kl"] == pytest.approx(paid, rel=1e-5)


def test_a_policy_that_is_its_reference_pays_nothing():
  scored = prepare(tiny.random_samples(4), rl_test.rewarded([1, 0, 0, 0]), config(kl=0.5))
  assert scored.metrics["reward/kl"] == 0
  assert scored.metrics["value/explained_variance"] == 0, "of a critic that says 0 everywhere"


def test_advantages_are_whitened_over_the_rollout_and_not_over_a_step():
  samples = tiny.random_samples(8)
  cfg = config(whiten=True, lam=1.0)
  scored = prepare(samples, rl_test.rewarded([5, 1, 0, 0, 0, 0, 0, 0]), cfg, value=critic())
  every = np.concatenate(scored.advantages)
  assert abs(every.mean()) < 1e-9
  assert every.std() == pytest.approx(1)
  means = []
  for policy, _, _ in all_steps(scored, cfg):
    live = np.asarray(policy.weight_BL) > 0
    means.append(float(np.asarray(policy.advantage_BL)[live].mean()))
  assert max(map(abs, means)) > 1e-3


def test_an_answer_without_verdict_is_neither_learned_nor_whitened_with():
  samples = tiny.random_samples(8)
  valid = [True] * 7 + [False]
  cfg = config(whiten=True, lam=1.0)
  scored = prepare(samples, rl_test.rewarded([1, 0] * 4, valid), cfg)
  every = np.concatenate(scored.advantages[:7])
  assert abs(every.mean()) < 1e-9
  assert not scored.advantages[7].any()
  ((policy, value, _),) = all_steps(scored, cfg, minibatches=1)
  for batch in (policy, value):
    assert (np.asarray(batch.weight_BL) > 0).sum() == sum(s.length for s in samples[:7])


def test_a_rollout_without_any_verdict_moves_nothing():
  samples = tiny.random_samples(4)
  scored = prepare(samples, rl_test.rewarded([1] * 4, [False] * 4), config(whiten=True))
  ((policy, value, used),) = all_steps(scored, config(), minibatches=1)
  assert used == 0
  assert not np.asarray(policy.weight_BL).any()
  assert not np.asarray(value.weight_BL).any()


def cut(samples, i):
  s = samples[i]
  made = tiny.sample(s.question, s.number, s.tokens, s.prompt_length, logp=s.logp, truncated=True)
  return [*samples[:i], made, *samples[i + 1 :]]


def test_a_cut_answer_ends_with_its_reward_and_nothing_is_expected_behind_it():
  whole = tiny.random_samples(4)
  given, cfg = rl_test.rewarded([1, 0, 1, 0]), config(lam=0.0)
  found = prepare(cut(whole, 0), given, cfg, value=critic())
  wanted = prepare(whole, given, cfg, value=critic())
  for a, b in zip(found.advantages, wanted.advantages, strict=True):
    np.testing.assert_array_equal(a, b)
  # lambda 0: the last token's advantage is its reward less its value, with no value behind it.
  assert found.advantages[0][-1] == pytest.approx(1 - found.values[0][-1])


@pytest.mark.parametrize(
  ("truncated", "reward", "counted"), [("zero", 0, True), ("mask", 0, False)]
)
def test_a_cut_answer_may_be_worth_0_or_be_left_out(truncated, reward, counted):
  samples = cut(tiny.random_samples(4), 0)
  cfg = config(truncated=truncated, lam=1.0)
  scored = prepare(samples, rl_test.rewarded([1, 1, 1, 1]), cfg)
  assert scored.rollout.counted_B.tolist() == [counted, True, True, True]
  assert scored.rollout.advantage_B.tolist() == [reward, 1, 1, 1]


# Batches -----------------------------------------------------------------------------------------


def test_every_column_speaks_of_the_token_that_it_stands_at():
  """Each number is found again by its token, through the shuffle and rows with shared prompts."""
  samples = []
  for i in range(8):
    answer = [20 + i * 8 + t for t in range(i + 1)]  # ids that no other answer has
    samples.append(tiny.sample(None, i % 4, [5 + i // 4, 9, *answer], 2, logp=[-0.1] * (i + 1)))
  cfg = config(lam=0.7)
  scored = prepare(samples, rl_test.rewarded(range(8)), cfg, value=critic())
  old = logp(tiny.params(CFG), samples)
  seen = 0
  for policy, value, used in all_steps(scored, cfg):
    live = np.asarray(policy.weight_BL) > 0
    np.testing.assert_array_equal(policy.target_BL, value.target_BL)
    np.testing.assert_array_equal(policy.weight_BL, value.weight_BL)
    assert policy.weight_BL.sum() == pytest.approx(1), "one over all tokens of the step"
    assert used <= 8
    at = [(int(x - 20) // 8, int(x - 20) % 8) for x in np.asarray(policy.target_BL)[live]]
    for column, rows in (
      (policy.advantage_BL, scored.advantages),
      (policy.old_logp_BL, old),
      (value.return_BL, scored.returns),
      (value.old_value_BL, scored.values),
    ):
      wanted = [rows[i][t] for i, t in at]
      np.testing.assert_allclose(np.asarray(column)[live], wanted, rtol=1e-5)
    seen += len(at)
  assert seen == sum(s.length for s in samples)


def test_one_update_a_rollout_has_no_old_log_probabilities_and_still_pays_kl():
  other, cfg = tiny.params(CFG, seed=9), config(kl=0.1)
  given = rl_test.rewarded([1, 0, 0, 0])
  scored = prepare(tiny.random_samples(4), given, cfg, ref=other, minibatches=1)
  ((policy, _, _),) = all_steps(scored, cfg, minibatches=1)
  assert policy.old_logp_BL is None
  assert scored.metrics["reward/kl"] != 0


def test_an_empty_step_has_the_shape_of_every_step():
  scored = prepare(tiny.random_samples(8), rl_test.rewarded([1] * 8), config())
  _, value, _ = all_steps(scored, config())[0]
  empty, used = ppo.empty_step(tiny.batch_config(), 8)
  assert used == 0
  assert jax.tree.map(np.shape, empty) == jax.tree.map(np.shape, value)
  assert jax.tree.structure(empty) == jax.tree.structure(value)


# The critic learns -------------------------------------------------------------------------------


def test_the_value_loss_falls_where_every_answer_is_worth_the_same():
  """Constant reward 1, lambda 1: all returns are 1, so a value of 1 everywhere is perfect."""
  cfg, batch = config(lam=1.0), tiny.batch_config(minibatches=2)
  tx = optimizer.make(tiny.adam(weight_decay=0.0), transformer.specs(VALUE_CFG))
  made = state.init(tiny.params(VALUE_CFG), tx)
  given = VALUE_CFG, tx, made, batch, cfg, experts.OFF
  place = lambda given: jax.tree.map(jax.numpy.asarray, given)
  update = ppo.compiled(*given, microbatches=8, place=place, unit=1)
  samples, losses = tiny.random_samples(8), []
  for number in range(10):
    scored = prepare(samples, rl_test.rewarded([1] * 8), cfg, value=made.policy)
    for _, value, used in all_steps(scored, cfg, seed=number):
      made, found = update(made, place(value), used)
      losses.append(ppo.named(jax.device_get(found))["value/loss"])
  assert losses[0] == pytest.approx(0.5), "half of the square of 1 - 0"
  assert losses[-1] < 0.01
  last = prepare(samples, rl_test.rewarded([1] * 8), cfg, value=made.policy)
  np.testing.assert_allclose(np.concatenate(last.values), 1, atol=0.3)
  assert int(made.step) == 20


def test_an_update_s_metrics_are_renamed_after_the_value_model():
  found = {"policy/loss": 1.0, "value/mean": 2.0, "router/x": 3.0, "policy/grad_norm": 4.0}
  assert ppo.named(found) == {
    "value/loss": 1.0,
    "value/mean": 2.0,
    "value/router/x": 3.0,
    "value/grad_norm": 4.0,
  }


def test_scores_of_anything_come_back_to_their_tokens():
  samples, batch = tiny.random_samples(8), tiny.batch_config()
  numbers = tiny.question_numbers(samples)
  found = minibatch.each(samples, batch, lambda chunk: chunk.target_BL, question_B=numbers)
  for s, target in zip(samples, found, strict=True):
    np.testing.assert_array_equal(target[s.prompt_length :], s.tokens[s.prompt_length :])
    assert not target[: s.prompt_length].any()
