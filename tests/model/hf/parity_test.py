"""Variants that no recorded checkpoint has, against transformers, which computes them here.

The generator of the recorded checkpoints ($R1_TEST_DATA/hf_parity/generate.py) makes others from a
description: random weights under the published names, and what transformers computes from them.
"""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from r1.evals import forward
from r1.model.hf import config, load
from tests.model.hf import checkpoints

COMMON = {
  "vocab_size": 96,
  "hidden_size": 64,
  "intermediate_size": 80,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "hidden_act": "silu",
  "max_position_embeddings": 512,
  "rms_norm_eps": 1e-6,
  "tie_word_embeddings": False,
  "rope_theta": 10000.0,
  "torch_dtype": "float32",
}
LLAMA = COMMON | {"model_type": "llama", "attention_bias": False, "mlp_bias": False}
QWEN2 = COMMON | {"model_type": "qwen2", "use_sliding_window": False, "max_window_layers": 3}
QWEN3 = QWEN2 | {"model_type": "qwen3", "head_dim": 24, "attention_bias": False}
EXPERTS = COMMON | {
  "num_key_value_heads": 4,
  "q_lora_rank": 32,
  "kv_lora_rank": 24,
  "qk_nope_head_dim": 16,
  "qk_rope_head_dim": 8,
  "v_head_dim": 12,
  "moe_intermediate_size": 16,
  "first_k_dense_replace": 1,
  "n_routed_experts": 8,
  "n_shared_experts": 1,
  "num_experts_per_tok": 3,
  "attention_bias": False,
}
V3 = EXPERTS | {
  "model_type": "deepseek_v3",
  "n_group": 4,
  "topk_group": 2,
  "topk_method": "noaux_tc",
  "scoring_func": "sigmoid",
  "norm_topk_prob": True,
  "routed_scaling_factor": 2.5,
  "num_nextn_predict_layers": 0,
}
V2 = EXPERTS | {
  "model_type": "deepseek_v2",
  "n_group": 1,
  "topk_group": 1,
  "topk_method": "greedy",
  "scoring_func": "softmax",
  "norm_topk_prob": False,
  "routed_scaling_factor": 1.0,
}
LIMITED = {"n_group": 4, "topk_group": 2, "topk_method": "group_limited_greedy"}
EXTRA = {"num_nextn_predict_layers": 1}


def sliding(width: int, first: int) -> dict:
  return {"use_sliding_window": True, "sliding_window": width, "max_window_layers": first}


def scaled(kind: str, factor: float, **more) -> dict:
  return {"rope_scaling": {"rope_type": kind, "factor": factor, **more}}


