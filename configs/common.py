"""What several configs share: the argument after the colon, the sizes, and the tiny model."""

from collections.abc import Callable

import ml_collections

from r1.model import config, presets

ADAM = {"b1": 0.9, "b2": 0.95, "eps": 1e-8, "clip": 1.0}
ACCELERATOR = {"dtype": "bfloat16", "remat": "layer"}  # the runtime of a model that fills one
POD = {"fsdp": 64, "tensor": 8}  # the mesh of the paper's model

# The share of a file's prompts that is held out, the same in all recipes of a chain. Both splits go
# by one checksum of the prompt, so what the questions hold out is no conversation to learn from.
# And of conversations more is held out, since prompts that are never asked are in no harvest.
HELD = {
  "small": {"questions": 0.05, "conversations": 0.07},
  "paper": {"questions": 0.01, "conversations": 0.02},
}


def parse(arg: str | None, **defaults) -> ml_collections.ConfigDict:
  """`--config=FILE.py:name=value,flag` to settings typed like their defaults.

  A bare name is a flag set to True. Raises ValueError on an unknown name or a value of another
  type.
  """
  settings = ml_collections.ConfigDict(defaults)
  for item in filter(None, (arg or "").split(",")):
    name, equals, text = item.partition("=")
    if name not in defaults:
      raise ValueError(f"unknown setting {name!r}; this config takes {sorted(defaults)}")
    settings[name] = _typed(name, text if equals else "true", defaults[name])
  return settings


def _typed(name: str, text: str, default):
  if isinstance(default, bool):
    if text.lower() not in ("true", "false"):
      raise ValueError(f"{name}={text!r}: wanted true or false")
    return text.lower() == "true"
  try:
    return type(default)(text)
  except ValueError as error:
    raise ValueError(f"{name}={text!r}: wanted a {type(default).__name__}") from error


def choose(
  a, file: str, *, tiny: Callable, small: Callable, **sizes: Callable
) -> ml_collections.ConfigDict:
  """The recipe of the size that was asked for; `model=` alone asks for the small one.

  tiny: makes a whole config of the arguments `a`; small and the other sizes: what they change in
  it. A model of files brings its tokenizer, and the run its data, so `base`, which makes both from
  the embedded world, stays in the tiny and smoke recipes and where the model is a preset, which has
  no files. Raises ValueError where no size or more than one is given.
  """
  named = [name for name in ("tiny", *sizes) if a[name]]
  if len(named) > 1 or not (named or a.model):
    choices = ", ".join(f"{file}:{name}" for name in ("tiny", *sizes))
    raise ValueError(f"choose one of {choices} and {file}:model=MODEL")
  c, size = tiny(a), named[0] if named else "small"
  c.model = a.model
  if size != "tiny":
    c.update((sizes | {"small": small})[size](a))
  if size not in ("tiny", "smoke") and not is_preset(a.model):
    c.base = ml_collections.ConfigDict()
  return c


def is_preset(model: str) -> bool:
  """Does the name stand for an architecture with random weights?"""
  return model in presets.NAMES


def tiny_model() -> ml_collections.ConfigDict:
  """0.7M parameters: Qwen2 with the QK norm of Qwen3; `ids` comes from the tokenizer."""
  return ml_collections.ConfigDict(
    config.PLAIN
    | {
      "D": 128,
      "F": 320,
      "V": 384,
      "H": 4,
      "N": 2,
      "K": 32,
      "stacks": (("dense", 4),),
      "context": 256,
      "rope_base": 1e4,
      "norm_eps": 1e-6,
      "qkv_bias": True,
      "qk_norm": True,
      "tied": True,
    }
    | runtime()
  )


def machine(a) -> dict:
  """The sections on where and how a stage computes: one device, every weight in float32."""
  return {
    "mesh": {"data": 1, "fsdp": 1, "tensor": 1, "expert": 1, "context": 1},
    "runtime": runtime(),
    "weights": "float32",  # of the parameters in memory
    "lora": adapters(a.lora),
  }


def runtime() -> dict:
  """How a model computes, as opposed to what: a run's choice, whatever it starts from."""
  return {
    "dtype": "float32",
    "attend": "blockwise",
    "attention_block": 128,
    "logit_chunk": 2048,
    "remat": "none",
  }


def adapters(rank: int) -> dict:
  """LoRA on every matrix of attention and of the dense MLPs; rank 0 trains all weights instead."""
  pattern = r"\w+/attn/\w+|\w+/feed/(gate|up|down)_(DF|FD)"
  return {"rank": rank, "alpha": 2.0 * max(rank, 1), "pattern": pattern}


def verifier() -> dict:
  """Limits of the processes that check answers, and of the programs that models write."""
  limits = {"wall_s": 6.0, "build_s": 20.0, "cpu_s": 6.0, "memory_bytes": 2**29}
  limits |= {"disk_bytes": 2**24, "output_bytes": 2**20, "processes": 32}
  return {
    "workers": 2,
    "seconds": 1.0,
    "memory_bytes": 2**30,
    "jobs": 1_000,
    "lanes": 2,
    "python": "",
    "url": "",
    "code": {"credit": "all", "limits": limits},
  }


def endpoint() -> dict:
  """A language model behind a URL, as a judge or a rewriter; an empty URL is none."""
  return {
    "url": "",
    "model": "",
    "key": "",
    "temperature": 0.0,
    "max_tokens": 16_384,
    "seconds": 300.0,
    "tries": 3,
    "pause_s": 2.0,
    "threads": 16,
  }
