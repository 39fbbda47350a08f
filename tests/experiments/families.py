"""Small random checkpoints of every family in Hugging Face's layout, tokenizer included."""

import pathlib

import jax

from r1 import spec
from r1.model import presets, transformer
from r1.model.hf import config as hf_config
from r1.model.hf import export
from r1.text import hf_tokenizer
from tests.text import checkpoints

TOKENIZERS = {
  "tiny-qwen2": "qwen2",
  "tiny-qwen3": "qwen2",
  "tiny-llama": "llama3",
  "tiny-deepseek-v3": "deepseek",
  "tiny-deepseek-v2": "deepseek",
}
BASES = {  # of the paper's six students (arXiv 2501.12948v2, table 6)
  "qwen-1.5b": "qwen2.5-math-1.5b",
  "qwen-7b": "qwen2.5-math-7b",
  "qwen-14b": "qwen2.5-14b",
  "qwen-32b": "qwen2.5-32b",
  "llama-8b": "llama-3.1-8b",
  "llama-70b": "llama-3.3-70b",
}
RUNTIME = {"dtype": "float32", "attend": "einsum", "attention_block": 128, "logit_chunk": 2048}
RUNTIME |= {"remat": "none", "rules": None}


def write(root: pathlib.Path, name: str) -> pathlib.Path:
  """The checkpoint's folder; like Qwen's, its embedding has rows that the tokenizer lacks."""
  changes = {"max_position_embeddings": 2048}
  return _save(root, name, presets.RAW[name] | changes, TOKENIZERS[name])


def shrunk(root: pathlib.Path, name: str) -> pathlib.Path:
  """A dense preset of full size, small: two layers, heads of 8, and all else as it is published."""
  raw = presets.RAW[name]
  ratio = raw["num_attention_heads"] // raw["num_key_value_heads"]
  sizes = {"num_attention_heads": 2 * ratio, "num_key_value_heads": 2, "hidden_size": 16 * ratio}
  sizes |= {"num_hidden_layers": 2, "intermediate_size": 48}
  family = {"qwen2": "qwen2", "llama": "llama3"}[raw["model_type"]]
  return _save(root, name, raw | sizes, family)


def _save(root: pathlib.Path, name: str, raw: dict, family: str) -> pathlib.Path:
  tokenizer = hf_tokenizer.load(checkpoints.folder(root / "tokenizers", family))
  cfg = hf_config.parse(raw | {"vocab_size": tokenizer.size + 9}, RUNTIME)
  params = jax.jit(lambda key: spec.materialize(key, transformer.specs(cfg)))(jax.random.key(0))
  export.export(root / name, params, cfg, tokenizer, dtype="float32", shard_bytes=100_000)
  return root / name
