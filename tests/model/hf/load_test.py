"""Checkpoints into parameters: whole or in shards the same bits, and nothing odd is let through."""

import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from r1 import sharding, spec
from r1.model import lora, transformer
from r1.model.hf import config, load, safetensors
from tests.model.hf import big, checkpoints

LAYER = "model.layers.0."


def read(folder, *, dtype="float32", mtp=True, **placed):
  raw = config.read(folder)
  cfg = config.parse(raw, checkpoints.RUNTIME, mtp=mtp)
  return load.load(folder, raw, cfg, dtype=dtype, **placed)


def assert_same(found, wanted):
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for path, value in spec.flatten(wanted).items():
    got = spec.flatten(found)[path]
    assert got.dtype == value.dtype, path
    np.testing.assert_array_equal(
      np.asarray(got).view(np.uint8), np.asarray(value).view(np.uint8), err_msg=path
    )


@pytest.fixture
def saved(tmp_path):
  """A tiny DeepSeek-V3 with its layer of multi-token prediction."""
  checkpoints.save(tmp_path / "model", "tiny-deepseek-v3")
  return tmp_path / "model"


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  "mesh", [{"fsdp": 4, "tensor": 2}, {"fsdp": 2, "tensor": 2, "expert": 2}, {"data": 8}]
)
@pytest.mark.parametrize("name", ["tiny-qwen2", "tiny-deepseek-v3"])
def test_shards_hold_the_bits_of_the_whole(tmp_path, name, mesh):
  _, params = checkpoints.save(tmp_path / "model", name, shard_bytes=100_000)
  whole = read(tmp_path / "model")
  assert_same(whole, params)
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh(mesh)
  found = read(tmp_path / "model", mesh=mesh, rules=rules)
  assert_same(found, whole)
  cfg, _ = checkpoints.model(name)
  homes = sharding.shardings(transformer.specs(cfg), mesh, rules)
  for path, home in spec.flatten(homes).items():
    leaf = spec.flatten(found)[path]
    assert leaf.sharding.is_equivalent_to(home, leaf.ndim), path


def test_the_host_holds_one_device_s_part_of_one_layer_at_a_time(tmp_path, monkeypatch):
  cfg, _ = checkpoints.save(tmp_path / "model", "tiny-deepseek-v3")
  held = []

  def place(shape, home, read):
    def watched(cut):
      part = read(cut)
      held.append((part.shape, home.shard_shape(shape)))
      return part

    return stream_place(shape, home, watched)

  stream_place = load.stream.place
  monkeypatch.setattr(load.stream, "place", place)
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh({"fsdp": 2, "tensor": 2, "expert": 2})
  read(tmp_path / "model", mesh=mesh, rules=rules)
  assert all(part == share for part, share in held)
  homes = spec.flatten(sharding.placed(transformer.specs(cfg), mesh, rules))
  shares = {path: home.sharding.shard_shape(home.shape) for path, home in homes.items()}
  layers = {share[1:] for path, share in shares.items() if path.startswith(("dense/", "moe/"))}
  assert layers <= {part for part, _ in held}
  assert max(np.prod(part) for part, _ in held) == np.prod(shares["embed_VD"])


def test_an_fp8_checkpoint_is_cut_through_its_blocks(test_data):
  """The recorded one has 16 x 16 blocks and heads of 12 + 8 and 12 + 16 numbers."""
  folder = test_data / "hf_parity" / "deepseek_v3_fp8"
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  assert_same(read(folder, mesh=mesh, rules=sharding.FSDP_TENSOR), read(folder))


def test_weights_come_in_the_type_asked_for_but_for_the_router_s_bias(tmp_path):
  _, params = checkpoints.save(tmp_path / "model", "tiny-deepseek-v3")
  found = spec.flatten(read(tmp_path / "model", dtype="bfloat16"))
  for path, value in spec.flatten(params).items():
    kind = "float32" if path.endswith("router_bias_E") else "bfloat16"
    assert found[path].dtype == kind, path
    np.testing.assert_array_equal(found[path], value.astype(kind), err_msg=path)
  assert sum(path.endswith("router_bias_E") for path in found) == 2


def test_half_precision_is_widened_without_a_change(tmp_path):
  checkpoints.save(tmp_path / "model", "tiny-llama", dtype="bfloat16")
  stored = checkpoints.tensors(tmp_path / "model")
  assert {value.dtype.name for value in stored.values()} == {"bfloat16"}
  halves = {name: value.astype(np.float16) for name, value in stored.items()}
  for arrays, folder in ((stored, tmp_path / "model"), (halves, None)):
    found = read(folder or checkpoints.rewrite(tmp_path / "model", arrays))
    wanted = arrays["lm_head.weight"].T.astype(np.float32)
    np.testing.assert_array_equal(found["head_DV"], wanted)


# The two that may be left out ---------------------------------------------------------------------


