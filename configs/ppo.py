"""PPO in the place of GRPO, for the paper's comparison (arXiv 2501.12948v2 section A.3).

  python -m experiments.ppo --config=configs/ppo.py:tiny --workdir=runs/ppo

All that is not PPO's own is that of configs/r1_zero.py: base, questions, answers, rewards, number
and size of the updates, learning rate, evaluation, and `tiny`, `smoke`, `paper`, `model=MODEL`.
The paper compares on MATH with DeepSeek-Coder-V2-Lite and shows curves alone: with GAE's lambda of
1, which is taken here, PPO comes close to GRPO, and with 0.95 (`tiny,lam=0.95`) it stays behind. It
gives no other setting.
"""

import ml_collections
from ml_collections import config_dict

from configs import common, r1_zero

SHARED = ("group", "clip_low", "clip_high", "kl", "normalise", "max_tokens", "truncated")


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, lam=LAMBDA, lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", lam=1.0, lora=0, seed=0)
  a.language = 0.0  # R1-Zero's own setting
  return common.choose(a, "configs/ppo.py", tiny=tiny, smoke=smoke, paper=paper, small=small)


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: the rollouts and updates of R1-Zero's tiny run, with a second model to train."""
  c = r1_zero.tiny(a)
  zero = c.to_dict()
  del c.grpo
  c.ppo = {name: zero["grpo"][name] for name in SHARED} | {
    "gamma": 1.0,
    "lam": a.lam,
    "value_clip": config_dict.placeholder(float),  # none
    "whiten": True,
    "sampler_cap": config_dict.placeholder(float),  # none
  }
  c.value_optimizer = zero["optimizer"] | {"learning_rate": 1e-3}
  return c


def smoke(a) -> dict:
  """Two rollouts of a model that has learned nothing: every part runs, in seconds."""
  return renamed(r1_zero.smoke(a)) | {"value_optimizer": {"warmup": 1}}


def small(a) -> dict:
  """One accelerator and a checkpoint of one's own."""
  rate = 1e-4 if a.lora else 1e-5
  return renamed(r1_zero.small(a)) | {"value_optimizer": {"learning_rate": rate}}


def paper(a) -> dict:
  """The sizes of the paper's R1-Zero; those of its comparison are not given."""
  changed = renamed(r1_zero.paper(a))
  return changed | {"value_optimizer": changed["optimizer"] | {"learning_rate": 1e-5}}


def renamed(changes: dict) -> dict:
  """R1-Zero's changes, those of GRPO as PPO's."""
  return {"ppo" if name == "grpo" else name: value for name, value in changes.items()}


def sweep():
  """What does it cost to trust the values? The paper shows lambda 0.95 and 1, which `tiny` has."""
  yield {"ppo.lam": 0.95}
