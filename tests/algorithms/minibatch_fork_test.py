"""Rows that fork: the same scores, losses and gradients as with prompts of their own."""

import dataclasses

import jax
import numpy as np
import pytest

from r1.algorithms import experts, logp, minibatch
from r1.train import rl
from tests.algorithms import minibatch_test
from tests.train import tiny


def forked(branches=3, trunk=None, branch=None, rows=1):
  """Rows that fork, by default as narrow as `shared_prompts` allows."""
  samples = minibatch_test.shared_prompts()
  trunk = trunk or max(s.prompt_length for s in samples) - 1
  branch = branch or max(s.length for s in samples) + 1
  row = trunk + branches * branch
  return tiny.batch_config(row, rows, minibatches=1, fork=(trunk, branch))


@pytest.mark.parametrize(
  ("options", "branches"),
  [(options, 3) for options in minibatch_test.OPTIONS]
  + [(minibatch_test.OPTIONS[0], branches) for branches in (1, 4)],
  ids=str,
)
def test_loss_metrics_and_gradients_are_those_of_rows_that_do_not_fork(options, branches):
  algorithm = tiny.grpo_config(kl=0.3, clip_low=0.05, clip_high=0.05, **options)
  _, want = minibatch_test.learn(np.arange(8), algorithm, tiny.model())
  together = np.arange(8) // 4
  _, found = minibatch_test.learn(together, algorithm, tiny.model(), batch_cfg=forked(branches))
  minibatch_test.same(found, want)


@pytest.mark.parametrize("kind", minibatch_test.KINDS)
@pytest.mark.parametrize("attend", ["einsum", "blockwise"])
def test_scores_of_rows_that_fork_are_those_of_prompts_of_their_own(kind, attend):
  samples = minibatch_test.shared_prompts()
  cfg = tiny.model(attend=attend, **minibatch_test.KINDS[kind])
  weights, numbers = tiny.params(cfg), tiny.question_numbers(samples)
  apart = np.arange(len(samples))
  want = minibatch.score(weights, samples, cfg, tiny.batch_config(), 0.8, question_B=apart)
  for batch in (forked(), forked(2, trunk=30, branch=40, rows=2)):
    found = minibatch.score(weights, samples, cfg, batch, 0.8, question_B=numbers)
    for a, b in zip(found, want, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("branches", [1, 2, 3, 5])
def test_the_capacity_of_rows_that_fork_is_what_longest_answers_take(branches):
  samples = [s for s in tiny.random_samples(2) for _ in range(4)]
  longest = max(samples, key=lambda s: len(s.tokens))
  cfg = tiny.batch_config(
    longest.prompt_length + branches * 40, 1, 1, fork=(longest.prompt_length, 40)
  )
  same_length = [dataclasses.replace(longest) for _ in range(8)]
  questions = np.arange(8) // 4
  _, used = minibatch_test.assemble(same_length, cfg, microbatches=20, questions=questions)
  rows = 2 * -(-4 // (branches * (40 // (longest.length + 1))))
  assert used == rows <= minibatch.capacity(8, len(longest.tokens), 4, cfg)
  assert minibatch.capacity(8, len(longest.tokens), 4, cfg) == 2 * -(-4 // branches)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"fork": (31,)}, r"fork=\(31,\): wanted \(trunk, branch\)"),
    ({"fork": (8.0, 28.0)}, r"fork=\(8.0, 28.0\): wanted \(trunk, branch\) in whole tokens"),
    ({"fork": (8, 0)}, r"wanted \(trunk, branch\)"),
    ({"fork": (8, 30)}, r"row_tokens=64 must be the trunk .* fork=\(8, 30\): 8 \+ n x 30"),
    ({"fork": (64, 8)}, r"row_tokens=64 must be the trunk"),
    (
      {"fork": (8, 28), "share_prompts": False},
      "a trunk is a shared prompt; set share_prompts to True or fork",
    ),
    ({"fork": (8, 28), "minibatches": 4}, r"minibatches=4: .*take minibatches=1 or fork=\(\)"),
  ],
)
def test_a_fork_that_does_not_fit_is_refused_with_the_numbers(changes, message):
  with pytest.raises(ValueError, match=message):
    tiny.batch_config(**{"minibatches": 1} | changes)


def test_the_room_of_a_row_is_what_packing_takes():
  plain, cfg = tiny.batch_config(64), tiny.batch_config(64, minibatches=1, fork=(8, 28))
  assert [minibatch.room(answer, plain) for answer in (20, 63, 64, 70)] == [44, 1, 0, 0]
  assert [minibatch.room(answer, cfg) for answer in (20, 27)] == [9, 9]
  fits = tiny.sample(None, 0, np.arange(9 + 27) + 4, 9)
  minibatch.pack([fits, fits], [0, 0], cfg)
  for prompt, answer in ((10, 27), (9, 28)):
    more = tiny.sample(None, 0, np.arange(prompt + answer) + 4, prompt)
    with pytest.raises(ValueError, match="wanted at most 8 and 28"):
      minibatch.pack([more, more], [0, 0], cfg)


def test_answers_longer_than_a_branch_are_refused_with_the_numbers():
  cfg = tiny.batch_config(64, minibatches=1, fork=(8, 28))
  minibatch.check_limit(27, cfg)
  minibatch.check_limit(28, tiny.batch_config(64))
  with pytest.raises(ValueError, match="answers of 28 tokens want branches of 29"):
    minibatch.check_limit(28, cfg)


def test_no_score_between_branches_is_computed_in_scoring_and_updates():
  """What is seen follows from the segments, so nothing else would tell that the fork got lost."""
  samples, cfg = minibatch_test.shared_prompts(), tiny.model(attention_block=64)
  numbers, weights = tiny.question_numbers(samples), tiny.params(cfg)
  loss = rl.make_loss(cfg, tiny.grpo_config(kl=0.3), experts.OFF)
  for batch in (forked(), tiny.batch_config(35, 1)):
    packed, *_ = minibatch.pack(samples, numbers, batch)
    made, _ = minibatch_test.assemble(samples, batch, questions=numbers)
    given = jax.tree.map(lambda x: x[0], made), 1.0
    for text in (
      logp.score.lower(weights, packed, cfg, 1.0).as_text(),
      jax.jit(jax.grad(loss, has_aux=True)).lower(weights, given).as_text(),
    ):
      assert ("x8x19xf32" in text) == bool(batch.fork)  # an answer's tokens by what they see
      assert ("x35x35xf32" in text) != bool(batch.fork)  # a row's by the row's
