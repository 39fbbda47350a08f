"""The lines before a run starts: its arithmetic must be that of the run."""

import re

from r1.train import plan, rl
from tests.sampling import settings
from tests.train import tiny
from tests.train.rl_test import RL

SAMPLER = settings.sampler(cache_tokens=2**16)


def lines(devices=1, sampler=SAMPLER, kl=0.1, **changes):
  return plan.lines(
    tiny.model(),
    rl.RlConfig(**(RL | {"questions_per_rollout": 512, "rollouts": 650} | changes)),
    tiny.grpo_config(group=16, kl=kl),
    tiny.batch_config(minibatches=16),
    sampler,
    devices=devices,
    rate=1e9,
  )


def test_the_paper_s_batch_arithmetic_is_spelled_out():
  first = lines()[0]
  assert "512 questions x 16 answers = 8192 responses per rollout -> 16 updates of 512" in first
  assert "650 rollouts = 10400 updates" in first


def test_parameters_and_memory_follow_from_the_sizes():
  _, parameters, memory, _ = lines()
  # norms 3D, tied table VD, q and o DHK, k and v DNK, biases (H + 2N)K, three of DF.
  count = 3 * 16 + 384 * 16 + 2 * 16 * 4 * 8 + 2 * 16 * 2 * 8 + 8 * 8 + 3 * 16 * 32
  assert f"{count:,} parameters" in parameters
  # Keys and values, 4 bytes, 1 layer x 2 heads x 8: 128 bytes a token.
  assert " 8 MiB for the cache of 65,536 tokens" in memory
  assert "on 8 cpu device(s)" in lines(devices=8)[1]


def test_with_drafts_every_slot_has_room_for_the_context():
  sampler = settings.sampler(draft="lookup", slots=256)
  # 256 slots x 64 positions of 128 bytes.
  assert " 2 MiB for the cache of 16,384 tokens" in lines(sampler=sampler)[2]


def minutes(**changes):
  return float(re.search(r"about ([0-9.]+) minutes", lines(**changes)[3])[1])


def test_the_estimate_of_time_grows_with_the_run():
  one = minutes()
  assert one > 0
  assert round(minutes(rollouts=1300) / one, 1) == 2
  assert round(minutes(limit=((0, 24), (9, 48))) / one, 1) == 2
  assert round(one / minutes(devices=8), 1) == 8
  # Decoded and learned from, and scored by the old policy and by the reference, or without KL not.
  assert round(one / minutes(kl=0.0), 2) == round(12 / 10, 2)


def test_the_age_of_the_oldest_token_is_told_where_answers_go_on():
  # 24 tokens at 10 a rollout: three rollouts, the first two before the last, 16 updates each.
  assert "takes 3, so a token is at most 32 updates old" in lines(partial_tokens=10)[4]
  assert len(lines()) == 4
