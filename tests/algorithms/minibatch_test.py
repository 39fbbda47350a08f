"""From samples to packed micro-batches: nothing lost, nothing mixed up, nothing cut off."""

import dataclasses

import numpy as np
import pytest

from r1.algorithms import minibatch
from tests.train import tiny

PAPER = minibatch.BatchConfig(row_tokens=8, microbatch_tokens=8, minibatches=16)


def assemble(samples, cfg, *, weights=None, microbatches=None):
  """Every column tells the sample: advantage i, weight (i + 1) / 100, old 1000 i + token."""
  number = np.arange(len(samples), dtype=np.float64)
  columns = [[1000.0 * i + np.arange(len(s.tokens)) for i, s in enumerate(samples)]]
  columns.append([-column for column in columns[0]])
  longest = max(len(s.tokens) for s in samples)
  fits = minibatch.capacity(len(samples), longest, cfg)
  return minibatch.assemble(
    samples,
    advantage_B=number,
    weight_B=(number + 1) / 100 if weights is None else np.asarray(weights),
    old=columns[0],
    ref=columns[1],
    cfg=cfg,
    microbatches=fits if microbatches is None else microbatches,
  )


def live_tokens(batch):
  """{sample: {column: values of its scored tokens in order}}, read from the advantages."""
  found = {}
  flat = {
    name.removesuffix("_BL"): np.asarray(x).reshape(-1, x.shape[-1])
    for name, x in vars(batch).items()
  }
  live = flat["weight"] > 0
  for i in np.unique(flat["advantage"][live]).astype(int):
    where = live & (flat["advantage"] == i)
    assert len(np.unique(np.nonzero(where)[0])) == 1, "a sample must stay within one row"
    found[i] = {name: x[where] for name, x in flat.items()}
  return found


# The shuffle -------------------------------------------------------------------------------------


def test_the_paper_s_rollout_splits_into_16_steps_of_512_that_use_every_sample_once():
  parts = minibatch.split(8192, PAPER, np.random.default_rng(0))
  assert [len(part) for part in parts] == [512] * 16
  np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(8192))


def test_the_shuffle_breaks_groups_up_and_follows_its_seed():
  parts = minibatch.split(8192, PAPER, np.random.default_rng(0))
  groups = {int(i) // 16 for i in parts[0]}
  assert len(groups) > 256, "512 samples of a shuffled rollout come from most of 512 groups"
  again, other = (minibatch.split(8192, PAPER, np.random.default_rng(s)) for s in (0, 1))
  np.testing.assert_array_equal(parts, again)
  assert not np.array_equal(parts, other)


def test_samples_that_do_not_divide_are_refused_with_the_numbers():
  with pytest.raises(ValueError, match="30 samples do not divide into minibatches=16"):
    minibatch.split(30, PAPER, np.random.default_rng(0))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"microbatch_tokens": 12}, "microbatch_tokens=12 must be a multiple of row_tokens=8"),
    ({"row_tokens": 1, "microbatch_tokens": 1}, "row_tokens=1, which must be at least 2"),
    ({"minibatches": 0}, "minibatches=0 must be >= 1"),
  ],
)
def test_batch_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(PAPER, **changes)


# What a step holds -------------------------------------------------------------------------------


@pytest.mark.parametrize(("row_tokens", "rows"), [(32, 1), (32, 3), (64, 2), (128, 4)])
def test_every_column_goes_where_its_sample_went(row_tokens, rows):
  """R1-V #146: the permutation carries rewards, log-probabilities and tokens together."""
  samples = tiny.random_samples(11)
  found = live_tokens(assemble(samples, tiny.batch_config(row_tokens, rows))[0])
  assert set(found) == set(range(11))
  for i, s in enumerate(samples):
    got, answer = found[i], np.arange(s.prompt_length, len(s.tokens))
    np.testing.assert_array_equal(got["target"], s.tokens[answer])
    np.testing.assert_array_equal(got["token"], s.tokens[answer - 1])
    np.testing.assert_array_equal(got["position"], answer - 1)
    np.testing.assert_array_equal(got["old_logp"], 1000 * i + answer)
    np.testing.assert_array_equal(got["ref_logp"], -1000 * i - answer)
    np.testing.assert_allclose(got["sampler_logp"], s.logp)
    np.testing.assert_allclose(got["weight"], (i + 1) / 100, rtol=1e-6)


