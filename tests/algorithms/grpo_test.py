"""The GRPO loss against the float64 reference, and against the bugs others had in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import advantages, grpo
from tests.algorithms import reference, rows

RATIOS = ("token", "sequence", "geometric")
KLS = ("k1", "k2", "k3")
NORMALISERS = ("response", "token", "constant")
CLIPS = (
  {"clip_low": 10.0, "clip_high": 10.0, "sampler_cap": None},
  {"clip_low": 0.05, "clip_high": 0.08, "sampler_cap": 1.1},
)


@pytest.mark.parametrize("clips", range(2), ids=("wide", "tight"))
@pytest.mark.parametrize("estimator", range(3), ids=KLS)
@pytest.mark.parametrize("ratio", range(3), ids=RATIOS)
def test_loss_and_gradient_agree_with_the_float64_reference(ratio, estimator, clips):
  cfg = rows.config(
    ratio=RATIOS[ratio],
    kl_estimator=KLS[estimator],
    normalise=NORMALISERS[(ratio + estimator + clips) % 3],  # a Latin square
    kl=0.3,
    max_tokens=12,
    **CLIPS[clips],
  )
  responses = rows.sampled(np.random.default_rng(3), count=9, longest=7)
  value, summary, gradients = rows.loss(responses, cfg, junk=np.nan)
  want, want_gradients, means = reference.loss(responses, cfg)
  np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-5)
  for got, gradient in zip(gradients, want_gradients, strict=True):
    np.testing.assert_allclose(got, gradient, rtol=1e-5, atol=1e-5)
  for name, mean in means.items():
    np.testing.assert_allclose(summary[name], mean, rtol=1e-5, atol=1e-5)
  if cfg.clip_high < 1:
    assert 0 < summary["policy/clip_fraction"] < 1  # both branches were compared


# The normaliser


def test_the_mean_is_over_the_whole_step_and_not_of_micro_batch_means():
  """TRL #3021, verl #906, SkyRL #1296: 100 tokens of loss 2 and 900 of loss .5 are .65."""
  cfg = rows.config(normalise="token", kl=0.0)
  long, short = (rows.response([-1.0] * n, advantage=a) for n, a in ((900, -0.5), (100, -2.0)))
  logp_BL, entropy_BL, batch, _ = rows.pack([long, short], cfg, per_row=1)
  total = sum(
    rows.run(logp_BL[b], entropy_BL[b], jax.tree.map(lambda x_BL, b=b: x_BL[b], batch), cfg)[0]
    for b in (slice(0, 1), slice(1, 2))
  )
  assert total == pytest.approx(0.65, rel=1e-5)  # the mean of means is 1.25


@pytest.mark.parametrize(("ratio", "normalise"), list(zip(RATIOS, NORMALISERS, strict=True)))
def test_any_split_into_micro_batches_adds_up_to_the_full_batch(ratio, normalise):
  """TRL #3231, verl #5641, SkyRL #1504: gradient, loss and metrics, for every split."""
  cfg = rows.config(ratio=ratio, normalise=normalise, clip_low=0.2, clip_high=0.2)
  responses = rows.sampled(np.random.default_rng(4), count=10, longest=9)
  logp_BL, entropy_BL, batch, _ = rows.pack(responses, cfg)
  whole, metrics, grad_BL = rows.run(logp_BL, entropy_BL, batch, cfg)
  for split in ([[0], [1, 2], [3, 4]], [[4, 1], [3], [2, 0]], [[0], [1], [2], [3], [4]]):
    value, total, added_BL = 0.0, None, np.zeros_like(grad_BL)
    for b in map(np.array, split):
      part = jax.tree.map(lambda x_BL, b=b: x_BL[b], batch)
      loss, m, g_BL = rows.run(logp_BL[b], entropy_BL[b], part, cfg)
      value, total = value + loss, m if total is None else grpo.add(total, m)
      added_BL[b] += g_BL
    assert value == pytest.approx(whole, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(added_BL, grad_BL, rtol=1e-5, atol=1e-7)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), total, metrics)


