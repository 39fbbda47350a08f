"""Adapters as PEFT reads them: adapter_config.json and adapter_model.safetensors.

PEFT adapts one matrix of the checkpoint with one pair. Where such a matrix holds several of ours,
their pairs stand side by side: the ranks add up, and so does alpha, so that the scale stays.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np

from r1 import spec
from r1.model import lora, transformer
from r1.model.hf import names, write

PREFIX = "base_model.model."


def export(folder: str | pathlib.Path, params: dict, cfg, *, base: str) -> int:
  """Writes the adapters of `params` in float32; base: the checkpoint that they belong to.

  Returns the bytes written. Raises ValueError where there are none, and for those of a mixture's
  feed-forwards, which PEFT misreads: export such a model merged.
  """
  if "lora" not in params:
    raise ValueError("this model has no adapters; export it as a whole checkpoint")
  specs = spec.flatten(transformer.specs(dataclasses.replace(cfg, lora=None)))
  pairs = _pairs(params["lora"])
  if cfg.moe is not None and (odd := sorted(path for path in pairs if "/feed/" in path)):
    raise ValueError(
      f"{odd[0]}: in a mixture of experts PEFT (0.21) takes every adapter of a feed-forward for "
      "one of its fused experts and computes something else; adapt attention alone, or export the "
      "model merged"
    )
  table = [t for t in names.tensors(cfg) if any(path in pairs for path in t.paths)]
  arrays: dict[str, np.ndarray] = {}
  for tensor in table:
    module = PREFIX + tensor.name.removesuffix(".weight")
    a, b = _matrices(tensor, pairs, specs, cfg.lora.rank)
    arrays |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
  planned = [write.Tensor(name, value.shape, value.dtype) for name, value in arrays.items()]
  shards = write.plan(planned, 2**62, stem="adapter_model")
  config = json.dumps(_config(table, pairs, cfg.lora, base), indent=2) + "\n"
  return write.checkpoint(
    folder, shards, arrays.__getitem__, {"adapter_config.json": config.encode()}
  )


def _pairs(tree: dict, where: str = "") -> dict[str, tuple]:
  """{path of the matrix: (a, b)}."""
  found = {}
  for name, value in tree.items():
    path = f"{where}{name}"
    if all(isinstance(leaf, dict) for leaf in value.values()):
      found |= _pairs(value, f"{path}/")
    else:
      found[path] = tuple(value[key] for key in sorted(value))
  return found


def _matrices(tensor: names.Tensor, pairs: dict, specs: dict, rank: int):
  """(lora_A [ranks, inputs], lora_B [outputs, ranks]) of one matrix of the checkpoint."""
  own = [path for path in tensor.paths if path in pairs]
  ranks, rows, columns, made = rank * len(own), [], {}, {}
  for path in tensor.paths:
    s = specs[path]
    outputs = [(x, n) for x, n in zip(s.axes, s.shape) if x not in "Z" + s.inputs]
    wide = np.zeros((ranks, *(n for _, n in outputs)), np.float32)
    if path in pairs:
      a, b = (np.asarray(jax.device_get(x[tensor.z]), np.float32) for x in pairs[path])
      start = rank * own.index(path)
      wide[start : start + rank] = b
      rows.append(a.reshape(-1, rank).T)
    axes = "J" + "".join(x for x, _ in outputs)
    columns[path], made[path] = wide, spec.ParamSpec(wide.shape, axes, "J", spec.zeros)
  return np.ascontiguousarray(np.concatenate(rows)), names.join(tensor, columns, made)


def _config(table, pairs: dict, cfg: lora.LoraConfig, base: str) -> dict:
  """adapter_config.json; matrices that hold several of ours name their own rank and alpha."""
  modules = [tensor.name.removesuffix(".weight") for tensor in table]
  several = {
    module.rpartition(".")[2]: n
    for module, tensor in zip(modules, table)
    if (n := sum(path in pairs for path in tensor.paths)) > 1
  }
  return {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": base,
    "r": cfg.rank,
    "lora_alpha": cfg.alpha,
    "rank_pattern": {module: cfg.rank * n for module, n in several.items()},
    "alpha_pattern": {module: cfg.alpha * n for module, n in several.items()},
    "target_modules": modules,
    "lora_dropout": 0.0,
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
  }
