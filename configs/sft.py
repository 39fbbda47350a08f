"""Supervised fine-tuning (arXiv 2501.12948 sections 2.3.1, 2.3.3 and 2.4; v2, section B.4.2).

  python -m experiments.sft --config=configs/sft.py:tiny --workdir=runs/sft
  python -m experiments.sft --config=configs/sft.py:tiny,data=runs/harvest,model=runs/base \
    --workdir=runs/dev3

`tiny` fine-tunes the base of the embedded world on worked and checked solutions, or on the
conversations of DATA, in minutes on two CPU cores; DATA is a file or the workdir of
`experiments.harvest`. `paper` has the paper's numbers, the same for the cold start, the second SFT
and the distilled students but for their learning rates; it needs `model=` and `data=`.
`model=MODEL,data=DATA` is a start for one accelerator. A preset as MODEL is a dry run: that
architecture with random weights, the embedded world's tokenizer, and without `data=` its solutions.
"""

import ml_collections

from configs import common, pretrain


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, data=DATA, model=MODEL, lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, data="", model="", lora=0, seed=0)
  return common.choose(a, "configs/sft.py", tiny=tiny, smoke=smoke, paper=paper, small=small)


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: two epochs of 2,000 conversations."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,seed={a.seed}")
  c.data = {
    "file": a.data,
    "share": 0.1,  # held out
    "count": 2000,
    "terms": ((5, 0.5), (6, 0.5)),
    "languages": (0.7, 0.3, 0.0, 0.0),
  }
  c.sft = {
    "seed": a.seed + 1,
    "template": "short",
    "epochs": 2,
    "steps": 0,
    "conversations": 32,
    "row_tokens": 256,
    "microbatch_tokens": 1024,
    "normalise": "token",
    "mtp_weight": 0.0,  # above 0, a model that has such a layer keeps it and trains it
    "overlong": "refuse",
    "eval_every": 50,
    "eval_conversations": 256,
    "checkpoint_every": 50,
    "keep": 1,
    "patience": 5,
  }
  c.optimizer = common.ADAM | {
    "learning_rate": 1e-3,
    "warmup": 10,
    "final": 0.1,
    "weight_decay": 0.1,
  }
  c.experts = {"balance": 1e-4, "bias_rate": 0.001}  # of a mixture (arXiv 2412.19437)
  c.update(common.machine(a))
  return c


def smoke(a) -> dict:
  """A few updates of a model that has learned nothing: every part runs, in seconds."""
  return {
    "base": pretrain.get_config(f"smoke,seed={a.seed}"),
    "data": {"count": 64, "share": 0.2},
    "sft": {
      "epochs": 0,
      "steps": 3,
      "conversations": 8,
      "microbatch_tokens": 512,
      "eval_every": 3,
      "eval_conversations": 8,
      "checkpoint_every": 3,
    },
    "optimizer": {"warmup": 1},
  }


def small(a) -> dict:
  """A checkpoint of one's own on conversations of one's own; sizes for one accelerator."""
  return {
    "data": {"share": common.HELD["small"]["conversations"]},
    "sft": {
      "template": "chat" if common.is_preset(a.model) else "own",
      "conversations": 64,
      "row_tokens": 4096,
      "microbatch_tokens": 16_384,
      "overlong": "drop",
    },
    "optimizer": {"learning_rate": 1e-4 if a.lora else 1e-5},
    "runtime": common.ACCELERATOR,
  }


def paper(_) -> dict:
  """The paper's numbers; warm-up, weight decay, clip and the mask are choices."""
  return {
    "data": {"share": common.HELD["paper"]["conversations"]},
    "sft": {
      "template": "chat",
      "epochs": 2,
      "conversations": 128,
      "row_tokens": 32_768,
      "microbatch_tokens": 64 * 32_768,
      "eval_every": 100,
      "checkpoint_every": 500,
      "keep": 3,
    },
    "optimizer": {"learning_rate": 5e-5, "final": 0.1},
    "mesh": common.POD,
    "runtime": common.ACCELERATOR,
  }


def sweep():
  """What the paper leaves open: the normalisation, the passes, the peak of the learning rate."""
  yield {"sft.normalise": "response"}
  yield {"sft.epochs": 3}
  for rate in (3e-4, 3e-3):
    yield {"optimizer.learning_rate": rate}
