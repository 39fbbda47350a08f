"""A model on the suite of the embedded world (arXiv 2501.12948v2, tables 3 and 14).

  python -m experiments.evaluate --config=configs/evaluate.py:tiny,model=runs/zero --workdir=runs/ev

`mode=boxed` is for models behind the cold start; R1-Zero and bases answer in a tag.
"""

import ml_collections

from configs import common, pretrain, r1_zero


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, model=MODEL, mode=MODE, seed=N."""
  a = common.parse(arg, tiny=False, smoke=False, model="", mode="answer_tag", seed=0, lora=0)
  c = ml_collections.ConfigDict()
  c.model = a.model
  c.mode = a.mode
  c.template = "short"
  c.world = pretrain.get_config("tiny").world
  c.suite = {
    "terms": (4, 5, 6),
    "sums": 256,
    "languages": (("en", 0.5), ("zh", 0.5)),
    "prompts": 200,
    "samples": 4,
    "temperature": 0.6,
    "limit": 140,
    "seed": 4321 + a.seed,
  }
  c.top_p = 0.95
  c.sampler = r1_zero.sampler() | {"cache_tokens": 28_672}
  c.verifier = common.verifier()
  c.update({k: v for k, v in common.machine(a).items() if k != "lora"})
  if a.smoke:
    c.suite.update({"terms": (3,), "sums": 8, "prompts": 4, "samples": 1, "limit": 16})
    c.sampler.update({"slots": 32, "in_flight": 1})
  return c