def test_the_place_of_a_response_in_the_rows_changes_nothing():
  """Neighbours in a packed row share no ratio, also after the shuffle into mini-batches."""
  responses = rows.sampled(np.random.default_rng(5), count=8, longest=6)
  order = np.random.default_rng(6).permutation(8)
  for ratio in RATIOS:
    cfg = rows.config(ratio=ratio, kl=0.1)
    value, _, gradients = rows.loss(responses, cfg, per_row=1)
    moved, _, shuffled = rows.loss([responses[i] for i in order], cfg, per_row=4)
    assert moved == pytest.approx(value, rel=1e-5, abs=1e-6)
    for place, i in enumerate(order):
      np.testing.assert_allclose(shuffled[place], gradients[i], rtol=1e-5, atol=1e-7)


# Masked slots


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e9])
def test_what_masked_slots_hold_changes_no_bit(ratio, junk):
  """OpenRLHF #1240, AReaL #1346, SkyRL #1305: prompts, padding and masked answers, poisoned."""
  cfg = rows.config(ratio=ratio, clip_low=0.2, clip_high=0.2, kl=0.1, sampler_cap=2.0)
  responses = rows.sampled(np.random.default_rng(7), count=8, longest=6)
  clean = rows.run(*rows.pack(responses, cfg, junk=0.0)[:3], cfg)
  dirty = rows.run(*rows.pack(responses, cfg, junk=junk)[:3], cfg)
  jax.tree.map(np.testing.assert_array_equal, dirty, clean)
  assert np.isfinite(clean[2]).all()
  assert np.any(clean[2])


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_batch_without_any_scored_token_is_a_finite_zero(ratio):
  cfg = rows.config(ratio=ratio, kl=0.1)
  gone = [rows.response([-1.0, -2.0], counted=False) for _ in range(3)]
  logp_BL, entropy_BL, batch, _ = rows.pack(gone, cfg, junk=np.nan)
  value, metrics, grad_BL = rows.run(logp_BL, entropy_BL, batch, cfg)
  assert value == 0
  np.testing.assert_array_equal(grad_BL, np.zeros_like(grad_BL))
  assert set(map(float, jax.tree.leaves(grpo.summary(value, metrics)))) == {0.0}


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_dropped_response_is_as_if_it_had_never_been(ratio):
  """TRL #6095: a sequence dropped by its mask kept ratio 1 and its whole loss."""
  cfg = rows.config(ratio=ratio, kl=0.1)
  responses = rows.sampled(np.random.default_rng(8), count=8, longest=6)
  value, summary, gradients = rows.loss(responses, cfg)
  kept = [o for o in responses if o["counted"]]
  alone, alone_summary, alone_gradients = rows.loss(kept, cfg)
  assert value == pytest.approx(alone, rel=1e-5)
  assert summary == pytest.approx(alone_summary, rel=1e-5)
  np.testing.assert_array_equal(gradients[3], np.zeros_like(gradients[3]))
  assert len(alone_gradients) == 6


# Ratios and their clip


def one_token(ratio, advantage, **changes):
  """(loss, gradient, clip fraction) of a single token; kl 0, so loss = -gain."""
  o = rows.response([-1.0], old=[-1.0 - np.log(ratio)], advantage=advantage)
  value, summary, (gradient,) = rows.loss([o], rows.config(kl=0.0, **changes))
  return value, gradient[0], summary["policy/clip_fraction"]


