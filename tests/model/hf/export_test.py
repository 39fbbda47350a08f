"""Models as checkpoints: they come back bit for bit, and transformers computes the same."""

import dataclasses
import json
import logging

import jax
import numpy as np
import pytest

from configs import common
from r1 import sharding, spec
from r1.evals import forward
from r1.model import config as model_config
from r1.model import lora, presets, transformer
from r1.model.hf import config, export, load, safetensors
from r1.text import hf_tokenizer
from tests.model.hf import checkpoints
from tests.text import checkpoints as tokenizers
from tests.train import tiny as tiny_train

TOKENS = np.random.default_rng(5).integers(0, 300, (2, 40))
VARIANTS = {name: (name, {}) for name in checkpoints.TINY} | {
  "biases": ("tiny-deepseek-v3", {"attention_bias": True, "q_lora_rank": None}),
  "groups": (
    "tiny-deepseek-v2",
    {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2},
  ),
  "all biased": ("tiny-llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 24}),
  "sliding": (
    "tiny-qwen2",
    {
      "tie_word_embeddings": True,
      "use_sliding_window": True,
      "sliding_window": 7,
      "max_window_layers": 1,
    },
  ),
}


def default_model():
  """(config, parameters) of configs/common.py's model: norms of queries and keys, and biases."""
  cfg = model_config.ModelConfig(**dict(common.tiny_model()) | {"ids": 384, "rules": None})
  return cfg, checkpoints.parameters(cfg)


def write(folder, cfg, params, tokenizer=None, *, dtype="float32", shard_bytes=10**9):
  return export.export(folder, params, cfg, tokenizer, dtype=dtype, shard_bytes=shard_bytes)


def read(folder):
  raw = config.read(folder)
  cfg = config.parse(raw, checkpoints.RUNTIME)
  return load.load(folder, raw, cfg, dtype="float32"), cfg


def logits(params, cfg):
  return forward.outputs(params, cfg, {"input_ids": TOKENS}, 0)["logits"]


# There and back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_comes_back_bit_for_bit(tmp_path, name):
  preset, changes = VARIANTS[name]
  cfg, params = checkpoints.save(tmp_path / "model", preset, shard_bytes=150_000, **changes)
  assert len(list(tmp_path.glob("model/*.safetensors"))) > 1
  found, cfg_found = read(tmp_path / "model")
  assert cfg_found == cfg
  assert jax.tree.structure(found) == jax.tree.structure(params)
  jax.tree.map(np.testing.assert_array_equal, found, params)


def test_half_precision_is_rounded_once_and_the_router_s_bias_is_not(tmp_path):
  cfg, params = checkpoints.model("tiny-deepseek-v3")
  written = write(tmp_path / "model", cfg, params, dtype="bfloat16")
  index = safetensors.open_folder(tmp_path / "model")
  assert safetensors.total_bytes(index) == written
  exact = [name for name, entry in index.items() if entry.dtype == np.float32]
  assert exact == [name for name in index if name.endswith("e_score_correction_bias")]
  assert len(exact) == 2
  assert config.read(tmp_path / "model")["torch_dtype"] == "bfloat16"
  found = spec.flatten(read(tmp_path / "model")[0])
  for path, value in spec.flatten(params).items():
    rounded = value if path.endswith("router_bias_E") else value.astype("bfloat16")
    np.testing.assert_array_equal(found[path], rounded.astype("float32"), err_msg=path)


@pytest.mark.parametrize("name", ["tiny-qwen2", "tiny-deepseek-v3"])
def test_shards_on_a_mesh_are_written_as_the_whole_is(tmp_path, name):
  cfg, params = checkpoints.save(tmp_path / "whole", name)
  mesh = sharding.make_mesh({"fsdp": 2, "tensor": 2, "expert": 2})
  homes = sharding.shardings(transformer.specs(cfg), mesh, sharding.FSDP_TENSOR)
  write(tmp_path / "parts", cfg, jax.device_put(params, homes))
  files = sorted(path.name for path in (tmp_path / "whole").iterdir())
  assert files == sorted(path.name for path in (tmp_path / "parts").iterdir())
  for file in files:
    whole, parts = ((tmp_path / folder / file).read_bytes() for folder in ("whole", "parts"))
    assert whole == parts, file


def test_the_default_model_is_a_qwen3_with_an_output_bias_of_zeros(tmp_path):
  cfg, params = default_model()
  write(tmp_path / "model", cfg, params)
  found, cfg_found = read(tmp_path / "model")
  assert config.read(tmp_path / "model")["model_type"] == "qwen3"
  assert cfg_found.o_bias
  assert not found["dense"]["attn"].pop("o_bias_D").any()
  jax.tree.map(np.testing.assert_array_equal, found, params)


def classifier(name, **changes):
  """(config, parameters) of a tiny preset with a scalar head."""
  cfg = dataclasses.replace(checkpoints.model(name, **changes)[0], scalar=True, mtp=0)
  return cfg, checkpoints.parameters(cfg)


@pytest.mark.parametrize("name", checkpoints.TINY)
def test_a_model_with_a_scalar_head_is_a_sequence_classifier_of_one_label(tmp_path, name):
  """transformers keeps the head as `score.weight` [labels, D], without a bias."""
  family = presets.RAW[name]["model_type"]
  names = [config.FAMILIES[family].replace("ForCausalLM", "ForSequenceClassification")]
  cfg, params = classifier(name)
  write(tmp_path / "model", cfg, params, dtype="bfloat16")
  raw, stored = config.read(tmp_path / "model"), checkpoints.tensors(tmp_path / "model")
  assert raw["architectures"] == names
  assert raw["id2label"] == {"0": "LABEL_0"}
  assert "lm_head.weight" not in stored
  np.testing.assert_array_equal(stored["score.weight"], np.asarray(params["scalar_D"])[None])
  found, cfg_found = read(tmp_path / "model")
  assert cfg_found == cfg
  np.testing.assert_array_equal(found["scalar_D"], params["scalar_D"])  # not rounded to bfloat16


def test_a_scalar_head_on_a_mesh_is_read_and_written_as_the_whole_is(tmp_path):
  cfg, params = classifier("tiny-llama")
  write(tmp_path / "whole", cfg, params)
  mesh, rules = sharding.make_mesh({"fsdp": 8}), sharding.FSDP_TENSOR
  raw = config.read(tmp_path / "whole")
  found = load.load(tmp_path / "whole", raw, cfg, dtype="float32", mesh=mesh, rules=rules)
  assert found["scalar_D"].sharding.shard_shape((cfg.D,)) == (cfg.D // 8,)
  np.testing.assert_array_equal(found["scalar_D"], params["scalar_D"])
  write(tmp_path / "parts", cfg, found)
  for file in ("config.json", "model.safetensors"):
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()


def test_a_padded_row_of_a_sequence_classifier_is_told_by_the_padding_s_id(tmp_path):
  tokenizer = tiny_train.tokenizer()
  cfg, params = classifier("tiny-llama", vocab_size=tokenizer.size)
  write(tmp_path / "model", cfg, params, tokenizer)
  assert config.read(tmp_path / "model")["pad_token_id"] == tokenizer.pad
  assert not (tmp_path / "model" / "generation_config.json").exists()


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", tokenizers.FAMILIES)
def test_the_tokenizer_goes_along(tmp_path, family):
  tokenizer = hf_tokenizer.load(tokenizers.folder(tmp_path, family))
  cfg, params = checkpoints.model("tiny-qwen2", vocab_size=tokenizer.size + 3)
  write(tmp_path / "model", cfg, params, tokenizer)
  found = hf_tokenizer.load(tmp_path / "model")
  assert found.encoder("12 + 345 = 357") == tokenizer.encoder("12 + 345 = 357")
  assert (found.size, found.bos, found.eos, found.pad) == (
    tokenizer.size,
    tokenizer.bos,
    tokenizer.eos,
    tokenizer.pad,
  )
  for name, content in tokenizer.files.items():
    assert (tmp_path / "model" / name).read_bytes() == content
  raw = config.read(tmp_path / "model")
  assert raw["bos_token_id"] == tokenizer.bos
  assert raw["eos_token_id"] == tokenizer.eos[0]
  generation = json.loads((tmp_path / "model" / "generation_config.json").read_text())
  wanted = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos[0]}
  wanted = {key: value for key, value in wanted.items() if value is not None}
  assert generation == wanted | {"pad_token_id": tokenizer.pad}


def test_the_generation_config_of_the_source_is_kept(tmp_path):
  rust = tokenizers.pipeline("qwen2")
  eos = [rust.token_to_id("<|im_end|>"), rust.token_to_id("<|endoftext|>")]
  source = {"eos_token_id": eos, "temperature": 0.6, "top_p": 0.95}
  settings = tokenizers.settings("qwen2")
  folder = tokenizers.write(
    tmp_path / "tok", rust, tokenizer_config=settings, generation_config=source
  )
  tokenizer = hf_tokenizer.load(folder)
  cfg, params = checkpoints.model("tiny-qwen2", vocab_size=tokenizer.size)
  write(tmp_path / "model", cfg, params, tokenizer)
  assert json.loads((tmp_path / "model" / "generation_config.json").read_text()) == source
  assert config.read(tmp_path / "model")["eos_token_id"] == eos


def test_a_sentencepiece_model_goes_along_too(tmp_path):
  tokenizer = tiny_train.tokenizer()
  cfg, params = checkpoints.model("tiny-llama", vocab_size=tokenizer.size)
  write(tmp_path / "model", cfg, params, tokenizer)
  found = hf_tokenizer.load(tmp_path / "model")
  assert found.pieces == tokenizer.pieces
  assert (found.bos, found.eos, found.pad) == (tokenizer.bos, tokenizer.eos, tokenizer.pad)


# Refusals -----------------------------------------------------------------------------------------


def test_parameters_of_another_model_are_refused_before_anything_is_written(tmp_path):
  cfg, params = checkpoints.model("tiny-qwen2")
  other, _ = checkpoints.model("tiny-qwen2", intermediate_size=64)
  with pytest.raises(ValueError, match=r"down_FD has the shape \(2, 96, 64\), the model's is \(2,"):
    write(tmp_path / "model", other, params)
  short = {name: value for name, value in params.items() if name != "head_DV"}
  with pytest.raises(ValueError, match=r"head_DV has the shape None, the model's is \(64, 512\)"):
    write(tmp_path / "model", cfg, short)
  assert not list(tmp_path.iterdir())


def test_adapters_are_not_dropped_in_silence(tmp_path):
  cfg, params = checkpoints.model("tiny-qwen2")
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/q_DHK")
  lora_cfg = config.parse(
    config.read(_saved(tmp_path, cfg, params)), checkpoints.RUNTIME | {"lora": adapters}
  )
  tree = checkpoints.parameters(lora_cfg)
  assert "lora" in tree
  for given in (cfg, lora_cfg):
    with pytest.raises(ValueError, match="the model has adapters: merge them"):
      write(tmp_path / "model", given, tree)


def _saved(tmp_path, cfg, params):
  write(tmp_path / "base", cfg, params)
  return tmp_path / "base"


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
  cfg, params = checkpoints.model("tiny-qwen2")
  (tmp_path / "notes.txt").write_text("mine")
  with pytest.raises(ValueError, match="holds something already"):
    write(tmp_path, cfg, params)
  assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# The other program --------------------------------------------------------------------------------


@pytest.fixture
def reference():
  """transformers' logits of TOKENS, and what it said about the folder's weights."""
  reason = "is not installed: pip install -e '.[parity]'"
  torch = pytest.importorskip("torch", reason=f"torch {reason}")
  transformers = pytest.importorskip("transformers", reason=f"transformers {reason}")
  transformers.utils.logging.set_verbosity_error()
  transformers.utils.logging.disable_progress_bar()
  logging.getLogger("transformers").setLevel(logging.ERROR)

  def compute(folder):
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
      folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    with torch.no_grad():
      return model(input_ids=torch.tensor(TOKENS), use_cache=False).logits.numpy(), said

  return compute


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
  ("name", "dtype"),
  [
    *((name, "float32") for name in (*checkpoints.TINY, "default")),
    *(
      pytest.param(name, "float32", marks=pytest.mark.slow)
      for name in VARIANTS
      if name not in checkpoints.TINY
    ),
    pytest.param("tiny-deepseek-v3", "bfloat16", marks=pytest.mark.slow),
  ],
)
def test_transformers_computes_the_same(tmp_path, reference, name, dtype):
  """All weights are found, none is left over but those of multi-token prediction."""
  if name == "default":
    cfg, params = default_model()
  else:
    cfg, params = checkpoints.model(VARIANTS[name][0], **VARIANTS[name][1])
  write(tmp_path / "model", cfg, params, dtype=dtype, shard_bytes=200_000)
  wanted, said = reference(str(tmp_path / "model"))
  assert not said["missing_keys"]
  assert not said["mismatched_keys"]
  assert all(key.startswith("model.layers.2.") for key in said["unexpected_keys"])
  # From the weights before the export, where it does not round them.
  got = logits(params, cfg) if dtype == "float32" else logits(*read(tmp_path / "model"))
  assert wanted.std() > 0.3
  np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