def test_the_layer_of_multi_token_prediction_is_left_out_on_request(saved):
  _, params = checkpoints.model("tiny-deepseek-v3")
  assert_same(read(saved, mtp=False), {k: v for k, v in params.items() if k != "mtp"})


def test_that_layer_is_missed_where_it_was_asked_for(saved):
  arrays = checkpoints.tensors(saved)
  short = {k: v for k, v in arrays.items() if not k.startswith("model.layers.2.")}
  new = checkpoints.rewrite(saved, short)
  with pytest.raises(ValueError, match=r"\d+ tensors missing: model\.layers\.2\."):
    read(new)
  assert "mtp" not in read(new, mtp=False)


@pytest.mark.parametrize("repeated", [True, False])
def test_a_copy_must_be_one(saved, repeated):
  """Checkpoints repeat the embedding in that layer, and tied ones may carry a head."""
  arrays = checkpoints.tensors(saved)
  name = "model.layers.2.embed_tokens.weight"
  if repeated:
    del arrays[name]
    read(checkpoints.rewrite(saved, arrays))
    return
  arrays[name] = arrays[name] + np.float32(1e-3)
  with pytest.raises(ValueError, match=re.escape(f"{name} should repeat model.embed_tokens")):
    read(checkpoints.rewrite(saved, arrays))


@pytest.mark.parametrize("change", [0.0, 1e-3])
def test_a_tied_checkpoint_may_carry_its_head_if_it_is_the_embedding(tmp_path, change):
  _, params = checkpoints.save(tmp_path / "model", "tiny-qwen3")
  arrays = checkpoints.tensors(tmp_path / "model")
  assert "lm_head.weight" not in arrays
  head = arrays["model.embed_tokens.weight"].copy()
  head[3, 5] += np.float32(change)
  new = checkpoints.rewrite(tmp_path / "model", arrays | {"lm_head.weight": head})
  if not change:
    assert_same(read(new), params)
    return
  with pytest.raises(ValueError, match=r"lm_head\.weight should repeat .* tie_word_embeddings by"):
    read(new)


