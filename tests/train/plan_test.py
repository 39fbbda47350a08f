"""The lines before a run starts: its arithmetic must be that of the run."""

import re

from r1.train import plan, rl
from tests.sampling import settings
from tests.train import tiny
from tests.train.rl_test import RL


def lines(devices=1, sampler=(), **changes):
  return plan.lines(
    tiny.model(),
    rl.RlConfig(**(RL | {"questions_per_rollout": 512, "rollouts": 650} | changes)),
    tiny.grpo_config(group=16),
    tiny.batch_config(minibatches=16),
    settings.sampler(slots=64, prompt_bucket=8, **dict(sampler)),
    devices=devices,
    rate=1e9,
  )


def test_the_paper_s_batch_arithmetic_is_spelled_out():
  first = lines()[0]
  assert "512 questions x 16 answers = 8192 responses per rollout -> 16 updates of 512" in first
  assert "650 rollouts = 10400 updates" in first


def test_parameters_and_memory_follow_from_the_sizes():
  _, parameters, _, _ = lines()
  # norms 3D, tied table VD, q and o DHK, k and v DNK, biases (H + 2N)K, three of DF.
  count = 3 * 16 + 384 * 16 + 2 * 16 * 4 * 8 + 2 * 16 * 2 * 8 + 8 * 8 + 3 * 16 * 32
  assert f"{count:,} parameters" in parameters
  # Keys and values of 1 layer, 2 heads of 8 numbers in 4 bytes each: 128 bytes a token.
  pages = {"cache_tokens": 2**16}
  assert "at most 8 MiB for a cache of 65,536 tokens in 64 slots" in lines(sampler=pages)[2]
  # A byte a number and 4 a scale: 48 bytes.
  assert "at most 3 MiB" in lines(sampler=pages | {"cache_dtype": "int8"})[2]
  # The plain loop, which follows drafts, has 64 slots of the model's context.
  context = tiny.model().context
  assert f"a cache of {64 * context:,} tokens" in lines(sampler=pages | {"draft": "lookup"})[2]
  assert "on 8 cpu device(s)" in lines(devices=8)[1]


def minutes(**changes):
  return float(re.search(r"about ([0-9.]+) minutes", lines(**changes)[3])[1])


def test_the_estimate_of_time_grows_with_the_run():
  one = minutes()
  assert one > 0
  assert round(minutes(rollouts=1300) / one, 1) == 2
  assert round(minutes(limit=((0, 24), (9, 48))) / one, 1) == 2
  assert round(one / minutes(devices=8), 1) == 8
