"""R1-Zero: GRPO with rule rewards straight on a base model (arXiv 2501.12948 section 2.2).

  python -m experiments.r1_zero --config=configs/r1_zero.py:tiny --workdir=runs/zero

`tiny` makes its own base from the embedded world and learns in minutes on two CPU cores;
`tiny,language=0.3` adds the language reward; `smoke` is the same code in seconds; `paper` has the
paper's numbers for a 671B base and needs `model=`. `model=MODEL` alone is a start for one
accelerator on questions of one's own; MODEL is a Hugging Face checkpoint's folder, hf:ORG/NAME, or
a workdir. A preset as MODEL is a dry run: that architecture with random weights, and the embedded
world's tokenizer and problems. `lora=16` trains adapters only. docs/log.md has the curves.
"""

import ml_collections
from ml_collections import config_dict

from configs import common, pretrain


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, language=WEIGHT, lora=RANK,
  seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", language=0.0, lora=0, seed=0)
  file = "configs/r1_zero.py"
  return common.choose(a, file, tiny=tiny, smoke=smoke, paper=paper, small=small)


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: 48 rollouts of 16 x 8 answers, 4 updates each."""
  c = ml_collections.ConfigDict()
  c.base = pretrain.get_config(f"tiny,seed={a.seed}")
  c.data = problems()
  c.rl = {
    "seed": a.seed + 1,
    "rollouts": 48,
    "questions_per_rollout": 16,
    "template": "short",
    "limit": ((0, 108),),
    "temperature": ((0, 1.0),),
    "mixture": ((0, 0.0),),  # no general prompts
    "partial_tokens": 0,  # off
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "reference_every": 0,
    "checkpoint_every": 16,
    "keep": 1,
    "canaries_every": 16,
    "patience": 5,
  }
  c.grpo = algorithm()
  c.experts = {"balance": 0.0, "bias_rate": 0.0}  # a mixture keeps its router's bias in RL
  c.batch = {
    "row_tokens": 128,
    "microbatch_tokens": 1024,
    "minibatches": 4,
    "share_prompts": True,  # attend="splash" needs False
    "fork": (),  # or (trunk, branch) in tokens, where minibatches is 1
  }
  c.sampler = sampler()
  c.reward = reward(a.language)
  c.rewards = ""  # or the workdir of the preference stage, whose reward models then count
  c.verifier = common.verifier()
  c.optimizer = common.ADAM | {
    "learning_rate": 1.5e-4,
    "warmup": 5,
    "final": 1.0,
    "weight_decay": 0.0,
  }
  c.eval = {"questions": 512, "wide": 128, "samples": 16, "limit": 108, "seed": 1234}
  c.update(common.machine(a))
  return c


def problems() -> dict:
  """Sums of five and six numbers, asked in English."""
  return {
    "questions": "",
    "held_out": "",
    "share": 0.1,
    "count": 20_000,
    "terms": ((5, 0.5), (6, 0.5)),
    "languages": (("en", 1.0),),
    "general": "",
    "general_count": 400,
  }


def reward(language: float) -> dict:
  """Rules alone: the paper has no reward model on reasoning prompts."""
  return {
    "accuracy": 1.0,
    "format": 0.1,
    "language": language,
    "helpful": 0.0,
    "safety": 0.0,
    "mode": "answer_tag",
    "languages": (),
    "shaping": shaping(limit=108),
    "own": (),
    "general": (),
    "schedules": (),
  }


def smoke(a) -> dict:
  """Two rollouts of a model that has learned nothing: every part runs, in seconds."""
  limit = 24
  return {
    "base": pretrain.get_config(f"smoke,seed={a.seed}"),
    "data": {"count": 64, "terms": ((3, 1.0),)},
    "rl": {
      "rollouts": 2,
      "questions_per_rollout": 4,
      "limit": ((0, limit),),
      "checkpoint_every": 1,
    },
    "grpo": {"group": 4, "max_tokens": limit},
    "batch": {"microbatch_tokens": 512, "minibatches": 2},
    "sampler": {"slots": 16, "cache_tokens": 16 * 192, "in_flight": 1},
    "reward": {"shaping": shaping(limit)},
    "optimizer": {"warmup": 1},
    "eval": {"questions": 8, "wide": 4, "samples": 2, "limit": limit},
  }


def sampler() -> dict:
  """Continuous batching on two CPU cores."""
  return {
    "slots": 128,
    "prompt_bucket": 32,
    "chunk": 16,
    "cache_tokens": 24_576,  # 128 slots hold 192 tokens each
    "cache_dtype": "",  # or int8, or float8_e4m3fn; they need grpo.sampler_cap
    "layout": "auto",
    "in_flight": 2,
    "draft": "none",  # or lookup, or mtp where the model has that layer
    "draft_tokens": 3,
    "ngram": 3,
  }


def shaping(limit: int) -> dict:
  """Rewards of length and repetition, all off; the limit is that of the answer, in tokens."""
  curve = {"right_short": 1.0, "right_long": 0.5, "wrong_short": -1.0, "wrong_long": -0.5}
  return {
    "overlong": 0.0,
    "limit": limit,
    "buffer": limit // 4,
    "repetition": 0.0,
    "ngram": 4,
    "length": 0.0,
    "cosine": 0.0,
    "curve": curve | {"limit": limit},
    "steps": 0.0,
  }


def small(a) -> dict:
  """A checkpoint of one's own on questions such as GSM8K's; sizes for one accelerator."""
  return {
    "data": {"share": common.HELD["small"]["questions"]},
    "rl": {
      "rollouts": 200,
      "questions_per_rollout": 64,
      "template": "r1_zero",
      "limit": ((0, 1024),),
      "checkpoint_every": 10,
    },
    "grpo": {"max_tokens": 1024},
    "reward": {"shaping": shaping(limit=1024)},
    "batch": {"row_tokens": 2048, "microbatch_tokens": 16_384, "minibatches": 4},
    "sampler": {
      "slots": 256,
      "prompt_bucket": 128,
      "chunk": 64,
      "cache_tokens": 256 * 2048,
      "in_flight": 1,
    },
    "optimizer": {"learning_rate": 1e-5 if a.lora else 1e-6},
    "eval": {"questions": 256, "wide": 64, "limit": 1024},
    "runtime": common.ACCELERATOR,
  }


def algorithm() -> dict:
  """GRPO as the paper has it, with what it leaves open chosen for the tiny run."""
  return {
    "group": 8,
    "clip_low": 10.0,
    "clip_high": 10.0,
    "kl": 0.001,
    "kl_estimator": "k3",
    "ratio": "token",
    "normalise": "token",
    "max_tokens": 108,
    "std": "population",
    "std_eps": 1e-6,
    "truncated": "keep",
    "dynamic": False,
    "sampler_cap": config_dict.placeholder(float),  # none
  }


def paper(_) -> dict:
  """The paper's numbers; what it leaves open is chosen as docs/design.md says."""
  return {
    "data": {"share": common.HELD["paper"]["questions"]},
    "rl": {
      "rollouts": 650,  # 10,400 updates
      "questions_per_rollout": 512,
      "template": "r1_zero",
      "limit": ((0, 32_768), (8_200, 65_536)),
      "reference_every": 400,
      "checkpoint_every": 5,
      "keep": 3,
    },
    "grpo": {"group": 16, "max_tokens": 65_536, "normalise": "response"},
    "batch": {"row_tokens": 67_584, "microbatch_tokens": 64 * 67_584, "minibatches": 16},
    "sampler": {
      "slots": 512,
      "prompt_bucket": 256,
      "chunk": 128,
      "cache_tokens": 512 * 16_384,
      "in_flight": 1,
    },
    "reward": {"format": 1.0, "shaping": shaping(limit=32_768)},
    "optimizer": {"learning_rate": 3e-6, "weight_decay": 0.1},
    "eval": {"samples": 16, "limit": 32_768},
    "mesh": common.POD,
    "runtime": common.ACCELERATOR,
  }


def sweep():
  """Which choices matter, one at a time? docs/log.md has the answers with three seeds."""
  yield {"reward.language": 0.3}
  for group, questions in ((4, 32), (16, 8)):  # at the same number of samples
    yield {"grpo.group": group, "rl.questions_per_rollout": questions}
  yield {"grpo.kl": 0.0}
  yield {"grpo.clip_low": 0.2, "grpo.clip_high": 0.2}
  for normalise in ("response", "constant"):
    yield {"grpo.normalise": normalise}
