"""Adapters in PEFT's layout: shapes and products against the merged weights."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from r1 import spec
from r1.model import lora, presets, transformer
from r1.model.hf import names, peft, safetensors
from tests.model import tiny

RUNTIME = {name: tiny.SETTINGS[name] for name in ("dtype", "attend", "remat", "rules")}
RUNTIME |= {"attention_block": 16, "logit_chunk": 64}


def adapted(name: str, pattern: str):
  """(params with random adapters, cfg)."""
  adapters = lora.LoraConfig(rank=3, alpha=6.0, pattern=pattern)
  cfg = presets.config(name, RUNTIME | {"lora": adapters}, mtp=False)
  rng = np.random.default_rng(0)
  flat = spec.flatten(transformer.specs(cfg))
  draw = lambda s: jnp.asarray(rng.standard_normal(s.shape), jnp.float32)
  return spec.unflatten({path: draw(s) for path, s in flat.items()}), cfg


@pytest.mark.parametrize(
  ("name", "pattern"),
  [
    ("tiny-qwen2", r"\w+/(attn|feed)/\w+_(DHK|HKD|DF|FD)"),
    ("tiny-deepseek-v3", r"\w+/attn/\w+"),
    ("tiny-deepseek-v2", r"\w+/attn/(q_rope_DHP|kv_a_DC|v_b_CHW)"),  # parts of joined tensors
  ],
)
def test_scaled_products_are_what_merging_adds(name, pattern, tmp_path):
  params, cfg = adapted(name, pattern)
  peft.export(tmp_path / "out", params, cfg, base="BASE")
  index = safetensors.open_folder(tmp_path / "out")
  config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
  plain, specs = spec.flatten(params), spec.flatten(transformer.specs(cfg))
  merged, found = spec.flatten(lora.merge_all(params, cfg.lora)), 0
  for tensor in names.tensors(presets.config(name, RUNTIME, mtp=False)):
    module = tensor.name.removesuffix(".weight")
    key = f"base_model.model.{module}.lora_A.weight"
    if key not in index:
      continue
    found += 1
    assert module in config["target_modules"]
    leaf = module.rpartition(".")[2]
    scale = config["alpha_pattern"].get(leaf, config["lora_alpha"])
    scale /= config["rank_pattern"].get(leaf, config["r"])
    b = safetensors.read(index[key.replace("lora_A", "lora_B")])
    change = {p: np.asarray(merged[p][tensor.z] - plain[p][tensor.z]) for p in tensor.paths}
    want = names.join(tensor, change, specs)
    got = scale * b @ safetensors.read(index[key])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-4)
  assert 2 * found == len(index)


def test_what_peft_would_misread_is_refused(tmp_path):
  params, cfg = adapted("tiny-deepseek-v3", r"\w+/feed/\w+_(DY|EDX)")
  with pytest.raises(ValueError, match="adapt attention alone, or export the"):
    peft.export(tmp_path / "out", params, cfg, base="BASE")
  with pytest.raises(ValueError, match="has no adapters"):
    peft.export(tmp_path / "out", {}, cfg, base="BASE")
  assert not (tmp_path / "out").exists()