def test_the_end_token_is_learned_and_the_prompt_is_not():
  """Without the end token, stopping never gets a gradient (TRL #2708, tunix 0.1.7)."""
  one = tiny.sample(None, 0, [1, 50, 51, 60, 61, 2], prompt_length=3)
  (got,) = live_tokens(assemble([one], tiny.batch_config(8, 1))[0]).values()
  assert got["target"].tolist() == [60, 61, 2]


def test_a_pad_id_that_is_also_drawn_is_learned_like_any_other():
  """TRL #4970: the mask comes from lengths, never from `id == pad`."""
  one = tiny.sample(None, 0, [1, 50, 0, 0, 2], prompt_length=2)
  (got,) = live_tokens(assemble([one], tiny.batch_config(8, 1))[0]).values()
  assert got["target"].tolist() == [0, 0, 2]


def test_samples_of_weight_zero_take_no_room():
  samples = tiny.random_samples(8, longest=20)
  weights = [0.1, 0, 0, 0.1, 0, 0, 0, 0]
  cfg = tiny.batch_config(32, 1)
  batch, used = assemble(samples, cfg, weights=weights)
  assert set(live_tokens(batch)) == {0, 3}
  assert used <= 2 < assemble(samples, cfg)[1]


def test_a_step_without_weights_uses_no_micro_batch():
  batch, used = assemble(tiny.random_samples(4), tiny.batch_config(), weights=[0, 0, 0, 0])
  assert used == 0
  assert batch.weight_BL.shape[1:] == (2, 64)
  assert not batch.weight_BL.any()


def test_only_the_micro_batches_in_use_hold_tokens():
  batch, used = assemble(tiny.random_samples(5), tiny.batch_config(64, 1), microbatches=9)
  held_U = (np.asarray(batch.segment_BL) > 0).any(axis=(1, 2))
  assert held_U.tolist() == [u < used for u in range(9)]


@pytest.mark.parametrize("seed", range(25))
def test_the_capacity_is_enough_whatever_the_lengths(seed):
  rng = np.random.default_rng(seed)
  longest, rows, count = (int(rng.integers(2, top)) for top in (33, 5, 40))
  cfg = tiny.batch_config(int(rng.integers(longest, 4 * longest)), rows)
  fits = minibatch.capacity(count, longest, cfg)
  kinds = ([longest] * count, rng.integers(2, longest + 1, count), [longest // 2 + 1] * count)
  for lengths in kinds:
    samples = [tiny.sample(None, 0, np.arange(n) + 4, 1) for n in lengths]
    _, used = assemble(samples, cfg, microbatches=fits)
    assert used <= fits
  # And it is no larger than the worst of them needs.
  assert assemble([tiny.sample(None, 0, np.arange(longest), 1)] * count, cfg)[1] == fits


def test_an_answer_longer_than_a_row_is_refused_with_the_numbers():
  with pytest.raises(ValueError, match="may take 65 tokens, more than row_tokens=64"):
    minibatch.capacity(4, 65, tiny.batch_config(64, 1))


# Scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row_tokens", "rows"), [(32, 1), (64, 4)])
def test_scores_come_back_to_their_sample_and_token_whatever_the_packing(row_tokens, rows):
  cfg, samples = tiny.model(), tiny.random_samples(9)
  weights = tiny.params(cfg)
  found = minibatch.score(weights, samples, cfg, tiny.batch_config(row_tokens, rows), 1.0)
  for s, logp in zip(samples, found):
    (alone,) = minibatch.score(weights, [s], cfg, tiny.batch_config(40, 1), 1.0)
    np.testing.assert_allclose(logp, alone, atol=1e-5)
    assert logp.shape == s.tokens.shape
    assert not logp[: s.prompt_length].any()
    assert (logp[s.prompt_length :] < 0).all()