def test_the_buffer_of_old_checkpoints_is_passed_over(tmp_path):
  _, params = checkpoints.save(tmp_path / "model", "tiny-llama")
  arrays = checkpoints.tensors(tmp_path / "model")
  arrays[f"{LAYER}self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
  assert_same(read(checkpoints.rewrite(tmp_path / "model", arrays)), params)


# What does not fit --------------------------------------------------------------------------------


def test_all_faults_are_counted_and_the_first_five_of_a_kind_are_named(saved):
  arrays = checkpoints.tensors(saved)
  experts = [f"model.layers.1.mlp.experts.{e}.gate_proj.weight" for e in range(7)]
  for name in experts:
    del arrays[name]
  arrays["model.layers.9.mlp.gate_proj.weight"] = np.zeros((2, 2), np.float32)
  arrays["model.norm.weight"] = arrays["model.norm.weight"][:-1]
  arrays[f"{LAYER}mlp.up_proj.weight"] = arrays[f"{LAYER}mlp.up_proj.weight"].T
  new = checkpoints.rewrite(saved, arrays)
  with pytest.raises(ValueError, match=r"does not fit its config\.json") as caught:
    read(new)
  assert str(caught.value).startswith(f"{new}: ")
  _, missing, surplus, shapes = re.split(r"json: |; ", str(caught.value))
  assert missing == f"7 tensors missing: {', '.join(experts[:5])}, …"
  assert surplus == "1 tensor not part of this model: model.layers.9.mlp.gate_proj.weight"
  assert shapes == (
    "2 tensors of another shape: model.norm.weight (63,) instead of (64,), "
    "model.layers.0.mlp.up_proj.weight (64, 96) instead of (96, 64)"
  )


def test_biases_that_the_config_leaves_out_are_surplus(tmp_path):
  checkpoints.save(tmp_path / "model", "tiny-llama", attention_bias=True)
  new = checkpoints.rewrite(
    tmp_path / "model", checkpoints.tensors(tmp_path / "model"), attention_bias=False
  )
  with pytest.raises(ValueError, match=r"8 tensors not part of this model: .*q_proj\.bias"):
    read(new)


@pytest.mark.parametrize(
  "found",
  [
    {"quant_method": "gptq", "bits": 4, "group_size": 128},
    {"quant_method": "awq", "bits": 4},
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
    {"quant_method": "fp8"},
    {"quant_method": "fp8", "weight_block_size": None},
    {"quant_method": "compressed-tensors", "weight_block_size": [128, 128]},
  ],
)
def test_other_quantisations_are_refused_before_any_tensor_is_missed(saved, found):
  new = checkpoints.rewrite(saved, {"x.qweight": np.zeros(3, np.int32)}, quantization_config=found)
  with pytest.raises(ValueError, match=r"quantization_config=.* is not implemented: wanted"):
    read(new)


def test_fp8_needs_its_config_and_its_factors(saved):
  arrays = checkpoints.tensors(saved)
  name = f"{LAYER}mlp.up_proj.weight"
  arrays[name] = arrays[name].astype(safetensors.DTYPES["F8_E4M3"])
  with pytest.raises(ValueError, match=r"up_proj\.weight \(FP8 while config.json has no quant"):
    read(checkpoints.rewrite(saved, arrays))
  block = {"quant_method": "fp8", "weight_block_size": [32, 16]}
  shutil.rmtree(f"{saved}-changed")
  with pytest.raises(ValueError, match=r"1 tensor missing: \S+up_proj\.weight_scale_inv"):
    read(checkpoints.rewrite(saved, arrays, quantization_config=block))
  shutil.rmtree(f"{saved}-changed")
  arrays[f"{name}_scale_inv"] = np.full((3, 4), 0.5, np.float32)
  found = read(checkpoints.rewrite(saved, arrays, quantization_config=block))
  wanted = arrays[name].astype(np.float32).T / 2
  np.testing.assert_array_equal(found["dense"]["feed"]["up_DF"][0], wanted)
  shutil.rmtree(f"{saved}-changed")
  arrays[f"{LAYER}mlp.down_proj.weight_scale_inv"] = np.ones((2, 6), np.float32)  # of no FP8
  with pytest.raises(ValueError, match=r"not part of this model: \S+down_proj\.weight_scale_inv"):
    read(checkpoints.rewrite(saved, arrays, quantization_config=block))


def test_whole_numbers_are_no_weights(saved):
  arrays = checkpoints.tensors(saved)
  name = f"{LAYER}mlp.up_proj.weight"
  arrays[name] = arrays[name].astype(np.int8)
  with pytest.raises(ValueError, match=r"of a type that is no weight's: \S+up_proj.* \(int8\)"):
    read(checkpoints.rewrite(saved, arrays))


def test_a_damaged_file_is_named_or_does_no_harm(saved):
  """A cut, and flips of one bit of the header: an error with the folder, or the very same bits."""
  _, params = checkpoints.model("tiny-deepseek-v3")
  (file,) = saved.glob("*.safetensors")
  good = file.read_bytes()
  for length in (0, 7, 100, len(good) // 2, len(good) - 1):
    file.write_bytes(good[:length])
    with pytest.raises(ValueError, match=re.escape(str(file))):
      read(saved)
  rng, refused = np.random.default_rng(0), 0
  end = 8 + int.from_bytes(good[:8], "little")
  for at in rng.choice(end, 60, replace=False):
    bad = bytearray(good)
    bad[at] ^= 1 << int(rng.integers(8))
    file.write_bytes(bad)
    found = outcome(saved)
    if isinstance(found, str):
      assert str(saved) in found
      refused += 1
    else:
      assert_same(found, params)
  assert refused > 50


def outcome(folder):
  """What is loaded, or the error's text."""
  try:
    return read(folder)
  except ValueError as error:
    return str(error)


def test_adapters_are_not_looked_for_in_a_checkpoint(saved):
  raw = config.read(saved)
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/o_HWD")
  cfg = config.parse(raw, checkpoints.RUNTIME | {"lora": adapters})
  with pytest.raises(ValueError, match="load it with lora=None"):
    load.load(saved, raw, cfg, dtype="float32")


# Memory -------------------------------------------------------------------------------------------

THERE_AND_BACK = """
import sys
from r1 import sharding
from r1.model.hf import config, export, load
source, target, runtime = sys.argv[1], sys.argv[2], eval(sys.argv[3])
mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
raw = config.read(source)
cfg = config.parse(raw, runtime | {"rules": sharding.FSDP_TENSOR})
params = load.load(source, raw, cfg, dtype="bfloat16", mesh=mesh, rules=cfg.rules)
if target:
  export.export(target, params, cfg, None, dtype="bfloat16", shard_bytes=10**9)
"""


@pytest.mark.slow
def test_two_gigabytes_go_in_and_out_within_three(tmp_path):
  """Over eight devices of this host, which hold all of it: what is above is the host's own."""
  import resource

  source, target = tmp_path / "model", tmp_path / "back"
  written = big.qwen2(source, gigabytes=2)
  try:
    for name, out in (("loaded", ""), ("loaded and exported", target)):
      done = subprocess.run(
        [sys.executable, "-c", THERE_AND_BACK, source, out, repr(checkpoints.RUNTIME)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
      )
      assert done.returncode == 0, done.stderr
      peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
      print(f"{written / 1e9:.3f}e9 bytes {name}: {peak / 1e9:.3f}e9 resident at most")
      assert peak <= 3e9
    one, other = safetensors.open_folder(source), safetensors.open_folder(target)
    assert one.keys() == other.keys()
    assert all(np.array_equal(bits(one[name]), bits(other[name])) for name in one)
  finally:
    shutil.rmtree(source)
    shutil.rmtree(target, ignore_errors=True)


def bits(entry):
  return safetensors.read(entry).view(np.uint16)
