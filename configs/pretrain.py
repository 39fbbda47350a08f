"""The base model of the embedded world, pre-trained on generated text.

  python -m experiments.pretrain --config=configs/pretrain.py:tiny --workdir=runs/base

Not a stage of the paper, which starts from DeepSeek-V3-Base: no weights can be downloaded on a
fresh machine, so the default makes its own. docs/log.md has what was tried and the numbers.
"""

import ml_collections

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny (the only size there is), seed=N, steps=N."""
  a = common.parse(arg, tiny=True, seed=0, steps=1300)
  c = ml_collections.ConfigDict()
  c.model = common.tiny_model()
  c.world = {
    "terms": ((3, 0.1), (4, 0.1), (5, 0.4), (6, 0.4)),
    "operands": (2, 9),
    "test_share": 0.1,
    "languages": (0.55, 0.20, 0.10, 0.15),
    "switching_english": 2 / 3,
    "behaviour_en": (0.80, 0.10, 0.10),
    "behaviour_zh": (0.70, 0.12, 0.18),
    "behaviour_switching": (0.50, 0.15, 0.35),
    "slip": 0.15,
    "slip_switching": 0.10,
    "direct_ok": 0.3,
    "malformed": 0.25,
    "worked": 0.55,
  }
  c.pretrain = {
    "seed": a.seed,
    "steps": a.steps,
    "rows": 16,
    "row_tokens": 128,
    "vocabulary": 384,
    "tokenizer_documents": 8000,
  }
  c.optimizer = common.ADAM | {
    "learning_rate": 4e-3,
    "warmup": 100,
    "final": 0.05,
    "weight_decay": 0.1,
  }
  return c
