"""A model as a Hugging Face checkpoint, which transformers and vLLM load."""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from r1 import spec
from r1.model import transformer
from r1.model.hf import describe, names, write


def export(
  folder: str | pathlib.Path, params: dict, cfg, tokenizer, *, dtype: str, shard_bytes: int
) -> int:
  """Writes config.json, generation_config.json, the tokenizer's files and sharded safetensors.

  tokenizer: an `r1.text.tokenizer.Tokenizer`, or None for weights alone. dtype: of the weights in
  the files, but for the router's bias: that stays float32. One tensor at a time is on the host; the
  folder appears whole or not at all. Returns the bytes of the weights.
  Raises ValueError where no family computes this model, where params are not those of cfg, and
  where the folder holds something already.
  """
  params, cfg = expressible(params, cfg)
  raw = describe.describe(cfg, dtype)
  specs, flat = spec.flatten(transformer.specs(cfg)), spec.flatten(params)
  _check(flat, specs, cfg)
  table = {tensor.name: tensor for tensor in names.tensors(cfg)}
  copies = names.duplicates(cfg)

  def kind(tensor: names.Tensor) -> np.dtype:
    exact = any(path.endswith(names.EXACT) for path in tensor.paths)
    return np.dtype(jnp.dtype("float32" if exact else dtype))

  def values(name: str) -> np.ndarray:
    tensor = table[copies.get(name, name)]
    parts = {path: _piece(flat[path], tensor) for path in tensor.paths}
    return names.join(tensor, parts, specs).astype(kind(tensor), copy=False)

  def planned(name: str) -> write.Tensor:
    tensor = table[copies.get(name, name)]
    return write.Tensor(name, names.shape(tensor, specs), kind(tensor))

  shards = write.plan([planned(name) for name in (*table, *copies)], shard_bytes)
  files = {} if tokenizer is None else dict(tokenizer.files)
  if tokenizer is not None:
    raw |= {"bos_token_id": tokenizer.bos, "eos_token_id": _one_or_many(tokenizer.eos)}
    if cfg.scalar:  # transformers finds the last token of a padded row by this id
      raw |= {"pad_token_id": tokenizer.pad}
    else:
      files.setdefault("generation_config.json", _json(_generation(tokenizer)))
  return write.checkpoint(folder, shards, values, files | {"config.json": _json(raw)})


def expressible(params: dict, cfg):
  """The same function in a family that exists: norms of queries and keys with biases on them too.

  Qwen3 has biases everywhere in attention or nowhere, so the output gets one of zeros.
  """
  if not (cfg.attention == "gqa" and cfg.qk_norm and cfg.qkv_bias and not cfg.o_bias):
    return params, cfg
  cfg = dataclasses.replace(cfg, o_bias=True)
  zeros = {
    path: jnp.zeros(s.shape, jnp.float32)
    for path, s in spec.flatten(transformer.specs(cfg)).items()
    if path.endswith("o_bias_D")
  }
  return spec.unflatten(spec.flatten(params) | zeros), cfg


def _check(flat: dict, specs: dict, cfg) -> None:
  """Raises ValueError unless every array is there, whole, and in the shape that the model wants."""
  if cfg.lora is not None or any(path.startswith("lora/") for path in flat):
    raise ValueError("the model has adapters: merge them into its weights, or export them alone")
  shapes = {path: array.shape for path, array in flat.items()}
  wanted = {path: s.shape for path, s in specs.items()}
  if odd := sorted(path for path, _ in shapes.items() ^ wanted.items()):
    raise ValueError(
      f"{odd[0]} has the shape {shapes.get(odd[0])}, the model's is {wanted.get(odd[0])}; the "
      "parameters and the config are of different models"
    )
  away = [path for path, array in flat.items() if not getattr(array, "is_fully_addressable", True)]
  if away:
    raise ValueError(f"{away[0]} lies on devices of several processes; gather it to one first")


def _piece(leaf: jax.Array, tensor: names.Tensor) -> np.ndarray:
  """One layer's (and one expert's) array on the host."""
  index = [i for i in (tensor.z, tensor.e) if i is not None]
  return np.asarray(_pick(len(index))(leaf, *index))


@functools.cache
def _pick(depth: int):
  """Compiled once per shape: which layer and which expert are arguments.

  Always a new array, never the leaf itself: numpy's copy stays with the array that it is taken of.
  """

  def pick(leaf, *index):
    for i in index:
      leaf = jax.lax.dynamic_index_in_dim(leaf, i, 0, keepdims=False)
    return leaf if index else jnp.copy(leaf)

  return jax.jit(pick)


def _generation(tokenizer) -> dict:
  ids = {"bos_token_id": tokenizer.bos, "eos_token_id": _one_or_many(tokenizer.eos)}
  return {k: v for k, v in (ids | {"pad_token_id": tokenizer.pad}).items() if v is not None}


def _one_or_many(ids: tuple[int, ...]):
  return ids[0] if len(ids) == 1 else list(ids)


def _json(value: dict) -> bytes:
  return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
