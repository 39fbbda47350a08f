"""Configs written for other programs: read again they are the same model, or they are refused."""

import dataclasses

import pytest

from configs import common
from r1.model import config as model_config
from r1.model import presets
from r1.model.hf import config, describe
from tests.model import tiny
from tests.model.hf import checkpoints

RUNTIME = checkpoints.RUNTIME
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "attention_factor": 0.8, "truncate": False}
SLIDING = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}


def parse(name: str, **changes):
  return config.parse(presets.RAW[name] | changes, RUNTIME)


@pytest.mark.parametrize("name", presets.NAMES)
def test_every_preset_comes_back(name):
  cfg = parse(name)
  raw = describe.describe(cfg, "bfloat16")
  assert config.parse(raw, RUNTIME) == cfg
  assert raw["torch_dtype"] == "bfloat16"
  assert raw["architectures"] == [config.FAMILIES[raw["model_type"]]]
  assert raw["model_type"] == presets.RAW[name]["model_type"]


@pytest.mark.parametrize(
  ("name", "changes"),
  [
    ("tiny-qwen2", SLIDING),
    ("tiny-qwen3", SLIDING | {"max_window_layers": 0}),
    ("tiny-qwen3", {"attention_bias": True}),
    ("tiny-llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
    ("tiny-qwen2", {"rope_scaling": LINEAR}),
    ("tiny-qwen2", {"rope_scaling": YARN}),
    ("tiny-deepseek-v3", {"attention_bias": True, "rope_interleave": False}),
    ("tiny-deepseek-v3", {"q_lora_rank": None, "n_group": 1, "topk_group": 1}),
    ("tiny-deepseek-v3", {"n_shared_experts": 2, "norm_topk_prob": False}),
    ("tiny-deepseek-v3", {"first_k_dense_replace": 0, "num_nextn_predict_layers": 0}),
    ("tiny-deepseek-v3", {"first_k_dense_replace": 2, "num_nextn_predict_layers": 0}),
    ("tiny-deepseek-v2", {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}),
  ],
)
def test_every_variant_comes_back(name, changes):
  cfg = parse(name, **changes)
  assert config.parse(describe.describe(cfg, "float32"), RUNTIME) == cfg


@pytest.mark.parametrize("labels", [None, {"0": "safe", "1": "unsafe"}])
def test_a_classifier_of_several_labels_is_refused_with_its_labels(labels):
  names = {"architectures": ["Qwen2ForSequenceClassification"], "id2label": labels}
  with pytest.raises(ValueError, match=r"id2label=.* a scalar head wants one label"):
    parse("tiny-qwen2", **names)


def test_what_no_family_computes_is_refused():
  second, third = parse("tiny-deepseek-v2"), parse("tiny-deepseek-v3")
  routing = dataclasses.replace
  assert second.moe is not None
  assert third.moe is not None
  grouped = {"groups": 4, "groups_kept": 2}
  for cfg in (
    tiny.config(qk_norm=True, feed_bias=True),
    tiny.config(K=6),  # Qwen2 has heads of D / H
    tiny.config(qkv_bias=False, o_bias=True),
    tiny.config(qkv_bias=False, windows=(0, 3)),
    tiny.config(qkv_bias=True, o_bias=True, windows=(3, 3)),
    routing(parse("tiny-qwen2"), mtp=1),
    routing(parse("tiny-llama"), windows=(3, 3)),
    routing(second, rope_pairs=False),
    routing(second, mtp=1),
    routing(second, moe=routing(second.moe, bias=True)),
    routing(second, moe=routing(second.moe, renormalise=True)),
    routing(second, moe=routing(second.moe, group_score="top2", **grouped)),
    routing(third, moe=routing(third.moe, bias=False)),
    routing(third, moe=routing(third.moe, group_score="max")),
    routing(third, o_bias=True),
  ):
    with pytest.raises(ValueError, match="no Hugging Face model type computes this model"):
      describe.describe(cfg, "float32")


@pytest.mark.parametrize("Y", [0, 25])
def test_shared_experts_are_whole_experts(Y):
  with pytest.raises(ValueError, match=f"Y={Y} of the shared experts must be a multiple of X=24"):
    describe.describe(dataclasses.replace(parse("tiny-deepseek-v3"), Y=Y), "float32")


@pytest.mark.parametrize("windows", [(7, 0), (3, 7)])
def test_windows_that_have_no_field_are_refused(windows):
  cfg = dataclasses.replace(parse("tiny-qwen2"), windows=windows)
  with pytest.raises(ValueError, match="wanted full layers first"):
    describe.describe(cfg, "float32")


def test_the_tiny_model_is_a_qwen3_but_for_the_bias_that_export_adds():
  fields = dict(common.tiny_model()) | {"ids": 300, "rules": None}
  cfg = model_config.ModelConfig(**fields)
  with pytest.raises(ValueError, match="nearest: qwen3"):
    describe.describe(cfg, "float32")
  raw = describe.describe(dataclasses.replace(cfg, o_bias=True), "float32")
  assert (raw["model_type"], raw["attention_bias"], raw["head_dim"]) == ("qwen3", True, 32)
