"""From samples to packed micro-batches: nothing lost, nothing mixed up, nothing cut off."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from r1.algorithms import advantages, experts, minibatch
from r1.model import splash
from r1.train import rl, step
from tests.train import tiny

PAPER = minibatch.BatchConfig(
  row_tokens=8, microbatch_tokens=8, minibatches=16, share_prompts=True, fork=()
)


def assemble(samples, cfg, *, weights=None, microbatches=None, questions=None):
  """Every column tells the sample: advantage i, weight (i + 1) / 100, old 1000 i + token.

  questions: of each sample its question's number; None: each has one of its own.
  """
  number = np.arange(len(samples), dtype=np.float64)
  columns = [[1000.0 * i + np.arange(len(s.tokens)) for i, s in enumerate(samples)]]
  columns.append([-column for column in columns[0]])
  longest = max(len(s.tokens) for s in samples)
  fits = minibatch.capacity(len(samples), longest, 4, cfg)
  return minibatch.assemble(
    samples,
    question_B=np.arange(len(samples)) if questions is None else questions,
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
    if name.endswith("_BL")
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
  minibatch.check(32, PAPER)
  with pytest.raises(ValueError, match="30 samples do not divide into minibatches=16"):
    minibatch.check(30, PAPER)


def test_any_number_of_samples_is_split_into_every_step_with_sizes_one_apart():
  """Partial rollouts: as many as are whole."""
  for count, sizes in ((40, [3] * 8 + [2] * 8), (8, [1] * 8 + [0] * 8)):
    parts = minibatch.split(count, PAPER, np.random.default_rng(0))
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(count))


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


@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize(("row_tokens", "rows"), [(32, 1), (32, 3), (64, 2), (128, 4)])
def test_every_column_goes_where_its_sample_went(row_tokens, rows, group):
  """R1-V #146: the permutation carries rewards, log-probabilities and tokens together."""
  samples = tiny.random_samples(11)
  questions = tiny.question_numbers(samples, group)
  found = live_tokens(
    assemble(samples, tiny.batch_config(row_tokens, rows), questions=questions)[0]
  )
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
  fits = minibatch.capacity(count, longest, 4, cfg)
  kinds = ([longest] * count, rng.integers(2, longest + 1, count), [longest // 2 + 1] * count)
  for lengths in kinds:
    samples = [tiny.sample(None, 0, np.arange(n) + 4, 1) for n in lengths]
    _, used = assemble(samples, cfg, microbatches=fits)
    assert used <= fits
  # And it is no larger than the worst of them needs.
  assert assemble([tiny.sample(None, 0, np.arange(longest), 1)] * count, cfg)[1] == fits


def test_an_answer_longer_than_a_row_is_refused_with_the_numbers():
  with pytest.raises(ValueError, match="may take 65 tokens, more than row_tokens=64"):
    minibatch.capacity(4, 65, 4, tiny.batch_config(64, 1))


# The prompt of a group ---------------------------------------------------------------------------


def shared_prompts(count=8, group=4, prompt=12, longest=10, seed=3):
  """Groups behind prompts that are longer than most answers, all prompts alike."""
  rng, made = np.random.default_rng(seed), []
  head = rng.integers(4, 300, prompt)
  for i in range(count):
    tokens = np.concatenate([head, rng.integers(4, 300, rng.integers(1, longest + 1))])
    made.append(
      tiny.sample(None, i % group, tokens, prompt, logp=-rng.random(len(tokens) - prompt))
    )
  return made


def test_a_prompt_stands_once_for_the_answers_of_a_row():
  samples, cfg = shared_prompts(), tiny.batch_config(64, 1)
  batch, used = assemble(samples, cfg, questions=tiny.question_numbers(samples))
  _, plain = assemble(samples, cfg)
  assert used < plain
  held = np.asarray(batch.segment_BL > 0).sum()
  wanted = sum(len(s.tokens) for s in samples)
  assert held == wanted - 2 * 3 * 11, "two groups: three of four prompts but for their last tokens"


def test_groups_are_told_by_number_and_not_by_text():
  """GRPO-Zero merges groups whose prompts read the same."""
  samples, cfg = shared_prompts(), tiny.batch_config(128, 1)
  batch, _ = assemble(samples, cfg, questions=tiny.question_numbers(samples))
  parents = np.unique(np.asarray(batch.parent_BL))
  assert len(parents) == 3, "0 and one parent for each of two questions with one text"


def test_samples_of_one_number_with_different_prompts_are_refused():
  samples = [tiny.sample(None, 0, [5, t, 9], 2) for t in (6, 7)]
  with pytest.raises(ValueError, match="question number 3 have different prompts"):
    assemble(samples, tiny.batch_config(), questions=np.array([3, 3]))


KINDS = {
  "gqa": {},
  "windows": {"windows": (4, 0), "stacks": (("dense", 2),)},
  "mla": {"attention": "mla", "C": 8, "P": 4, "W": 8, "A": 8},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attend", ["einsum", "blockwise"])
def test_scores_are_those_of_prompts_of_their_own(kind, attend):
  cfg, samples = tiny.model(attend=attend, **KINDS[kind]), shared_prompts()
  weights, batch = tiny.params(cfg), tiny.batch_config(64, 1)
  apart, numbers = np.arange(len(samples)), tiny.question_numbers(samples)
  want = minibatch.score(weights, samples, cfg, batch, 0.8, question_B=apart)
  found = minibatch.score(weights, samples, cfg, batch, 0.8, question_B=numbers)
  alone = tiny.batch_config(64, 1, share_prompts=False)
  unshared = minibatch.score(weights, samples, cfg, alone, 0.8, question_B=numbers)
  for a, b, c in zip(found, want, unshared, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(c, b, atol=1e-5)


def test_where_no_prompt_is_shared_rows_are_those_of_questions_of_their_own():
  samples, cfg = shared_prompts(), tiny.batch_config(64, 1, share_prompts=False)
  batch, used = assemble(samples, cfg, questions=tiny.question_numbers(samples))
  assert batch.parent_BL is None
  want, wanted = assemble(samples, tiny.batch_config(64, 1))
  assert used == wanted
  jax.tree.map(np.testing.assert_array_equal, batch, want.replace(parent_BL=None))


def test_a_kernel_that_sees_no_shared_prompt_is_refused_with_one():
  shared, apart = (tiny.batch_config(share_prompts=share) for share in (True, False))
  with pytest.raises(ValueError, match=r"share_prompts=True with attend='splash'.*=False, or take"):
    minibatch.check_attention(shared, "splash")
  minibatch.check_attention(apart, "splash")
  minibatch.check_attention(shared, "blockwise")


OPTIONS = (
  {"ratio": "token", "normalise": "token"},
  {"ratio": "sequence", "normalise": "response", "sampler_cap": 2.0},
  {"ratio": "geometric", "normalise": "constant", "kl_estimator": "k2"},
  {"ratio": "token", "normalise": "response", "kl_estimator": "k1"},
)


@functools.cache
def learner(algorithm, model_cfg):
  """Gradient, loss and metrics of a step, compiled once per shape of its rows."""
  loss = rl.make_loss(model_cfg, algorithm, experts.OFF)
  return jax.jit(functools.partial(step.accumulate, loss))


def learn(numbers, algorithm, model_cfg, share_prompts=True, batch_cfg=None):
  """(micro-batches in use, (gradient, loss, metrics)) of one step over the shared prompts."""
  samples, rng = shared_prompts(), np.random.default_rng(8)
  lengths_B = np.array([s.length for s in samples])
  advantage_B = rng.standard_normal(len(samples))
  weight_B = advantages.token_weights(lengths_B, np.arange(len(samples)) != 5, algorithm)
  old, ref = ([rng.normal(-5.9, 0.1, len(s.tokens)) for s in samples] for _ in range(2))
  batch, used = minibatch.assemble(
    samples,
    question_B=numbers,
    advantage_B=advantage_B,
    weight_B=weight_B,
    old=old,
    ref=ref,
    cfg=batch_cfg or tiny.batch_config(64, 1, share_prompts=share_prompts),
    microbatches=8,
  )
  run = learner(algorithm, model_cfg)
  return used, run(tiny.params(model_cfg), (batch, np.ones(8, np.float32)), used)


def same(found, want):
  """Both are equal to the rounding of float32, and there is a gradient."""
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, want)
  assert max(float(np.abs(g).max()) for g in jax.tree.leaves(want[0])) > 1e-2


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_loss_metrics_and_gradients_are_those_of_prompts_of_their_own(options):
  """For every option of the loss; of questions of their own, and where sharing is off."""
  algorithm = tiny.grpo_config(kl=0.3, clip_low=0.05, clip_high=0.05, **options)
  apart, together = np.arange(8), np.arange(8) // 4
  more, want = learn(apart, algorithm, tiny.model())
  fewer, found = learn(together, algorithm, tiny.model())
  unshared, off = learn(together, algorithm, tiny.model(), share_prompts=False)
  assert fewer < more == unshared
  same(found, want)
  same(off, want)


def test_an_update_by_the_splash_kernel_is_that_of_shared_prompts(monkeypatch):
  """The kernel runs interpreted, and reads rows without parents."""
  real, algorithm, together = splash.splash, tiny.grpo_config(kl=0.3), np.arange(8) // 4
  interpreted = lambda *given, **own: real(*given, **own | {"interpret": True})
  monkeypatch.setattr(splash, "splash", interpreted)
  cfg = tiny.model(attend="splash", attention_block=128)
  _, want = learn(together, algorithm, tiny.model())
  _, found = learn(together, algorithm, cfg, share_prompts=False)
  same(found, want)
  with pytest.raises(ValueError, match="parent_BL is given, wanted None"):
    learn(together, algorithm, cfg)


# Scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row_tokens", "rows"), [(32, 1), (64, 4)])
def test_scores_come_back_to_their_sample_and_token_whatever_the_packing(row_tokens, rows):
  cfg, samples = tiny.model(), tiny.random_samples(9)
  weights = tiny.params(cfg)
  batch, alone_in = tiny.batch_config(row_tokens, rows), tiny.batch_config(40, 1)
  found = minibatch.score(
    weights, samples, cfg, batch, 1.0, question_B=tiny.question_numbers(samples)
  )
  for s, logp in zip(samples, found):
    (alone,) = minibatch.score(weights, [s], cfg, alone_in, 1.0, question_B=[0])
    np.testing.assert_allclose(logp, alone, atol=1e-5)
    assert logp.shape == s.tokens.shape
    assert not logp[: s.prompt_length].any()
    assert (logp[s.prompt_length :] < 0).all()
