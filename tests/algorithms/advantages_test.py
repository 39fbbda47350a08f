"""Advantages and weights against numbers worked by hand and the float64 reference."""

import numpy as np
import pytest

from r1.algorithms import advantages
from tests.algorithms import reference, rows


def every(reward_QG):
  return np.ones(np.shape(reward_QG), bool)


def group(rewards, valid=None, **changes):
  """The advantages of one group."""
  cfg = rows.config(group=len(rewards), **changes)
  valid = every(rewards) if valid is None else np.array(valid)
  return advantages.group_advantages([rewards], valid[None], cfg)[0]


def test_advantages_by_hand():
  # mean .5, squares 4 x .25: population std .5, sample std sqrt(1/3).
  np.testing.assert_allclose(group([1, 0, 1, 0], std="population", std_eps=0.0), [1, -1, 1, -1])
  np.testing.assert_allclose(group([1, 0, 1, 0], std="none"), [0.5, -0.5, 0.5, -0.5])
  np.testing.assert_allclose(group([1, 0, 1, 0], std_eps=0.0), np.array([1, -1, 1, -1]) * 0.75**0.5)
  np.testing.assert_allclose(group([1, 0, 1, 0], std="population", std_eps=0.5)[0], 0.5)
  assert group([1, 0, 1, 0]).dtype == np.float32


@pytest.mark.parametrize("std", ["none", "sample", "population"])
@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_advantages_agree_with_the_float64_reference(std, eps):
  rng = np.random.default_rng(0)
  reward_QG, valid_QG = rng.normal(3, 2, (40, 6)), rng.random((40, 6)) < 0.7
  got_QG = advantages.group_advantages(
    np.where(valid_QG, reward_QG, np.nan), valid_QG, rows.config(group=6, std=std, std_eps=eps)
  )
  want_QG = reference.advantages(reward_QG, valid_QG, std, eps)
  np.testing.assert_allclose(got_QG, want_QG, rtol=1e-5, atol=1e-6)


def test_advantages_ignore_a_shift_and_a_scale_of_the_rewards():
  # 1e12 in the squares: their difference would keep five digits of the variance, in float64 too.
  rewards = np.array([0.1, 1.3, 0.7, 2.9])
  got, far = group(rewards, std_eps=0.0), group(1e6 + 3 * rewards, std_eps=0.0)
  np.testing.assert_allclose(got, far, rtol=1e-6)


def test_groups_are_rows_even_when_two_prompts_read_the_same():
  """GRPO-Zero groups by the prompt's text; R1-V #67 and Search-R1 #88 by batch position."""
  # Two questions with one text, all right and half right: merged, the first would get +.25.
  cfg = rows.config(group=4, std="none")
  reward_QG = [[1, 1, 1, 1], [1, 0, 1, 0]]
  got_QG = advantages.group_advantages(reward_QG, every(reward_QG), cfg)
  np.testing.assert_array_equal(got_QG, [[0, 0, 0, 0], [0.5, -0.5, 0.5, -0.5]])


def test_a_shuffled_minibatch_is_refused_because_its_groups_are_not_whole():
  """R1 shuffles 8,192 answers over 16 mini-batches; the advantages come first."""
  reward = np.random.default_rng(1).random(32 * 16)
  with pytest.raises(ValueError, match="before its shuffle"):
    advantages.group_advantages(reward, every(reward), rows.config(group=16))
  with pytest.raises(ValueError, match=r"group=16"):
    advantages.group_advantages(reward.reshape(64, 8), every(reward.reshape(64, 8)), rows.config())


def test_the_variance_takes_two_passes():
  """NeMo-RL #1518, #4158: E[x^2] - E[x]^2 in float32 gave -1415 for the odd one out."""
  # .6 below the rest: mean .875, deviations -.525 and 7 x .075, so sum of squares .315 and
  # sample std sqrt(.315 / 7) = .2121320; -.525 / .2121320 = -2.474874.
  rewards = np.array([0.35] + [0.95] * 7, np.float32)
  np.testing.assert_allclose(group(rewards, std_eps=0.0)[0], -2.474874, rtol=1e-5)
  np.testing.assert_allclose(group(rewards + np.float32(64), std_eps=0.0)[0], -2.474874, rtol=1e-3)


@pytest.mark.parametrize("std", ["none", "sample", "population"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1 / 3, 1e8])
def test_equal_rewards_give_exactly_zero(std, value):
  np.testing.assert_array_equal(group([value] * 7, std=std, std_eps=0.0), np.zeros(7))


def test_float_noise_is_not_a_signal():
  """An epsilon of 1e-9 turns 3e-8 of noise into +-1.4."""
  noisy = [0.5, 0.5 + 3e-8, 0.5, 0.5 - 3e-8]
  np.testing.assert_array_equal(group(noisy, std_eps=1e-9), np.zeros(4))
  np.testing.assert_array_equal(group([0.1 + 0.2, 0.3], std_eps=0.0), [0, 0])
  # Four orders of magnitude above the noise there is a signal, and it is standardised.
  assert group([0.5, 0.51], std_eps=0.0)[1] == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("junk", [np.nan, np.inf, 1e9])
def test_a_sample_without_verdict_leaves_its_groups_baseline(junk):
  """OpenRLHF #1239: a masked sample must not move its group."""
  got = group([1, 0, junk, 1, 0], [True, True, False, True, True], std="none")
  np.testing.assert_array_equal(got, [0.5, -0.5, 0, 0.5, -0.5])
  got = group([1, 0, junk, 1, 0], [True, True, False, True, True])
  np.testing.assert_array_equal(got[[0, 1, 3, 4]], group([1, 0, 1, 0]))


