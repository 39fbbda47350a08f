"""Configs of checkpoints: the published ones are read, and what is not understood is refused."""

import dataclasses
import json
import re

import pytest

from r1.model import presets, rope
from r1.model.hf import config
from tests.model.hf import checkpoints, published

RUNTIME = checkpoints.RUNTIME


def parse(name: str, **changes):
  """A tiny preset's config with some fields changed; "-" removes one."""
  raw = presets.RAW[name] | changes
  return config.parse({k: v for k, v in raw.items() if v != "-"}, RUNTIME)


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_a_published_config_is_read_as_its_preset(name):
  preset, raw = published.PUBLISHED[name]
  wanted = presets.config(preset, RUNTIME)
  if name == "Qwen2.5-7B-Instruct":  # says less than its base
    wanted = dataclasses.replace(wanted, context=32768)
  assert config.parse(raw, RUNTIME) == wanted


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_the_layout_of_transformers_5_means_the_same(name):
  _, raw = published.PUBLISHED[name]
  newer = {k: v for k, v in raw.items() if k not in ("rope_theta", "rope_scaling", "torch_dtype")}
  scaling = raw.get("rope_scaling") or {}
  kind = scaling.get("rope_type") or scaling.get("type") or "default"
  newer["rope_parameters"] = {**scaling, "rope_theta": raw["rope_theta"], "rope_type": kind}
  newer |= {"dtype": "bfloat16", "pad_token_id": None}
  if raw["model_type"].startswith("qwen"):
    newer["layer_types"] = ["full_attention"] * raw["num_hidden_layers"]
    newer["sliding_window"] = None
  assert config.parse(newer, RUNTIME) == config.parse(raw, RUNTIME)


