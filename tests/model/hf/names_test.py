"""The table of tensors: complete, one to one, and cut and joined without a number out of place."""

import functools
import itertools

import numpy as np
import pytest

from r1 import spec
from r1.model import presets, transformer
from r1.model.hf import config, names
from tests.model.hf import checkpoints

BIASED = {"attention_bias": True, "q_lora_rank": None, "tie_word_embeddings": True}
MODELS = {
  "tiny-qwen2": {},
  "tiny-qwen3": {"attention_bias": True},
  "tiny-llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
  "tiny-deepseek-v2": {},
  "tiny-deepseek-v3": {},
  "tiny-deepseek-v3 with biases": BIASED,
}


@functools.cache
def model(name: str):
  """(config, flat specs, table, random arrays by path, the checkpoint's tensors by name)."""
  cfg = config.parse(presets.RAW[name.split()[0]] | MODELS[name], checkpoints.RUNTIME)
  specs = spec.flatten(transformer.specs(cfg))
  rng = np.random.default_rng(0)
  arrays = {path: rng.standard_normal(s.shape).astype(np.float32) for path, s in specs.items()}
  table = names.tensors(cfg)
  stored = {}
  for tensor in table:
    parts = {path: one(arrays[path], tensor) for path in tensor.paths}
    stored[tensor.name] = names.join(tensor, parts, specs)
  return cfg, specs, table, arrays, stored


def one(array, tensor):
  """One layer's (and one expert's) array."""
  for i in (tensor.z, tensor.e):
    array = array if i is None else array[i]
  return array


@pytest.mark.parametrize("name", MODELS)
def test_every_number_of_ours_stands_in_one_tensor(name):
  _, specs, table, _, stored = model(name)
  assert len(stored) == len(table)
  assert {path for tensor in table for path in tensor.paths} == specs.keys()
  assert sum(value.size for value in stored.values()) == sum(
    int(np.prod(s.shape)) for s in specs.values()
  )
  for tensor in table:
    assert stored[tensor.name].shape == names.shape(tensor, specs)
    assert stored[tensor.name].flags.c_contiguous


@pytest.mark.parametrize("name", MODELS)
def test_any_part_of_an_array_is_found_in_its_tensor(name):
  """Whole arrays, empty ones and random boxes: what `box` reads is the slice of the array."""
  _, specs, table, arrays, stored = model(name)
  rng = np.random.default_rng(1)
  for tensor, path in [(t, path) for t in table for path in t.paths]:
    array = one(arrays[path], tensor)
    cuts = [tuple(slice(0, n) for n in array.shape)]
    for _ in range(3):
      ends = (sorted(rng.integers(0, n + 1, 2)) for n in array.shape)
      cuts.append(tuple(slice(int(first), int(last)) for first, last in ends))
    for cut in cuts:
      rows, columns, inner = names.box(tensor, path, cut, specs)
      assert (columns is None) == (stored[tensor.name].ndim == 1)
      read = stored[tensor.name][rows] if columns is None else stored[tensor.name][rows, columns]
      np.testing.assert_array_equal(inner(read), array[cut], err_msg=f"{path} {cut}")