def test_a_group_with_one_verdict_or_none_has_no_advantage():
  """A group of one keeps its raw reward as advantage in verl."""
  np.testing.assert_array_equal(group([5, 9, 9], [True, False, False]), [0, 0, 0])
  np.testing.assert_array_equal(group([5, 9, 9], [False, False, False]), [0, 0, 0])


def test_a_reward_that_is_no_number_is_refused_rather_than_scored():
  """tinker-cookbook #335 gave 1.0 where the gold answer could not be parsed."""
  with pytest.raises(ValueError, match="question 0, answer 1 is nan"):
    group([1, np.nan, 0])


def test_informative_groups_have_a_spread_among_valid_rewards():
  reward_QG = [[1, 1, 1], [1, 0, 1], [1, 1, 0], [np.nan, 7, 0]]
  valid_QG = [[1, 1, 1], [1, 1, 1], [1, 1, 0], [0, 1, 0]]
  np.testing.assert_array_equal(advantages.informative(reward_QG, valid_QG), [0, 1, 0, 0])


def test_groups_without_spread_count_unless_sampling_is_dynamic():
  """TRL #5640: equal groups still feel the KL; TRL and verl count their tokens, prime-rl not."""
  reward_QG = [[1, 1, 1], [1, 0, np.nan]]
  valid_QG = np.array([[1, 1, 1], [1, 1, 0]], bool)
  keep, drop = rows.config(group=3), rows.config(group=3, dynamic=True)
  np.testing.assert_array_equal(advantages.counted(reward_QG, valid_QG, keep), valid_QG)
  np.testing.assert_array_equal(
    advantages.counted(reward_QG, valid_QG, drop), [[False] * 3, [True, True, False]]
  )


def test_each_of_three_policies_for_truncated_answers_has_a_baseline_of_its_own():
  # The third answer is right and cut. keep: mean .75; zero: mean .5; mask: mean 2/3 of three.
  reward_QG, cut_QG = np.array([[1.0, 0, 1, 1]]), np.array([[False, False, True, False]])
  want = {
    "keep": [0.25, -0.75, 0.25, 0.25],
    "zero": [0.5, -0.5, -0.5, 0.5],
    "mask": [1 / 3, -2 / 3, 0, 1 / 3],
  }
  for policy, advantage in want.items():
    cfg = rows.config(group=4, std="none", truncated=policy)
    reward, valid = advantages.apply_truncation(reward_QG, every(reward_QG), cut_QG, cfg)
    np.testing.assert_allclose(
      advantages.group_advantages(reward, valid, cfg)[0], advantage, rtol=1e-6
    )
    assert valid[0, 2] == (policy != "mask")
  assert reward_QG[0, 2] == 1  # the caller's array is left alone


def test_a_truncated_answer_without_verdict_stays_without_verdict():
  cfg = rows.config(group=2, truncated="zero")
  reward, valid = advantages.apply_truncation([[np.nan, 1.0]], [[False, True]], [[1, 0]], cfg)
  assert np.isnan(reward[0, 0])
  np.testing.assert_array_equal(valid, [[False, True]])


def test_weights_by_hand():
  # Lengths 1, 3, 4; the last does not count: n = 2, tokens 4, n x max_tokens = 20.
  want = {"response": [1 / 2, 1 / 6, 0], "token": [1 / 4, 1 / 4, 0], "constant": [0.05, 0.05, 0]}
  for normalise, weight_B in want.items():
    cfg = rows.config(normalise=normalise, max_tokens=10)
    got_B = advantages.token_weights([1, 3, 4], [True, True, False], cfg)
    np.testing.assert_allclose(got_B, weight_B, rtol=1e-6)
    assert got_B.dtype == np.float32


@pytest.mark.parametrize("normalise", ["response", "token"])
def test_the_tokens_of_any_step_weigh_one_also_in_a_short_last_step(normalise):
  """open-instruct #1137, SkyRL #1504: the last window is shorter than the others."""
  cfg, rng = rows.config(normalise=normalise), np.random.default_rng(2)
  for count in (64, 64, 5):
    lengths_B, counted_B = rng.integers(1, 50, count), rng.random(count) < 0.8
    weight_B = advantages.token_weights(lengths_B, counted_B, cfg)
    assert (weight_B * lengths_B).sum() == pytest.approx(1, rel=1e-5)


def test_the_constant_is_the_configured_limit_and_not_this_batchs_width():
  """verl #3741: Dr. GRPO divided by the padded width of the micro-batch."""
  cfg = rows.config(normalise="constant", max_tokens=50)
  narrow = advantages.token_weights([2, 3], [True, True], cfg)
  wide = advantages.token_weights([2, 40], [True, True], cfg)
  assert narrow[0] == wide[0] == np.float32(0.01)
  with pytest.raises(ValueError, match="a response has 51 tokens, more than max_tokens=50"):
    advantages.token_weights([2, 51], [True, True], cfg)


@pytest.mark.parametrize("normalise", ["response", "token", "constant"])
def test_a_step_without_any_counted_response_weighs_nothing(normalise):
  cfg = rows.config(normalise=normalise)
  np.testing.assert_array_equal(advantages.token_weights([3, 0], [False, False], cfg), [0, 0])


def test_weights_refuse_what_cannot_be():
  with pytest.raises(ValueError, match="response 1 counts but has 0 tokens"):
    advantages.token_weights([3, 0], [True, True], rows.config())
  with pytest.raises(ValueError, match="two vectors of one length"):
    advantages.token_weights([3, 4], [True], rows.config())
  with pytest.raises(ValueError, match="three arrays of one shape"):
    advantages.apply_truncation([[1.0, 0]], [[True, True]], [[True]], rows.config())
