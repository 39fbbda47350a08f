"""Reward models, helpful and safety (arXiv 2501.12948v2 section 3.1).

  python -m experiments.preference --config=configs/preference.py:tiny,model=runs/dev3 \
    --workdir=runs/preference

`model=` is the policy: its answers are judged, and both models are its layers with a scalar head.
Without it the embedded world's base is. `tiny` samples and trains in two minutes on two CPU cores,
judged by the world's rules with an error, or by a model at `--config.endpoint.url`, which wants a
temperature above 0 beside it: at 0 its votes in one order are one vote. `paper` has the paper's
numbers; it and `model=MODEL` without a size take `data=FILE`, a JSONL file of pairs
({"prompt", "chosen", "rejected"}) and labelled answers ({"prompt", "response", "label"}).
"""

import ml_collections

from configs import common, harvest, pretrain, r1_zero

VOTES = 0.7  # the temperature of a judge; at 0 its votes in one order would be one vote


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, data=FILE, lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", data="", lora=0, seed=0)
  file = "configs/preference.py"
  return common.choose(a, file, tiny=tiny, smoke=smoke, paper=paper, small=small)


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: six answers to 720 prompts, eight to 100 harmful ones."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,general,seed={a.seed}")
  c.data = {
    "file": a.data,
    "share": 0.15,
    "languages": ("en", "zh"),
    "helpful": 720,
    "harmful": 100,
    "unseen": 40,
    "answers": 6,
    "harmful_answers": 8,
    "people": 2,
    "pairs": 8,
    "balance": 0.05,
  }
  c.collect = {
    "seed": a.seed + 4,
    "template": "short",
    "temperature": 1.0,
    "limit": 108,
    "shard": 200,
  }
  c.sampler = r1_zero.sampler() | {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
  c.people = harvest.people() | {"detail": 0.5, "rule": 0.5, "refuse_harm": 0.5, "leak": 0.3}
  c.judge = {"seed": a.seed + 4, "votes": 4, "gap": 1.0, "missing": 1}
  # One point of five apart is clear. Where two were, rules of style had no pairs of their own, and
  # the model did not learn that prompts ask for them.
  c.rule = {"seed": a.seed + 4, "noise": 0.05, "slight": 0.05, "clear": 0.15}
  c.endpoint = common.endpoint()  # without a url the rules
  c.preference = {
    "seed": a.seed + 4,
    "template": "short",
    "epochs": 4,
    "examples": 32,
    "row_tokens": 256,
    "microbatch_tokens": 2048,
    "score_tokens": 8192,
    "eval_every": 20,
    "checkpoint_every": 40,
    "keep": 1,
    "patience": 5,
  }
  c.optimizer = common.ADAM | {
    "learning_rate": 1e-3,
    "warmup": 5,
    "final": 0.1,
    "weight_decay": 0.1,
  }
  c.experts = {"balance": 0.0, "bias_rate": 0.0}
  c.update(common.machine(a))
  return c


def smoke(a) -> dict:
  """A few answers of a model that has hardly learned anything: every part runs, in seconds."""
  return {
    "base": pretrain.get_config(f"smoke,general,seed={a.seed}"),
    "data": {"share": 0.3, "helpful": 16, "harmful": 8, "unseen": 4, "harmful_answers": 4},
    "collect": {"limit": 48, "shard": 32},
    "sampler": {"slots": 32, "cache_tokens": 32 * 192, "in_flight": 1},
    "judge": {"gap": 0.0},
    "rule": {"noise": 0.5},
    "preference": {"epochs": 1, "examples": 16, "microbatch_tokens": 512, "score_tokens": 2048},
    "optimizer": {"warmup": 0},
  }


def small(a) -> dict:
  """A checkpoint of one's own on opinions of one's own; sizes for one accelerator."""
  return {
    "data": {"share": 0.05},
    "collect": {"template": "chat"},
    "endpoint": {"temperature": VOTES},
    "preference": {
      "template": "chat",
      "epochs": 1,
      "examples": 64,
      "row_tokens": 4096,
      "microbatch_tokens": 16_384,
      "score_tokens": 65_536,
      "eval_every": 50,
      "checkpoint_every": 100,
    },
    "optimizer": {"learning_rate": 1e-4 if a.lora else 1e-5},
    "runtime": common.ACCELERATOR,
  }


def paper(_) -> dict:
  """Batch 256, learning rate 6e-6, one epoch, 8,192 tokens; the rest is not given."""
  return {
    "data": {"share": 0.01},
    "collect": {"template": "chat"},
    "endpoint": {"temperature": VOTES},
    "sampler": {"slots": 512},
    "preference": {
      "template": "chat",
      "epochs": 1,
      "examples": 256,
      "row_tokens": 8192,
      "microbatch_tokens": 64 * 8192,
      "score_tokens": 64 * 8192,
      "eval_every": 50,
      "checkpoint_every": 50,
      "keep": 3,
    },
    "optimizer": {"learning_rate": 6e-6, "warmup": 10, "final": 1.0},
    "mesh": common.POD,
    "runtime": common.ACCELERATOR,
  }


def sweep():
  """What the paper leaves open: the gap that is clear, how comparable lengths are, the passes."""
  yield {"judge.gap": 0.5}
  yield {"data.balance": 1.0}
  yield {"preference.epochs": 1}
