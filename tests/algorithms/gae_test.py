"""Advantages by hand, at the ends of lambda, and against the sum that they are defined by."""

import numpy as np
import pytest

from r1.algorithms import gae

REWARD_T = np.array([0.0, 0.0, 1.0])
VALUE_T = np.array([0.5, 0.2, 0.6])
# gamma 1: delta = (0 + .2 - .5, 0 + .6 - .2, 1 + 0 - .6) = (-.3, .4, .4).
BY_HAND = {
  0.0: [-0.3, 0.4, 0.4],
  0.5: [-0.3 + 0.5 * 0.6, 0.4 + 0.5 * 0.4, 0.4],  # 0, .6, .4
  1.0: [0.5, 0.8, 0.4],  # 1 - .5, 1 - .2, 1 - .6
}


@pytest.mark.parametrize("lam", BY_HAND)
def test_the_advantages_of_three_tokens_by_hand(lam):
  found = gae.advantages(REWARD_T, VALUE_T, gamma=1.0, lam=lam)
  np.testing.assert_allclose(found, BY_HAND[lam], rtol=1e-12, atol=1e-12)


def test_a_discount_by_hand():
  # gamma .5: delta = (.1 - .5, .3 - .2, .4) = (-.4, .1, .4); decay .25: .4, .1 + .1, -.4 + .05.
  found = gae.advantages(REWARD_T, VALUE_T, gamma=0.5, lam=0.5)
  np.testing.assert_allclose(found, [-0.35, 0.2, 0.4], rtol=1e-12)


def random_episode(length=17, seed=3):
  rng = np.random.default_rng(seed)
  return rng.normal(size=length), rng.normal(size=length)


def test_with_lambda_and_gamma_1_the_advantage_is_the_return_less_the_value():
  reward_T, value_T = random_episode()
  to_go_T = np.array([reward_T[t:].sum() for t in range(len(reward_T))])
  found = gae.advantages(reward_T, value_T, gamma=1.0, lam=1.0)
  np.testing.assert_allclose(found, to_go_T - value_T, rtol=1e-10)


def test_with_lambda_0_the_advantage_is_one_step_s_error():
  reward_T, value_T = random_episode()
  following_T = np.array([*value_T[1:], 0.0])
  found = gae.advantages(reward_T, value_T, gamma=0.9, lam=0.0)
  np.testing.assert_allclose(found, reward_T + 0.9 * following_T - value_T, rtol=1e-12)


def test_it_is_the_sum_of_discounted_errors():
  """1506.02438 eq. 16, term by term."""
  reward_T, value_T = random_episode()
  gamma, lam, T = 0.97, 0.8, len(reward_T)
  behind_T = np.array([*value_T, 0.0])
  delta_T = [reward_T[t] + gamma * behind_T[t + 1] - value_T[t] for t in range(T)]
  wanted = [sum((gamma * lam) ** (k - t) * delta_T[k] for k in range(t, T)) for t in range(T)]
  found = gae.advantages(reward_T, value_T, gamma=gamma, lam=lam)
  np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_perfect_critic_leaves_nothing_to_learn_whatever_lambda():
  value_T = np.full(5, 0.7)
  for lam in (0.0, 0.5, 1.0):
    found = gae.advantages(np.array([0, 0, 0, 0, 0.7]), value_T, gamma=1.0, lam=lam)
    np.testing.assert_allclose(found, np.zeros(5), atol=1e-12)


def test_an_answer_of_one_token_has_its_reward_less_its_value():
  np.testing.assert_allclose(gae.advantages(np.array([2.0]), [0.5], gamma=1, lam=0.95), [1.5])


# Rewards of tokens -------------------------------------------------------------------------------


def test_the_penalty_is_on_every_token_and_the_task_s_reward_on_the_last():
  # -0.1 x (1, -2, 0.5) and 3 more on the last: a token likelier than under the reference pays.
  found = gae.token_rewards(3.0, [1.0, -2.0, 0.5], 0.1)
  np.testing.assert_allclose(found, [-0.1, 0.2, 2.95], rtol=1e-12)


def test_the_rewards_given_are_not_written_into():
  log_ratio_T = np.ones(2)
  gae.token_rewards(3.0, log_ratio_T, 0.0)
  np.testing.assert_array_equal(log_ratio_T, [1, 1])


def test_the_summed_penalty_grows_with_the_answer():
  """Which is what 2501.12948v2 section A.3 holds against it: length is penalised on the side."""
  short, long = (gae.token_rewards(1.0, np.full(n, 0.2), 0.05).sum() for n in (10, 100))
  assert short == pytest.approx(1 - 0.1)
  assert long == pytest.approx(1 - 1.0)


# Whitening ---------------------------------------------------------------------------------------


def test_advantages_are_whitened_over_the_tokens_of_counted_answers_by_hand():
  # 1, 2, 2, 3: mean 2, deviation sqrt(1/2).
  given = [np.array([1.0, 2.0]), np.array([50.0]), np.array([2.0, 3.0])]
  one, out, two = gae.whitened(given, [True, False, True])
  np.testing.assert_allclose(one, [-(2**0.5), 0], rtol=1e-7, atol=1e-7)
  np.testing.assert_allclose(two, [0, 2**0.5], rtol=1e-7, atol=1e-7)
  np.testing.assert_array_equal(out, [0])


def test_equal_advantages_are_whitened_to_0():
  one, two = gae.whitened([np.full(3, 0.1), np.full(2, 0.1)], [True, True])
  assert not one.any()
  assert not two.any()


def test_nothing_counted_is_nothing_learned():
  (one,) = gae.whitened([np.array([1.0, 2.0])], [False])
  assert not one.any()
  assert gae.whitened([], []) == []


# The critic --------------------------------------------------------------------------------------


def test_explained_variance_by_hand():
  return_T = [0.0, 1.0, 2.0]  # variance 2/3
  assert gae.explained_variance(return_T, return_T) == 1
  assert gae.explained_variance([0.3] * 3, return_T) == 0
  # errors 0, 0, 1: variance 2/9; 1 - (2/9) / (2/3) = 2/3
  assert gae.explained_variance([0.0, 1.0, 1.0], return_T) == pytest.approx(2 / 3)
  assert gae.explained_variance([2.0, 1.0, 0.0], return_T) == pytest.approx(1 - 4)
  assert np.isnan(gae.explained_variance([0.0, 1.0], [1.0, 1.0]))