CLIPPED = [
  # ratio, advantage, loss, gradient = -A r where nothing clips
  (1.1, 1, -1.1, -1.1, 0),
  (1.5, 1, -1.28, 0, 1),  # up and wanted up: held at 1.28
  (0.5, 1, -0.5, -0.5, 0),  # down and wanted up: free to return
  (0.5, -1, 0.8, 0, 1),  # down and wanted down: held at .8
  (1.5, -1, 1.5, 1.5, 0),
  (1.5, 0, 0, 0, 0),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient", "clipped"), CLIPPED)
def test_the_clip_holds_only_what_went_too_far(ratio, advantage, loss, gradient, clipped):
  got = one_token(ratio, advantage, clip_low=0.2, clip_high=0.28)
  np.testing.assert_allclose(got, (loss, gradient, clipped), rtol=1e-5, atol=1e-7)


WIDE = [
  (12.0, 1, -11.0, 0, 1),  # above 1 + 10
  (10.5, 1, -10.5, -10.5, 0),  # a clip of log-ratios at 10 or at ln 11 would differ
  (5.0, -1, 5.0, 5.0, 0),  # a dual clip of c = 3 would make it 3 (verl)
  (40.0, -1, 40.0, 40.0, 0),
  (0.01, -1, 0.01, 0.01, 0),  # 1 - 10 is never reached
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "gradient", "clipped"), WIDE)
def test_an_epsilon_of_ten_clips_at_eleven_and_nowhere_else(
  ratio, advantage, loss, gradient, clipped
):
  got = one_token(ratio, advantage, clip_low=10.0, clip_high=10.0)
  np.testing.assert_allclose(got, (loss, gradient, clipped), rtol=1e-5, atol=1e-7)


def test_a_clip_of_zero_keeps_the_whole_on_policy_gradient():
  # Ties of `minimum` and `clip` would share the gradient out: 3/4 of it.
  for advantage in (1, -1):
    got = one_token(1.0, advantage, clip_low=0.0, clip_high=0.0)
    np.testing.assert_allclose(got, (-advantage, -advantage, 0))


def test_a_policy_a_hundred_nats_away_overflows_nothing():
  for ratio in RATIOS:
    away = rows.response([-1.0], old=[-101.0], advantage=-1)
    value, summary, (gradient,) = rows.loss([away], rows.config(kl=0.0, ratio=ratio))
    assert value == summary["policy/ratio_max"] == pytest.approx(np.exp(20), rel=1e-5)
    assert gradient == 0


def test_the_three_ratios_by_hand():
  # Token ratios 2, 1/4, 4, of the product 2 and the geometric mean 2^(1/3).
  o = rows.response(np.log([0.5, 0.1, 0.4]), old=np.log([0.25, 0.4, 0.1]))
  other = rows.response(np.log([0.9]), old=np.log([0.3]))  # a neighbour with its own ratio, 3
  want = {"token": (2 + 0.25 + 4) / 3, "sequence": 2, "geometric": 2 ** (1 / 3)}
  for ratio, mean in want.items():
    value, _, (gradient, _) = rows.loss([o, other], rows.config(kl=0.0, ratio=ratio))
    assert value == pytest.approx(-(mean + 3) / 2, rel=1e-5)
    slope = {"token": np.array([2, 0.25, 4]) / 3, "sequence": 2, "geometric": mean / 3}[ratio]
    np.testing.assert_allclose(gradient, -slope * np.ones(3) / 2, rtol=1e-5)


def test_the_geometric_mean_is_over_the_scored_tokens_of_the_segment():
  """TRL #6095: prompt and masked slots of the segment do not lengthen it."""
  cfg = rows.config(kl=0.0, ratio="geometric")
  o = rows.response([-1.0, -1.0], old=[-1.0 - np.log(4), -1.0])
  assert rows.loss([o], cfg, prompt=0)[0] == pytest.approx(-2, rel=1e-5)
  assert rows.loss([o], cfg, prompt=9)[0] == pytest.approx(-2, rel=1e-5)


def test_a_long_response_shows_both_whole_ratios_and_keeps_its_weight():
  """TRL #5815, #4891: the product is length-biased where the geometric mean is not."""
  # -.01 nats per token over 100 tokens: product e^-1 = .367879, geometric mean .990050.
  o = rows.response([-1.01] * 100, old=[-1.0] * 100)
  for ratio, gain in (("sequence", 0.367879), ("geometric", 0.990050)):
    value, summary, _ = rows.loss([o], rows.config(kl=0.0, ratio=ratio, max_tokens=100))
    assert value == pytest.approx(-gain, rel=1e-4)
    assert summary["policy/ratio_sequence"] == pytest.approx(0.367879, rel=1e-4)
    assert summary["policy/ratio_geometric"] == pytest.approx(0.990050, rel=1e-4)