@pytest.mark.parametrize(
  ("letter", "share"), [("D", 4), ("H", 4), ("N", 2), ("F", 4), ("V", 4), ("A", 2)]
)
def test_a_part_along_a_letter_that_a_mesh_splits_reads_its_share_alone(letter, share):
  """Tensors that hold two arrays in each head, or one behind the other, are read with both."""
  for name in ("tiny-qwen2", "tiny-deepseek-v3"):
    _, specs, table, arrays, stored = model(name)
    for tensor in (t for t in table if len(t.paths) == 1):
      (path,) = tensor.paths
      axes = specs[path].axes[-one(arrays[path], tensor).ndim :]
      if letter not in axes:
        continue
      array = one(arrays[path], tensor)
      cut = [slice(0, n) for n in array.shape]
      at = axes.index(letter)
      cut[at] = slice(0, array.shape[at] // share)
      rows, columns, _ = names.box(tensor, path, cut, specs)
      read = stored[tensor.name][rows] if columns is None else stored[tensor.name][rows, columns]
      assert read.size == array.size // share, f"{path} along {letter}"


def test_names_of_the_layers_count_on_from_stack_to_stack():
  cfg, _, table, _, stored = model("tiny-deepseek-v3")
  assert cfg.stacks == (("dense", 1), ("moe", 1))
  layers = {int(name.split(".")[2]) for name in stored if name.startswith("model.layers.")}
  assert layers == {0, 1, 2}  # a dense one, one with experts, and that of multi-token prediction
  assert stored["model.layers.0.mlp.gate_proj.weight"].shape == (96, 64)
  assert stored["model.layers.1.mlp.gate.weight"].shape == (8, 64)
  assert stored["model.layers.1.mlp.gate.e_score_correction_bias"].shape == (8,)
  assert stored["model.layers.1.mlp.experts.7.down_proj.weight"].shape == (64, 24)
  assert stored["model.layers.2.eh_proj.weight"].shape == (64, 128)
  found = [t.name.split(".")[2] for t in table if t.name.startswith("model.layers.")]
  assert [key for key, _ in itertools.groupby(found)] == ["0", "1", "2"]


def test_heads_lie_one_behind_the_other_with_both_their_parts():
  """q_b_proj is [H (K + P), A], kv_b_proj [H (K + W), C], kv_a_proj [C + P, D]."""
  cfg, _, _, arrays, stored = model("tiny-deepseek-v3")
  H, K, P, W, C = cfg.H, cfg.K, cfg.P, cfg.W, cfg.C
  prefix = "model.layers.0.self_attn."
  query = stored[prefix + "q_b_proj.weight"].reshape(H, K + P, cfg.A)
  np.testing.assert_array_equal(query[:, :K].T, arrays["dense/attn/q_nope_AHK"][0].swapaxes(1, 2))
  np.testing.assert_array_equal(query[:, K:].T, arrays["dense/attn/q_rope_AHP"][0].swapaxes(1, 2))
  both = stored[prefix + "kv_b_proj.weight"].reshape(H, K + W, C)
  np.testing.assert_array_equal(both[2, K:].T, arrays["dense/attn/v_b_CHW"][0, :, 2])
  latent = stored[prefix + "kv_a_proj_with_mqa.weight"]
  np.testing.assert_array_equal(latent[C:].T, arrays["dense/attn/k_rope_DP"][0])
  output = stored[prefix + "o_proj.weight"].reshape(cfg.D, H, W)
  np.testing.assert_array_equal(output.transpose(1, 2, 0), arrays["dense/attn/o_HWD"][0])


def test_the_extra_layer_repeats_the_embedding_and_the_head():
  cfg = model("tiny-deepseek-v3")[0]
  assert names.duplicates(cfg) == {
    "model.layers.2.embed_tokens.weight": "model.embed_tokens.weight",
    "model.layers.2.shared_head.head.weight": "lm_head.weight",
  }
  tied = model("tiny-deepseek-v3 with biases")[0]
  assert set(names.duplicates(tied).values()) == {"model.embed_tokens.weight"}
  assert names.duplicates(model("tiny-qwen2")[0]) == {}


def test_the_order_of_the_tensors_is_the_same_in_every_process():
  """Files are written in this order: sets of strings would change it from run to run."""
  cfg, _, table, _, _ = model("tiny-qwen2")
  declared = transformer.specs(cfg)["dense"]
  wanted = [names.ATTENTION[name] for name in declared["attn"]]
  wanted += [names.FEED[name] for name in declared["feed"]]
  found = [tensor.name for tensor in table if tensor.z == 0]
  assert found == [f"model.layers.0.{name}" for name in wanted]