def yarn(**more) -> dict:
  return {"rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1} | more}


def fp8(*block: int) -> dict:
  return {"quantization_config": {"quant_method": "fp8", "weight_block_size": block}}


LONG = {"original_max_position_embeddings": 64}
OWN_RAMP = {"attention_factor": 0.8, "beta_fast": 16, "beta_slow": 2.0, "truncate": False}
FAST = {
  "qwen2, tied, sliding, yarn, three shards": {
    "config": QWEN2 | {"tie_word_embeddings": True} | sliding(10, 1) | yarn(**LONG, **OWN_RAMP),
    "shards": 3,
  },
  "v3, biases, halves, two mscales, mtp": {
    "config": V3
    | {"attention_bias": True, "rope_interleave": False, "v_head_dim": 20, "n_shared_experts": 2}
    | yarn(**LONG, mscale=1.3, mscale_all_dim=0.6)
    | EXTRA,
    "mtp": True,
  },
  "v2, groups": {
    "config": V2
    | {"q_lora_rank": None, "n_shared_experts": 2, "routed_scaling_factor": 16.0}
    | LIMITED
    | yarn(**LONG, mscale=0.707, mscale_all_dim=0.707)
  },
}
SLOW = {
  "llama, biases": {"config": LLAMA | {"attention_bias": True, "mlp_bias": True}},
  "llama, head size, tied": {"config": LLAMA | {"head_dim": 24, "tie_word_embeddings": True}},
  "llama, linear": {"config": LLAMA | scaled("linear", 3.0)},
  "qwen2, all sliding": {"config": QWEN2 | sliding(7, 0)},
  "qwen2, yarn": {"config": QWEN2 | scaled("yarn", 4.0, **LONG)},
  "qwen2, yarn from its own context": {"config": QWEN2 | scaled("yarn", 4.0)},
  "qwen3, biases, sliding, tied": {
    "config": QWEN3 | {"attention_bias": True, "tie_word_embeddings": True} | sliding(9, 2)
  },
  "qwen3, yarn": {"config": QWEN3 | scaled("yarn", 4.0, **LONG)},
  "v3, no query latent, no groups": {
    "config": V3
    | {"q_lora_rank": None, "n_shared_experts": 2, "norm_topk_prob": False}
    | {"n_group": 1, "topk_group": 1}
  },
  "v3, mscale_all_dim 0": {"config": V3 | yarn(**LONG, mscale=1.3, mscale_all_dim=0)},
  "v3, yarn without mscale": {"config": V3 | yarn(**LONG)},
  "v3, linear": {"config": V3 | {"rope_scaling": {"type": "linear", "factor": 4.0}}},
  "v3, biases, no query latent, another eps": {
    "config": V3 | {"attention_bias": True, "q_lora_rank": None, "rms_norm_eps": 1e-3}
  },
  "v3, mtp, no query latent": {"config": V3 | {"q_lora_rank": None} | EXTRA, "mtp": True},
  "v3, tied, only experts": {
    "config": V3 | {"tie_word_embeddings": True, "first_k_dense_replace": 0}
  },
  "v2, greedy": {"config": V2},
  "v2, two mscales, biases": {
    "config": V2 | {"attention_bias": True} | yarn(**LONG, mscale=1.3, mscale_all_dim=0.5)
  },
  "v3, fp8 in 24 x 40": {"config": V3 | fp8(24, 40), "fp8_block": [24, 40], "shards": 3},
  "v3, fp8 in 16 x 8, mtp": {
    "config": V3 | {"q_lora_rank": None, "v_head_dim": 20} | EXTRA | fp8(16, 8),
    "fp8_block": [16, 8],
    "shards": 2,
    "mtp": True,
  },
  "qwen2, bfloat16": {"config": QWEN2, "dtype": "bfloat16", "shards": 3},
  "v3, bfloat16": {"config": V3, "dtype": "bfloat16", "shards": 3},
}
SPECS = FAST | SLOW


@functools.cache
def _generated(root: pathlib.Path, names: tuple[str, ...]) -> pathlib.Path:
  """Makes these checkpoints below root."""
  specs = {name: {"seed": 1000 + 10 * i} | SPECS[name] for i, name in enumerate(SPECS)}
  (root / "specs.json").write_text(json.dumps(specs))
  script = pathlib.Path(os.environ["R1_TEST_DATA"]) / "hf_parity" / "generate.py"
  done = subprocess.run(
    [sys.executable, script, root / "specs.json", root, *names],
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return root


@pytest.fixture(scope="module")
def generate(tmp_path_factory):
  """A function from a variant's name to its folder; the fast ones and the slow are made at once."""
  if missing := [n for n in ("torch", "transformers") if importlib.util.find_spec(n) is None]:
    pytest.skip(f"{missing} are not installed: pip install -e '.[parity]'")
  if not os.environ.get("R1_TEST_DATA"):
    pytest.skip("R1_TEST_DATA is not set: no generator of checkpoints on this machine")
  roots = {speed: tmp_path_factory.mktemp(speed) for speed in ("fast", "slow")}

  def folder(name: str) -> pathlib.Path:
    speed, group = ("fast", FAST) if name in FAST else ("slow", SLOW)
    return _generated(roots[speed], tuple(group)) / name

  return folder


def compare(folder: pathlib.Path) -> None:
  """Every number that transformers recorded, from both layouts of the config."""
  raw = config.read(folder)
  cfg = config.parse(raw, checkpoints.RUNTIME)
  newer = json.loads((folder / "config_v5.json").read_text())
  assert config.parse(newer, checkpoints.RUNTIME) == cfg
  with np.load(folder / "io.npz") as file:
    wanted = dict(file)
  asked = {n: wanted.pop(n) for n in ("input_ids", "attention_mask", "greedy_prompt_len")}
  params = load.load(folder, raw, cfg, dtype="float32")
  found = forward.outputs(params, cfg, asked, wanted["greedy_tokens"].shape[1])
  left = found.keys() - wanted.keys()  # the generator does not look into the router of V2
  assert not left or (raw["model_type"] == "deepseek_v2" and all("router" in n for n in left))
  for name, value in wanted.items():
    if value.dtype.kind == "i":
      np.testing.assert_array_equal(found[name], value, err_msg=name)
    else:
      np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", FAST)
def test_several_variants_at_once_compute_what_transformers_computes(generate, name):
  compare(generate(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_each_variant_computes_what_transformers_computes(generate, name):
  compare(generate(name))
