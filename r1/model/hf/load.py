"""Weights of a Hugging Face checkpoint, tensor by tensor, straight into their shards."""

import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from r1 import sharding, spec
from r1.model import transformer
from r1.model.hf import blocks, names, safetensors, stream

BUFFER = re.compile(r"rotary_emb\.inv_freq$")  # old checkpoints carry this; it is computed here
TIED = "model.embed_tokens.weight"
FLOATS = tuple(safetensors.DTYPES[code] for code in ("F64", "F32", "F16", "BF16"))
SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Where boxes of our arrays are read from; specs: the flattened tree. block: of FP8, or None."""

  index: safetensors.Index
  specs: dict[str, spec.ParamSpec]
  block: blocks.Block | None
  dtype: np.dtype


def load(folder: str | pathlib.Path, raw: dict, cfg, *, dtype: str, mesh=None, rules=None) -> dict:
  """The parameters, each in its sharding; the host holds one device's part of one layer at a time.

  raw: config.json; cfg: its ModelConfig, without adapters. dtype: of the parameters, whatever the
  file's is, but for the router's bias: that is float32.
  Raises ValueError where tensors are missing, too many or of another shape: all are counted, the
  first five are named; where the weights are quantised in a way that is not implemented; and where
  a file is damaged.
  """
  if cfg.lora is not None:
    raise ValueError("a checkpoint has no adapters: load it with lora=None and add them behind")
  block = fp8_block(raw)
  index = safetensors.open_folder(folder)
  specs = transformer.specs(cfg)
  flat, table = spec.flatten(specs), names.tensors(cfg)
  try:
    check(index, table, flat, raw, cfg)
  except ValueError as error:
    raise ValueError(f"{folder}: {error}") from error
  homes = spec.flatten(sharding.placed(specs, mesh, rules))
  found: dict[str, dict] = {}
  for tensor in table:
    for path in tensor.paths:
      found.setdefault(path, {}).setdefault(tensor.z, {})[tensor.e] = tensor
  source = Source(index=index, specs=flat, block=block, dtype=np.dtype(jnp.dtype(dtype)))
  exact = dataclasses.replace(source, dtype=np.dtype(np.float32))
  return spec.unflatten(
    {
      path: _leaf(exact if path.endswith(names.EXACT) else source, path, found[path], home.sharding)
      for path, home in homes.items()
    }
  )


def _leaf(source: Source, path: str, tensors: dict, home) -> jax.Array:
  """One array of ours: whole, or filled layer by layer. tensors: {layer: {expert: its tensor}}."""
  shape = source.specs[path].shape
  if None in tensors:
    return stream.place(shape, home, lambda cut: _read(source, path, tensors[None], cut))
  stack = jnp.zeros(shape, source.dtype, device=home)
  layer = _without_layers(home)
  for z, experts in tensors.items():
    value = stream.place(shape[1:], layer, lambda cut, e=experts: _read(source, path, e, cut))
    stack = stream.fill(stack, z, value)
  return stack


def _without_layers(home):
  """The sharding of one layer of a stack, which is never split over its layers."""
  if not isinstance(home, jax.sharding.NamedSharding):
    return home
  return jax.sharding.NamedSharding(home.mesh, jax.sharding.PartitionSpec(*home.spec[1:]))


def _read(source: Source, path: str, tensors: dict, cut: stream.Cut) -> np.ndarray:
  """A part of one layer's array. tensors: {expert or None: its tensor}."""
  if None in tensors:
    return _one(source, path, tensors[None], cut)
  experts = range(cut[0].start, cut[0].stop)
  parts = np.empty((len(experts), *(c.stop - c.start for c in cut[1:])), source.dtype)
  for i, e in enumerate(experts):
    parts[i] = _one(source, path, tensors[e], cut[1:])
  return parts


