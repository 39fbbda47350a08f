"""Checkpoints of any size in the layout of a published family, filled with cheap noise."""

import json
from collections.abc import Iterator

import numpy as np

from r1 import spec
from r1.model.hf import safetensors, write

CHUNK = 2**22  # bytes of noise made at a time


def noise(tensor: write.Tensor, seed: int) -> Iterator[np.ndarray]:
  """The rows of a tensor in chunks; a function of its name and the seed.

  Random bits with the top bit of the exponent cleared: finite, and below 2 in size. One chunk is
  drawn; the others are it with some bits flipped, which is ten times as fast.
  """
  width = 8 * tensor.dtype.itemsize
  unsigned = np.dtype(f"u{tensor.dtype.itemsize}")
  rng = np.random.default_rng([seed, spec.path_number(tensor.name)])
  last, *rest = tensor.shape
  rows = min(last, max(1, CHUNK // max(1, safetensors.size(tuple(rest), tensor.dtype))))
  mask = unsigned.type(2**width - 1 - 2 ** (width - 2))
  drawn = rng.integers(0, 2**width, (rows, *rest), unsigned) & mask
  for number, at in enumerate(range(0, last, rows)):
    yield (drawn[: last - at] ^ unsigned.type(number % 64)).view(tensor.dtype)


def checkpoint(folder, tensors, *, shard_bytes: int, files: dict[str, bytes], seed: int = 0) -> int:
  """Writes noise for these tensors; returns their bytes."""
  by_name = {tensor.name: tensor for tensor in tensors}
  shards = write.plan(tensors, shard_bytes)
  return write.checkpoint(folder, shards, lambda name: noise(by_name[name], seed), files)


def qwen2_tensors(config: dict, dtype="BF16") -> list[write.Tensor]:
  """The tensors of Qwen2 with an untied head, in the published order of names."""
  width, hidden = config["hidden_size"], config["intermediate_size"]
  head = width // config["num_attention_heads"]
  keys = head * config["num_key_value_heads"]
  ids = config["vocab_size"]
  shapes = {"model.embed_tokens.weight": (ids, width)}
  for z in range(config["num_hidden_layers"]):
    layer = {
      "input_layernorm.weight": (width,),
      "mlp.down_proj.weight": (width, hidden),
      "mlp.gate_proj.weight": (hidden, width),
      "mlp.up_proj.weight": (hidden, width),
      "post_attention_layernorm.weight": (width,),
      "self_attn.k_proj.bias": (keys,),
      "self_attn.k_proj.weight": (keys, width),
      "self_attn.o_proj.weight": (width, width),
      "self_attn.q_proj.bias": (width,),
      "self_attn.q_proj.weight": (width, width),
      "self_attn.v_proj.bias": (keys,),
      "self_attn.v_proj.weight": (keys, width),
    }
    shapes |= {f"model.layers.{z}.{name}": shape for name, shape in layer.items()}
  shapes |= {"model.norm.weight": (width,), "lm_head.weight": (ids, width)}
  return [write.Tensor(name, shape, safetensors.DTYPES[dtype]) for name, shape in shapes.items()]


def qwen2(folder, *, gigabytes: float, width: int = 2048, ids: int = 32_000, seed: int = 0) -> int:
  """A Qwen2 in bfloat16 with as many layers as come nearest to the size; returns its bytes."""
  config = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": width,
    "intermediate_size": 4 * width,
    "num_attention_heads": width // 64,
    "num_key_value_heads": width // 128,
    "vocab_size": ids,
    "max_position_embeddings": 4096,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 0,
  }
  bytes_of = lambda layers: sum(
    safetensors.size(tensor.shape, tensor.dtype)
    for tensor in qwen2_tensors(config | {"num_hidden_layers": layers})
  )
  layers = max(1, round((gigabytes * 1e9 - bytes_of(0)) / (bytes_of(1) - bytes_of(0))))
  config["num_hidden_layers"] = layers
  files = {"config.json": json.dumps(config, indent=2).encode()}
  return checkpoint(folder, qwen2_tensors(config), shard_bytes=10**9, files=files, seed=seed)
