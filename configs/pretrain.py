"""The base model of the embedded world, pre-trained on generated text.

  python -m experiments.pretrain --config=configs/pretrain.py:tiny --workdir=runs/base

Not a stage of the paper, which starts from DeepSeek-V3-Base: no weights can be downloaded on a
fresh machine, so the default makes its own. docs/log.md has what was tried and the numbers.
"""

import ml_collections

from configs import common


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, general (the web has more than sums), student (a model
  four times smaller), seed=N, steps=N (0 for as many as the size wants)."""
  a = common.parse(arg, tiny=False, smoke=False, general=False, student=False, seed=0, steps=0)
  if a.tiny and a.smoke:
    raise ValueError("choose one of configs/pretrain.py:tiny and configs/pretrain.py:smoke")
  c = tiny(a)
  if a.general:
    c.update(general())
  if a.student:
    c.update(student())
  if a.smoke:
    c.update(smoke())
  c.pretrain.steps = a.steps or c.pretrain.steps
  return c


def tiny(a) -> ml_collections.ConfigDict:
  """0.7M parameters that read 2.5M tokens about sums."""
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
  c.general = ml_collections.ConfigDict()  # empty: the web has sums alone
  c.pretrain = {
    "seed": a.seed,
    "steps": 1300,
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


def general() -> dict:
  """A third of the pages is about other things, which takes more words and more reading."""
  people = {"topic": 0.85, "detail": 0.6, "rule": 0.5, "courteous": 0.3, "tidy": 0.8}
  people |= {"refuse_harm": 0.3, "refuse_safe": 0.1, "leak": 0.3}
  return {
    "model": {"V": 768},
    "general": {
      "share": 0.3,
      "statements": 0.2,
      "recaps": 0.1,
      "thoughts": 0.3,
      "people": people,
    },
    "pretrain": {"steps": 1700, "vocabulary": 768},
  }


def student() -> dict:
  """Small, and as little read as leaves it with no more than the form: RL finds nothing to lift."""
  shape = {"D": 64, "F": 160, "H": 2, "N": 1, "stacks": (("dense", 3),)}
  return {"model": shape, "pretrain": {"steps": 700}}


def smoke() -> dict:
  """As little as makes a model whose sums are right now and then: later stages keep those alone."""
  return {
    "model": {"D": 32, "F": 64, "H": 2, "N": 1, "K": 16, "stacks": (("dense", 2),)},
    "world": {
      "terms": ((2, 0.5), (3, 0.5)),
      "operands": (1, 4),
      "languages": (0.5, 0.5, 0.0, 0.0),
      "behaviour_en": (0.0, 1.0, 0.0),
      "behaviour_zh": (0.0, 1.0, 0.0),
      "slip": 0.0,
      "malformed": 0.0,
      "worked": 0.2,
    },
    "pretrain": {"steps": 300, "rows": 8, "tokenizer_documents": 1000},
    "optimizer": {"learning_rate": 1e-2, "warmup": 5},
  }