def _one(source: Source, path: str, tensor: names.Tensor, cut: stream.Cut) -> np.ndarray:
  """A part of one layer's (and one expert's) array."""
  rows, columns, inner = names.box(tensor, path, cut, source.specs)
  entry = source.index[tensor.name]
  if entry.dtype in blocks.STORED:
    assert source.block is not None  # `check` has seen to it
    value = blocks.read_dequantised(source.index, tensor.name, source.block, rows, columns)
  else:
    value = safetensors.read(entry, rows, columns)
  return np.ascontiguousarray(inner(value).astype(source.dtype, copy=False))


# Checks -------------------------------------------------------------------------------------------


def fp8_block(raw: dict) -> blocks.Block | None:
  """Outputs and inputs that share a factor in an FP8 checkpoint; None where none is quantised.

  Raises ValueError for every other quantisation.
  """
  found = raw.get("quantization_config")
  if not found:
    return None
  block = found.get("weight_block_size")
  if found.get("quant_method") != "fp8" or not isinstance(block, list) or len(block) != 2:
    raise ValueError(
      f"quantization_config={found} is not implemented: wanted quant_method fp8 with a "
      "weight_block_size of two numbers, or a checkpoint that is not quantised"
    )
  return block[0], block[1]


def check(index, table: list[names.Tensor], specs: dict, raw: dict, cfg) -> None:
  """Raises ValueError unless the checkpoint holds exactly the tensors of this model."""
  wanted = {tensor.name: names.shape(tensor, specs) for tensor in table}
  copies = names.duplicates(cfg) | ({"lm_head.weight": TIED} if cfg.tied else {})
  block = fp8_block(raw)
  missing, shapes, kinds = [], [], []
  for name, shape in wanted.items():
    if name not in index:
      missing.append(name)
      continue
    if index[name].shape != shape:
      shapes.append(f"{name} {index[name].shape} instead of {shape}")
    quantised = index[name].dtype in blocks.STORED
    if not quantised and index[name].dtype not in FLOATS:
      kinds.append(f"{name} ({index[name].dtype})")
    if quantised and block is None:
      kinds.append(f"{name} (FP8 while config.json has no quantization_config)")
    elif quantised and name + blocks.SUFFIX not in index:
      missing.append(name + blocks.SUFFIX)
  allowed = wanted.keys() | copies.keys()
  surplus = [name for name in index if not _known(name, allowed, index, raw, cfg)]
  named = {"missing": missing, "not part of this model": surplus, "of another shape": shapes}
  named["of a type that is no weight's"] = kinds
  if faults := [_list(what, found) for what, found in named.items() if found]:
    raise ValueError("the checkpoint does not fit its config.json: " + "; ".join(faults))
  for name, original in copies.items():
    if name in index and not _equal(index[name], index[original]):
      hint = "; does config.json say tie_word_embeddings by mistake?" if cfg.tied else ""
      raise ValueError(f"{name} should repeat {original}, but its values are others{hint}")


def _known(name: str, allowed, index, raw: dict, cfg) -> bool:
  layers = sum(count for _, count in cfg.stacks)
  if not cfg.mtp and raw.get("num_nextn_predict_layers"):  # left out on request
    extra = range(layers, layers + raw["num_nextn_predict_layers"])
    if any(name.startswith(f"model.layers.{z}.") for z in extra):
      return True
  weight = name.removesuffix(blocks.SUFFIX)
  if weight != name:
    return weight in allowed and weight in index and index[weight].dtype in blocks.STORED
  return name in allowed or bool(BUFFER.search(name))


def _equal(one: safetensors.Entry, other: safetensors.Entry) -> bool:
  if (one.shape, one.dtype) != (other.shape, other.dtype):
    return False
  pieces = safetensors.pieces(0, one.shape[0], safetensors.size(one.shape[1:], one.dtype))
  bits = lambda entry, rows: safetensors.read(entry, rows).view(np.uint8)
  return all(np.array_equal(bits(one, rows), bits(other, rows)) for rows in pieces)


def _list(what: str, found: list[str]) -> str:
  noun, more = "tensor" + "s" * (len(found) > 1), ", …" * (len(found) > SHOWN)
  return f"{len(found)} {noun} {what}: {', '.join(found[:SHOWN])}{more}"