@pytest.mark.parametrize(
  ("name", "changes", "message"),
  [
    ("tiny-llama", {"model_type": "mamba"}, "model_type='mamba' is not implemented"),
    ("tiny-llama", {"model_type": "-"}, "model_type=None is not implemented"),
    ("tiny-llama", {"logit_scale": 0.5}, "the field logit_scale=0.5 is unknown"),
    ("tiny-llama", {"use_sliding_window": True}, "the field use_sliding_window=True is unknown"),
    ("tiny-qwen2", {"attention_bias": False}, "the field attention_bias=False is unknown"),
    ("tiny-qwen2", {"mlp_bias": True}, "the field mlp_bias=True is unknown"),
    ("tiny-qwen2", {"hidden_act": "gelu"}, "hidden_act='gelu' is not implemented"),
    ("tiny-qwen2", {"use_mrope": True}, "use_mrope=True is not implemented"),
    ("tiny-llama", {"pretraining_tp": 2}, "pretraining_tp=2 is not implemented"),
    ("tiny-llama", {"attention_dropout": 0.1}, "attention_dropout=0.1 is not implemented"),
    ("tiny-deepseek-v3", {"moe_layer_freq": 2}, "moe_layer_freq=2 is not implemented"),
    ("tiny-deepseek-v3", {"mlp_bias": True}, "mlp_bias is not implemented"),
    ("tiny-deepseek-v3", {"topk_method": "greedy"}, "topk_method='greedy' is not implemented"),
    ("tiny-deepseek-v2", {"topk_method": "noaux_tc"}, "topk_method='noaux_tc' is not impl"),
    ("tiny-deepseek-v3", {"scoring_func": "softmax"}, "scoring_func='softmax' is not impl"),
    ("tiny-deepseek-v2", {"scoring_func": "sigmoid"}, "scoring_func='sigmoid' is not impl"),
    ("tiny-deepseek-v2", {"norm_topk_prob": True}, "norm_topk_prob=True is not implemented"),
    ("tiny-deepseek-v2", {"rope_interleave": False}, "the field rope_interleave=False is unk"),
    ("tiny-deepseek-v3", {"num_nextn_predict_layers": 2}, "one layer is implemented"),
    ("tiny-qwen2", {"layer_types": ["full_attention"]}, "1 layer_types for 2 layers"),
    ("tiny-qwen2", {"layer_types": ["linear_attention"] * 2}, "['linear_attention'] are not"),
    ("tiny-qwen2", {"layer_types": ["sliding_attention"] * 2}, "need use_sliding_window"),
    ("tiny-qwen2", {"use_sliding_window": True}, "use_sliding_window needs max_window_layers"),
    (
      "tiny-qwen2",
      {"use_sliding_window": True, "max_window_layers": 0},
      "wanted whole numbers from 1, found {'sliding_window': None}",
    ),
  ],
)
def test_what_would_change_the_computation_is_refused_by_name(name, changes, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    parse(name, **changes)


@pytest.mark.parametrize(
  ("scaling", "message"),
  [
    ({"type": "dynamic", "factor": 2.0}, "rope scaling 'dynamic' is not implemented"),
    ({"rope_type": "longrope", "factor": 2.0}, "rope scaling 'longrope' is not implemented"),
    ({"type": "mrope", "mrope_section": [2, 3, 3]}, "rope scaling 'mrope' is not implemented"),
    ({"rope_type": "default", "partial_rotary_factor": 0.5}, "['partial_rotary_factor'] are"),
    ({"factor": 4.0}, "rope scaling 'default': the fields ['factor'] are unknown"),
    ({"rope_type": "linear", "factor": 2.0, "mscale": 1.0}, "the fields ['mscale'] are unknown"),
    ({"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.88}, "write what cos and sin are"),
    ({"rope_type": "yarn"}, "rope scaling 'yarn' lacks ['factor']"),
    ({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}, "lacks ['high_freq_factor']"),
    ({"rope_type": "yarn", "factor": 0.5}, "factor=0.5 must be >= 1"),
    ({"rope_type": "linear", "factor": 2.0, "rope_theta": 5.0}, "wanted one rope_theta"),
  ],
)
@pytest.mark.parametrize("field", ["rope_scaling", "rope_parameters"])
def test_rope_that_is_not_understood_is_refused(field, scaling, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    parse("tiny-qwen2", **{field: scaling})


def test_two_kinds_of_rope_scaling_are_refused_and_one_said_twice_is_not():
  linear = {"rope_type": "linear", "factor": 2.0}
  twice = parse("tiny-qwen2", rope_scaling=linear, rope_parameters=linear | {"rope_theta": 1e6})
  assert twice == parse("tiny-qwen2", rope_scaling=linear)
  with pytest.raises(ValueError, match="wanted one rope_theta and one kind of scaling"):
    parse("tiny-qwen2", rope_scaling=linear, rope_parameters={"rope_type": "default"})


@pytest.mark.parametrize(
  ("name", "field"),
  [
    ("tiny-qwen2", "vocab_size"),
    ("tiny-qwen2", "max_position_embeddings"),
    ("tiny-qwen2", "rms_norm_eps"),
    ("tiny-qwen2", "rope_theta"),
    ("tiny-qwen3", "head_dim"),  # transformers assumes 128
    ("tiny-deepseek-v3", "kv_lora_rank"),
    ("tiny-deepseek-v3", "v_head_dim"),
    ("tiny-deepseek-v3", "num_experts_per_tok"),
    ("tiny-deepseek-v3", "moe_intermediate_size"),
    ("tiny-deepseek-v3", "routed_scaling_factor"),  # transformers assumes 2.5
    ("tiny-deepseek-v3", "n_group"),
    ("tiny-deepseek-v3", "topk_group"),
  ],
)
def test_a_field_whose_absence_would_mean_a_guess_is_asked_for(name, field):
  with pytest.raises(ValueError, match=field):
    parse(name, **{field: "-"})


@pytest.mark.parametrize("value", ["64", 64.0, True, 0, -1])
def test_sizes_are_whole_numbers(value):
  with pytest.raises(ValueError, match=r"whole numbers from 1, found \{'hidden_size'"):
    parse("tiny-qwen2", hidden_size=value)


def test_unknown_fields_without_a_value_and_training_settings_are_let_through():
  plain = parse("tiny-llama")
  assert parse("tiny-llama", some_new_field=None, router_aux_loss_coef=0.1) == plain
  assert parse("tiny-llama", attention_dropout=0, unsloth_fixed=True) == plain


def test_defaults_that_the_family_has():
  assert parse("tiny-llama", num_key_value_heads="-").N == 4
  assert parse("tiny-llama", head_dim=24).K == 24
  assert parse("tiny-llama", head_dim=None).K == 16
  assert not parse("tiny-llama", tie_word_embeddings="-").tied
  assert parse("tiny-qwen2").qkv_bias
  assert not parse("tiny-qwen2").o_bias
  third = parse("tiny-deepseek-v3", topk_method="-", scoring_func="-", norm_topk_prob="-")
  assert third == parse("tiny-deepseek-v3")
  assert parse("tiny-deepseek-v3", num_nextn_predict_layers="-").mtp == 0
  assert parse("tiny-deepseek-v3", n_shared_experts=None).Y == 0


def test_windows_are_the_last_layers_or_those_that_are_named():
  slides = {"use_sliding_window": True, "sliding_window": 7, "num_hidden_layers": 3}
  assert parse("tiny-qwen2", **slides, max_window_layers=1).windows == (0, 7, 7)
  assert parse("tiny-qwen2", **slides, max_window_layers=3).windows == ()
  types = ["sliding_attention", "full_attention", "sliding_attention"]
  assert parse("tiny-qwen2", **slides, layer_types=types).windows == (7, 0, 7)
  assert parse("tiny-qwen2", sliding_window=7, max_window_layers=0).windows == ()


def test_every_size_has_its_letter():
  second = parse("tiny-qwen3")
  sizes = {"D": 64, "F": 96, "V": 512, "H": 4, "N": 2, "K": 24, "W": 24}
  assert {letter: getattr(second, letter) for letter in sizes} == sizes
  third = parse("tiny-deepseek-v3", n_shared_experts=2)
  sizes = {"D": 64, "F": 96, "V": 512, "H": 4, "N": 4, "K": 16, "W": 12, "P": 8, "A": 24, "C": 16}
  sizes |= {"E": 8, "S": 2, "X": 24, "Y": 48}
  assert {letter: getattr(third, letter) for letter in sizes} == sizes


def test_a_stack_of_experts_begins_where_the_config_says():
  assert parse("tiny-deepseek-v3").stacks == (("dense", 1), ("moe", 1))
  assert parse("tiny-deepseek-v3", first_k_dense_replace=0).stacks == (("moe", 2),)
  dense = parse("tiny-deepseek-v3", first_k_dense_replace=5, n_group="-")
  assert dense.stacks == (("dense", 2),)
  assert dense.moe is None
  assert (dense.E, dense.S, dense.X, dense.Y) == (0, 0, 0, 0)


def test_groups_count_only_where_the_method_limits_to_them():
  second = {"n_group": 4, "topk_group": 2}
  plain = parse("tiny-deepseek-v2", **second).moe
  limited = parse("tiny-deepseek-v2", **second, topk_method="group_limited_greedy").moe
  assert plain is not None
  assert limited is not None
  assert (plain.groups, plain.groups_kept) == (1, 1)
  assert (limited.groups, limited.groups_kept, limited.group_score) == (4, 2, "max")


def test_yarn_says_what_it_says():
  found = parse(
    "tiny-qwen2",
    rope_scaling={
      "type": "yarn",
      "factor": 4,
      "attention_factor": 0.8,
      "beta_fast": None,
      "beta_slow": 0,
    },
  ).rope_scaling
  assert found == rope.Scaling(
    kind="yarn",
    factor=4.0,
    original=512,
    low=1.0,
    high=32.0,
    truncate=True,
    mscale=0.0,
    mscale_all=0.0,
    amplitude=0.8,
  )


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "holds no config.json"),
    ("{", "is no JSON"),
    ("[1]", "holds a list, wanted an object"),
    (b"\xff", "is no JSON"),
  ],
)
def test_a_folder_without_a_proper_config_is_refused(tmp_path, content, message):
  if content is not None:
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "config.json").write_bytes(content)
  with pytest.raises(ValueError, match=message) as caught:
    config.read(tmp_path)
  assert str(tmp_path) in str(caught.value)


def test_a_config_is_read_from_its_folder(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(presets.RAW["tiny-qwen2"]))
  assert config.read(tmp_path) == presets.RAW["tiny-qwen2"]


@pytest.mark.parametrize("name", checkpoints.TINY)
def test_the_runtime_and_the_ids_are_the_caller_s(name):
  cfg = config.parse(presets.RAW[name], RUNTIME | {"ids": 500, "dtype": "bfloat16"}, mtp=False)
  assert (cfg.ids, cfg.V, cfg.dtype, cfg.mtp) == (500, 512, "bfloat16", 0)