# The first step and the ones after


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("clip", [0.0, 0.2, 10.0])
def test_the_first_step_of_a_rollout_is_reinforce(ratio, clip):
  """slime's gate: old = current gives ratio 1, no clip, KL 0, and the plain policy gradient."""
  cfg = rows.config(ratio=ratio, clip_low=clip, clip_high=clip, kl=0.5, sampler_cap=2.0)
  rng = np.random.default_rng(9)
  lengths, gains = (3, 1, 5), (1.5, -0.5, -2.0)
  responses = [
    rows.response(-rng.exponential(1, n), advantage=a) for n, a in zip(lengths, gains, strict=True)
  ]
  value, summary, gradients = rows.loss(responses, cfg)
  for name in ("policy/kl", "policy/clip_fraction", "policy/ratio_gap", "sampler/logp_gap_mean"):
    assert summary[name] == 0
  assert summary["policy/ratio_max"] == 1
  assert value == pytest.approx(-sum(gains) / 3)
  for n, a, gradient in zip(lengths, gains, gradients, strict=True):
    per_token = a / 3 if ratio == "sequence" else a / (3 * n)
    np.testing.assert_allclose(gradient, [-per_token] * n, rtol=1e-5)


def test_after_an_update_the_old_policy_is_no_longer_the_current_one():
  """EasyDeL never made old log-probabilities, so its clip could not act."""
  cfg = rows.config(clip_low=0.2, clip_high=0.2)
  before = rows.response(np.log([0.5, 0.5, 0.5]))
  _, _, (gradient,) = rows.loss([before], cfg)
  after = rows.response(before["logp"] - 0.9 * gradient, old=before["old"], ref=before["ref"])
  _, summary, _ = rows.loss([after], cfg)
  assert summary["policy/ratio_gap"] > 0.2
  assert summary["policy/clip_fraction"] == 1
  assert summary["policy/kl"] > 0


@pytest.mark.parametrize("cap", [None, 2.0])
def test_only_the_live_policy_carries_gradient_even_if_the_caller_leaves_the_others_open(cap):
  cfg = rows.config(kl=0.5, sampler_cap=cap)
  logp_BL, entropy_BL, batch, (at,) = rows.pack([rows.response([-1.0, -2.0])], cfg)

  def loss(logp_BL):
    left_open = batch.replace(old_logp_BL=logp_BL, ref_logp_BL=logp_BL - 1, sampler_logp_BL=logp_BL)
    return grpo.loss(logp_BL, entropy_BL, left_open, cfg)[0]

  # d = -1, two tokens: (-A + .5 (1 - e^-1)) / 2 = -.341970
  np.testing.assert_allclose(np.asarray(jax.grad(loss)(logp_BL))[at], [-0.34197] * 2, rtol=1e-5)


def test_the_sampler_weight_is_capped_and_scales_the_gain_alone():
  # old / sampler = 4 (capped at 2) and 1/2; A = 1, ratio 1, ref = logp; mean of 2 and .5.
  o = rows.response(
    np.log([0.4, 0.4]), ref=np.log([0.2, 0.2]), sampler=np.log([0.1, 0.8]), advantage=1
  )
  # d = -ln 2: k3 = .5 - 1 + .693147 = .193147, slope 1 - .5, not scaled by the weight
  value, summary, (gradient,) = rows.loss([o], rows.config(kl=0.1, sampler_cap=2.0))
  assert value == pytest.approx(-1.25 + 0.0193147, rel=1e-5)
  np.testing.assert_allclose(gradient, [-1 + 0.025, -0.25 + 0.025], rtol=1e-5)
  assert summary["sampler/logp_gap_mean"] == pytest.approx((np.log(4) + np.log(2)) / 2, rel=1e-5)
  assert rows.loss([o], rows.config(kl=0.0))[0] == pytest.approx(-1)


