"""GRPO on answers of several policies: what is refused, what there is room for, what is told."""

import dataclasses

import numpy as np
import pytest

from r1.train import rl
from tests.train import tiny
from tests.train.rl_test import all_steps, check, prepare, rewarded, rl_config


@pytest.mark.parametrize(
  ("algorithm", "sampler", "message"),
  [
    ({}, {}, "partial_tokens=8 without a sampler_cap: .* set grpo.sampler_cap"),
    ({"sampler_cap": 2.0, "ratio": "geometric"}, {}, "with ratio='geometric': .* token by token"),
    ({"sampler_cap": 2.0}, {"draft": "lookup"}, "with draft='lookup': .* set sampler.draft"),
  ],
)
def test_answers_of_several_policies_are_refused_where_they_would_be_weighed_wrongly(
  algorithm, sampler, message
):
  check({}, algorithm, **sampler)
  check({"partial_tokens": 8}, {"sampler_cap": 2.0})
  with pytest.raises(ValueError, match=message):
    check({"partial_tokens": 8}, algorithm, **sampler)


def test_a_step_has_room_for_the_groups_of_as_many_rollouts_as_the_longest_answer_takes():
  # 4 x 4 answers in 2 steps, one per row of 64, 2 rows per micro-batch: 4, and 3 times as many.
  for tokens, spans in ((0, 1), (24, 1), (8, 3), (9, 3), (23, 2)):
    cfg = rl_config(partial_tokens=tokens)
    assert cfg.spans == spans
    assert rl.capacity(cfg, tiny.grpo_config(), tiny.batch_config(), longest=60) == 4 * spans


def test_fewer_whole_answers_than_steps_leave_the_last_steps_empty():
  """An update of nothing moves neither weights nor schedule, see `step.make_update`."""
  samples, cfg = tiny.random_samples(4), tiny.grpo_config(sampler_cap=2.0)
  scored = prepare(samples, rewarded([1, 0, 0, 1]), cfg)
  found = all_steps(scored, cfg, minibatches=6)
  assert [used for _, used in found] == [1, 1, 1, 1, 0, 0]
  assert [bool((batch.weight_BL > 0).any()) for batch, _ in found] == [True] * 4 + [False] * 2


def test_the_gap_between_sampler_and_trainer_is_that_of_tokens_which_this_policy_drew():
  """Older tokens differ because the policy moved, which says nothing of the sampler."""
  samples = [tiny.sample(None, 0, np.arange(7), 2, logp=[-1.0, -1, -1, -1, -1]) for _ in range(2)]
  samples = [dataclasses.replace(s, carried=carried) for s, carried in zip(samples, (3, 5))]
  old = [np.array([0, 0, 9, 9, 9, -1.25, -1.5]), np.full(7, 9.0)]
  assert rl.logp_gap(samples, old) == 0.5
