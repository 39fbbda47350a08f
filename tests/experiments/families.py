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
RUNTIME = {"dtype": "float32", "attend": "einsum", "attention_block": 128, "logit_chunk": 2048}
RUNTIME |= {"remat": "none", "rules": None}


def write(root: pathlib.Path, name: str) -> pathlib.Path:
  """The checkpoint's folder; like Qwen's, its embedding has rows that the tokenizer lacks."""
  tokenizer = hf_tokenizer.load(checkpoints.folder(root / "tokenizers", TOKENIZERS[name]))
  raw = presets.RAW[name] | {"vocab_size": tokenizer.size + 9, "max_position_embeddings": 2048}
  cfg = hf_config.parse(raw, RUNTIME)
  params = jax.jit(lambda key: spec.materialize(key, transformer.specs(cfg)))(jax.random.key(0))
  export.export(root / name, params, cfg, tokenizer, dtype="float32", shard_bytes=100_000)
  return root / name
