"""Reasoning RL: GRPO and language consistency from the cold start's model (arXiv 2501.12948v2
section 3.2.1).

  python -m experiments.reasoning_rl --config=configs/reasoning_rl.py:tiny,model=runs/cold \
    --workdir=runs/dev2

`model=` is the cold start's workdir, or any other model: `model=` a base is the stage without a
cold start. `paper` has the paper's numbers; `model=MODEL` without a size is a start for one
accelerator on questions of one's own (`--config.data.questions=FILE`).
"""

import ml_collections

from configs import common, r1_zero


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, language=WEIGHT, lora=RANK,
  seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", language=1.0, lora=0, seed=0)
  file = "configs/reasoning_rl.py"
  return common.choose(a, file, tiny=tiny, smoke=r1_zero.smoke, paper=paper, small=small)


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: R1-Zero's recipe for 16 rollouts, in both languages of the world.

  Answers for readers are a quarter longer, so the limit is. A policy that is nearly always right
  wants smaller steps than a base: at R1-Zero's learning rate it got worse.
  """
  c, longest = r1_zero.tiny(a), 136
  c.update(
    {
      "data": {"languages": (("en", 0.5), ("zh", 0.5)), "terms": ((4, 0.2), (5, 0.4), (6, 0.4))},
      "rl": {"rollouts": 16, "checkpoint_every": 8, "limit": ((0, longest),)},
      "optimizer": {"learning_rate": 5e-5},
      "grpo": {"max_tokens": longest},
      "batch": {"row_tokens": 256},
      "sampler": {"cache_tokens": 28_672},
      "reward": {"mode": "boxed", "language": a.language},
      "eval": {"questions": 256, "wide": 64, "samples": 8, "limit": longest},
    }
  )
  return c


def small(a) -> ml_collections.ConfigDict:
  """R1-Zero's sizes for one accelerator, in the form that a chat model answers in."""
  c = ml_collections.ConfigDict(r1_zero.small(a))
  c.update({"rl": {"template": "chat"}})
  return c


def paper(a) -> ml_collections.ConfigDict:
  """The paper's numbers: clip 10, KL 0.001, temperature 1, 32,768 tokens, reference every 400.

  How long the stage runs is not stated ("until it converged"): 250 rollouts are 4,000 updates.
  """
  longest, row = 32_768, 34_816  # a row holds the longest answer and a prompt of 2,048 tokens
  c = ml_collections.ConfigDict(r1_zero.paper(a))
  c.update(
    {
      "rl": {"rollouts": 250, "template": "chat", "limit": ((0, longest),)},
      "grpo": {"max_tokens": longest},
      "batch": {"row_tokens": row, "microbatch_tokens": 128 * row},
    }
  )
  return c


def sweep():
  """What does each named choice of the stage do? docs/results.md has the answers."""
  yield {"reward.language": 0.0}  # figure 7 of the paper
  yield {"grpo.clip_low": 0.2, "grpo.clip_high": 0.2}
  yield {"rl.reference_every": 32}
