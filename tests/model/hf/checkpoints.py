"""Checkpoints of tiny models, written and changed."""

import functools
import json
import pathlib

import jax.numpy as jnp
import numpy as np

from r1 import spec
from r1.model import presets, transformer
from r1.model.hf import config, export, safetensors, write
from tests.model import tiny

RUNTIME = {name: tiny.SETTINGS[name] for name in ("dtype", "attend", "remat", "rules")}
RUNTIME |= {"attention_block": 32, "logit_chunk": 2048}
TINY = tuple(name for name in presets.NAMES if name.startswith("tiny-"))


def parameters(cfg, seed: int = 0) -> dict:
  """Random weights of the size that keeps activations near 1; no gain is 1, no bias 0."""
  rng = np.random.default_rng(seed)

  def draw(path, s):
    noise = rng.standard_normal(s.shape).astype(np.float32)
    if s.inputs:
      return noise / np.sqrt(np.prod([n for n, x in zip(s.shape, s.axes) if x in s.inputs]))
    return 1 + 0.25 * noise if "norm" in path else 0.3 * noise

  flat = spec.flatten(transformer.specs(cfg))
  return spec.unflatten({path: jnp.asarray(draw(path, s)) for path, s in flat.items()})


@functools.cache
def model(name: str, **changes):
  """(config, parameters) of a tiny preset with some fields of its config.json changed."""
  cfg = config.parse(presets.RAW[name] | changes, RUNTIME)
  return cfg, parameters(cfg)


def save(folder: pathlib.Path, name: str, *, dtype="float32", shard_bytes=10**9, **changes):
  """Exports a tiny preset; returns (config, parameters)."""
  cfg, params = model(name, **changes)
  export.export(folder, params, cfg, None, dtype=dtype, shard_bytes=shard_bytes)
  return cfg, params


def tensors(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """All of a checkpoint."""
  index = safetensors.open_folder(folder)
  return {name: safetensors.read(entry) for name, entry in index.items()}


def rewrite(folder: pathlib.Path, arrays: dict[str, np.ndarray], **fields) -> pathlib.Path:
  """The same checkpoint with other tensors, and fields of config.json changed, beside it."""
  new = folder.with_name(f"{folder.name}-changed")
  raw = config.read(folder) | fields
  planned = [write.Tensor(name, value.shape, value.dtype) for name, value in arrays.items()]
  files = {"config.json": json.dumps(raw).encode()}
  write.checkpoint(new, write.plan(planned, 10**9), arrays.__getitem__, files)
  return new
