"""Rejection sampling for the second SFT (arXiv 2501.12948v2 section B.3.3).

  python -m experiments.harvest --config=configs/harvest.py:tiny,model=runs/dev2 \
    --workdir=runs/harvest

`model=` is the workdir of reasoning RL, or any model that answers in the same form. `pool=FILE`
are conversations for the part that is no reasoning; without it the embedded world's people answer
general prompts. `paper` has the paper's sizes as far as it gives them; `model=MODEL` without a size
is a start for one accelerator on questions of one's own (`--config.data.questions=FILE`). A judge
for answers that no rule can compare with their reference is at `--config.judge.url`.
"""

import ml_collections

from configs import common, evaluate, pretrain, r1_zero


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, pool=FILE, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", pool="", seed=0, lora=0)
  c = common.choose(a, "configs/harvest.py", tiny=tiny, smoke=smoke, paper=paper, small=small)
  c.pool = a.pool
  return c


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: 1,200 problems in two languages with 4 answers each, 820 general prompts."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,seed={a.seed}")
  c.data = questions() | {"count": 1200, "general_count": 820}
  c.collect = {
    "seed": a.seed + 3,
    "template": "short",
    "samples": 4,
    "temperature": 1.0,
    "limit": 140,
    "shard": 300,
  }
  c.filter = selection("boxed")
  c.people = people()
  c.sampler = r1_zero.sampler() | {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
  c.verifier = common.verifier()
  c.judge = common.endpoint()
  c.evaluation = {"held": 512, "files": ()}  # what may not be overlapped, beside the suite
  c.suite = evaluate.get_config("tiny").suite
  c.update({k: v for k, v in common.machine(a).items() if k != "lora"})
  return c


def questions() -> dict:
  """Sums in two languages, half of them each."""
  return {
    "questions": "",
    "held_out": "",
    "share": 0.1,
    "count": 1000,
    "terms": ((4, 0.2), (5, 0.4), (6, 0.4)),
    "languages": (("en", 0.5), ("zh", 0.5)),
    "general": "",
    "general_count": 0,
  }


def selection(mode: str) -> dict:
  """Thresholds that the paper leaves open, and its overlap of ten words."""
  return {
    "mode": mode,
    "consistency": 0.95,
    "paragraph": 400,
    "repetition": 0.5,
    "ngram": 4,
    "most": 2,
    "overlap": 10,
  }


def people() -> dict:
  """Who answers general prompts: better than the web's people, though not without faults."""
  people = {"topic": 0.95, "detail": 0.75, "rule": 0.65, "courteous": 0.4, "tidy": 0.9}
  return people | {"refuse_harm": 0.8, "refuse_safe": 0.03, "leak": 0.1}


def smoke(a) -> dict:
  """Small sums, of which a model that has hardly learned anything gets some right, in seconds."""
  return {
    "base": pretrain.get_config(f"smoke,seed={a.seed}"),
    "data": {"count": 48, "terms": ((2, 0.5), (3, 0.5)), "general_count": 32},
    "collect": {"samples": 8, "limit": 48, "shard": 24},
    "filter": {"most": 4, "overlap": 40},
    "sampler": {"slots": 64, "cache_tokens": 64 * 128, "in_flight": 1},
    "suite": evaluate.get_config("smoke").suite,
    "evaluation": {"held": 8},
  }


def small(a) -> dict:
  """A checkpoint of one's own on questions of one's own; sizes for one accelerator."""
  del a
  return {
    "data": {"general_count": 0, "share": common.HELD["small"]["questions"]},
    "collect": {"template": "chat", "samples": 8, "limit": 8192, "shard": 256},
    "filter": {"most": 4, "paragraph": 1000},
    "sampler": {
      "slots": 256,
      "prompt_bucket": 256,
      "chunk": 64,
      "cache_tokens": 256 * 8704,
      "in_flight": 1,
    },
    "runtime": common.ACCELERATOR,
  }


def paper(a) -> dict:
  """About 600k answers; how many are sampled of each question is not given, nor the temperature."""
  return small(a) | {
    "data": {"general_count": 0, "share": common.HELD["paper"]["questions"]},
    "collect": {
      "template": "chat",
      "samples": 16,
      "temperature": 1.0,
      "limit": 32_768,
      "shard": 1024,
    },
    "sampler": {
      "slots": 512,
      "prompt_bucket": 256,
      "chunk": 128,
      "cache_tokens": 512 * 16_384,
      "in_flight": 1,
    },
    "mesh": common.POD,
  }


def sweep():
  """What the paper leaves open: answers to a question, those that may stay, the temperature."""
  yield {"collect.samples": 16}
  yield {"filter.most": 1}
  yield {"collect.temperature": 0.6}