def test_a_whole_rollout_from_rewards_to_gradient_agrees_with_the_reference():
  """Advantages on whole groups, then a shuffle into mini-batches, then each one's loss."""
  cfg = rows.config(group=4, kl=0.1, clip_low=0.2, clip_high=0.2, truncated="mask")
  rng = np.random.default_rng(10)
  reward_QG, valid_QG = rng.integers(0, 2, (6, 4)) * 1.0, rng.random((6, 4)) < 0.9
  reward_QG, valid_QG = advantages.apply_truncation(
    reward_QG, valid_QG, rng.random((6, 4)) < 0.1, cfg
  )
  responses = rows.sampled(rng, count=24, longest=6)
  got_QG = advantages.group_advantages(reward_QG, valid_QG, cfg)
  want_QG = reference.advantages(reward_QG, valid_QG, cfg.std, cfg.std_eps)
  counted_B = advantages.counted(reward_QG, valid_QG, cfg).ravel()
  np.testing.assert_array_equal(counted_B, valid_QG.ravel())
  for minibatch in np.split(rng.permutation(24), 3):
    got = [responses[i] | {"advantage": got_QG.flat[i]} for i in minibatch]
    want = [responses[i] | {"advantage": want_QG.flat[i]} for i in minibatch]
    for i, a, b in zip(minibatch, got, want, strict=True):
      a["counted"] = b["counted"] = bool(counted_B[i])
    value, _, gradients = rows.loss(got, cfg)
    want_value, want_gradients, _ = reference.loss(want, cfg)
    assert value == pytest.approx(want_value, rel=1e-5, abs=1e-5)
    for a, b in zip(gradients, want_gradients, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


# Types, shapes and settings


def test_half_precision_log_probabilities_are_subtracted_in_float32():
  cfg = rows.config(kl=0.0)
  logp_BL, entropy_BL, batch, _ = rows.pack([rows.response([-1.0], old=[-1.001])], cfg)
  value, metrics = grpo.loss(logp_BL.astype(jnp.bfloat16), entropy_BL, batch, cfg)
  assert value.dtype == jnp.float32
  # -1.001 rounds to -1 in bfloat16: the ratio would be 1.
  assert float(metrics["max"]["policy/ratio_gap"]) == pytest.approx(0.0010005, rel=1e-3)


def test_rows_of_another_length_are_refused():
  cfg = rows.config()
  logp_BL, entropy_BL, batch, _ = rows.pack([rows.response([-1.0, -2.0])], cfg)
  with pytest.raises(ValueError, match="weight_BL"):
    grpo.loss(logp_BL, entropy_BL, batch.replace(weight_BL=batch.weight_BL[:, 1:]), cfg)


REFUSED = [
  ({"group": 1}, "group=1"),
  ({"clip_low": -0.1}, "clip_low=-0.1"),
  ({"clip_high": float("nan")}, "clip_high=nan"),
  ({"kl": -0.001}, "kl=-0.001"),
  ({"std_eps": -1e-6}, "std_eps=-1e-06"),
  ({"kl_estimator": "k4"}, "kl_estimator='k4': choose one of k1, k2, k3"),
  ({"ratio": "gspo"}, "token, sequence, geometric"),
  ({"normalise": "mean"}, "response, token, constant"),
  ({"std": "yes"}, "none, sample, population"),
  ({"truncated": "drop"}, "keep, mask, zero"),
  ({"max_tokens": 0}, "max_tokens=0"),
  ({"sampler_cap": 0.0}, "sampler_cap=0.0"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_settings_that_cannot_be_are_refused_with_their_value(change, message):
  with pytest.raises(ValueError, match=message):
    rows.config(**change)


def test_segment_sums_stay_within_their_runs():
  # Rows: 1 1 2 0 0 and 1 2 2 2 3; the ids start again in each row.
  segment_BL = jnp.array([[1, 1, 2, 0, 0], [1, 2, 2, 2, 3]])
  x_BL = jnp.array([[1.0, 2, 4, 0, 0], [1, 2, 4, 8, 16]])
  np.testing.assert_array_equal(
    grpo.segment_sum(x_BL, segment_BL), [[3, 3, 4, 0, 0], [1, 14, 14, 14, 16]]
  )
