"""Cold start: SFT of the base on R1-Zero's rewritten answers (arXiv 2501.12948v2 section B.3.2).

  python -m experiments.cold_start \
    --config=configs/cold_start.py:tiny,model=runs/zero,base=runs/base --workdir=runs/dev1

`model=` is R1-Zero, which is sampled at temperature 1; `base=` is what is trained, without it the
embedded world's base. `paper` has the paper's numbers; `model=ZERO,base=MODEL` without a size is a
start for one accelerator on questions of one's own (`--config.data.questions=FILE`), with a model
at `--config.rewriter.url` that rewrites: the rule of the tiny recipe reads sums only.
"""

import ml_collections

from configs import common, evaluate, harvest, pretrain, r1_zero, sft


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=R1-ZERO, base=MODEL, lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", base="", lora=0, seed=0)
  a.data = ""  # of the recipe of SFT, which reads conversations of its own
  c = common.choose(a, "configs/cold_start.py", tiny=tiny, smoke=smoke, paper=paper, small=small)
  c.zero, c.model = a.model, a.base
  return c


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: 800 problems in two languages with 4 answers each, four epochs."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,seed={a.seed}")
  c.data = harvest.questions() | {"count": 800}
  c.collect = {
    "seed": a.seed + 2,
    "template": "short",
    "samples": 4,
    "temperature": 1.0,
    "limit": 108,
    "shard": 250,
  }
  # Thoughts in another language than the question stay: they are translated.
  c.filter = harvest.selection("answer_tag") | {"consistency": 0.0}
  c.rewriter = common.endpoint()  # without a url the rule
  c.share = 0.1  # of the conversations, held out
  c.sampler = r1_zero.sampler() | {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
  c.verifier = common.verifier()
  c.evaluation = {"held": 512, "files": ()}
  c.suite = evaluate.get_config("tiny").suite
  for section in ("sft", "optimizer", "experts"):
    c[section] = sft.tiny(a)[section]
  # In two passes with updates of 32 the base learns the form and still loses count of the terms.
  c.update({"sft": {"epochs": 4, "conversations": 16}})
  c.update(common.machine(a))
  return c


def smoke(a) -> dict:
  """Small sums; as many updates as make the form of the answers familiar, in seconds."""
  small = {k: v for k, v in harvest.smoke(a).items() if k != "people"}
  small["data"]["general_count"] = 0
  updates = {"conversations": 8, "epochs": 0, "steps": 60, "eval_every": 60, "checkpoint_every": 60}
  return small | {
    "share": 0.0,
    "sft": updates | {"microbatch_tokens": 512},
    "optimizer": {"learning_rate": 5e-3, "warmup": 3},
  }


def small(a) -> dict:
  """A checkpoint of one's own on questions of one's own; sizes for one accelerator."""
  tuned = {key: sft.small(a)[key] for key in ("sft", "optimizer")}
  collected = harvest.small(a)["collect"] | {"template": "r1_zero"}
  held = {"share": common.HELD["small"]["conversations"]}
  return harvest.small(a) | tuned | {"collect": collected} | held


def paper(a) -> dict:
  """Thousands of chains of thought; two epochs of the paper's SFT."""
  tuned = {key: sft.paper(a)[key] for key in ("sft", "optimizer")}
  collected = harvest.paper(a)["collect"] | {"template": "r1_zero", "samples": 4}
  held = {"share": common.HELD["paper"]["conversations"]}
  return harvest.paper(a) | tuned | {"collect": collected} | held
