"""How fast is it? One GRPO step on synthetic work, see experiments/throughput.py.

  python -m experiments.throughput --config=configs/throughput.py
  python -m experiments.throughput --config=configs/throughput.py:lengths=geometric,cap=1024
  python -m experiments.throughput --config=configs/throughput.py:model=qwen2.5-1.5b,cap=2048

Without a model it is the 4.07M parameters that experiments/peers/ gives to other programs too.
MODEL is a preset (random weights), a checkpoint's folder, hf:ORG/NAME or a workdir.
"""

from typing import Any

import ml_collections
from ml_collections import config_dict

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """After the colon: model=MODEL, questions=, group=, prompt= and cap= tokens, lengths=fixed,
  lengths=geometric with mean=, lengths=file with file=FILE, slots= (0: every answer at once), kl=,
  seed=. Rows hold the longest sequence, so what changes it belongs there."""
  a: Any = common.parse(
    arg,
    model="",
    questions=4,
    group=8,
    prompt=32,
    lengths="fixed",
    mean=128.0,
    cap=128,
    file="",
    slots=0,
    kl=0.04,
    seed=0,
  )
  c = ml_collections.ConfigDict()
  c.model = a.model
  c.letters = {} if a.model else letters()
  names = ("questions", "prompt", "lengths", "mean", "cap", "file", "seed")
  c.work = {name: a[name] for name in names}
  c.clock = {"warmup": 2, "repeats": 5, "until": "update"}
  c.grpo = {
    "group": a.group,
    "clip_low": 0.2,
    "clip_high": 0.2,
    "kl": a.kl,
    "kl_estimator": "k3",
    "ratio": "token",
    "normalise": "response",
    "std": "sample",
    "std_eps": 1e-4,
    "truncated": "keep",
    "dynamic": False,
    "sampler_cap": config_dict.placeholder(float),  # none
  }
  longest = a.prompt + a.cap
  c.batch = batch(a, longest)
  c.sampler = sampler(a)
  c.loop = False  # True: the plain batch loop samples
  c.optimizer = common.ADAM | {
    "learning_rate": 1e-5,
    "warmup": 0,
    "final": 1.0,
    "weight_decay": 0.0,
  }
  machine = common.machine(ml_collections.ConfigDict({"lora": 0}))
  c.mesh, c.weights = machine["mesh"], machine["weights"]
  runtime = common.runtime() | (common.ACCELERATOR if a.model else {})
  c.runtime = runtime | {"attention_block": min(longest, 256)}  # 160 tokens: not 2 blocks of 128
  return c


def batch(a, longest: int) -> dict:
  """About eight answers at a time, behind one prompt where all are as long.

  A mesh wants as many rows in a micro-batch as it cuts them in: microbatch_tokens.
  """
  c = {"minibatches": 1, "share_prompts": True}  # attend="splash" needs False and no fork
  if a.lengths != "fixed":
    return c | {"row_tokens": longest, "microbatch_tokens": 8 * longest, "fork": ()}
  fork = a.prompt - 1, a.cap + 1
  row = fork[0] + min(a.group, 8) * fork[1]
  rows = max(8 * longest // row, 1)
  return c | {"row_tokens": row, "microbatch_tokens": rows * row, "fork": fork}


def sampler(a) -> dict:
  """A cache with room for every slot's longest answer."""
  slots = a.slots or a.questions * a.group
  pages = -(-a.prompt // 32) + -(-a.cap // 32)
  return {
    "slots": slots,
    "prompt_bucket": a.prompt,
    "chunk": 32,
    "cache_tokens": slots * pages * 32,
    "cache_dtype": "",
    "layout": "auto",
    "in_flight": 1 if slots % 2 else 2,
  }


def letters() -> dict:
  """Qwen2 as small as the peers' scripts have it."""
  sizes = {"layers": 4, "D": 256, "F": 1024, "V": 512, "H": 4, "N": 2, "K": 64}
  choices = {"rope_base": 1e4, "norm_eps": 1e-6, "qkv_bias": True, "qk_norm": False, "tied": True}
  return sizes | choices
