"""A model from a workdir, a checkpoint, a preset or a download; all else is refused."""

import dataclasses
import json
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import sharding, spec
from r1.model import config as model_config
from r1.model import lora, presets, transformer
from r1.model.hf import config, export
from r1.text import hf_tokenizer
from r1.train import checkpoint, lineage, models, workdir
from tests.model.hf import checkpoints
from tests.text import checkpoints as tokenizers
from tests.train import tiny

RUNTIME = checkpoints.RUNTIME


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """A checkpoint of a tiny DeepSeek-V3 with its tokenizer, whose embedding has spare rows."""
  root = tmp_path_factory.mktemp("source")
  tokenizer = hf_tokenizer.load(tokenizers.folder(root, "deepseek"))
  cfg, params = checkpoints.model("tiny-deepseek-v3", vocab_size=tokenizer.size + 8)
  export.export(root / "model", params, cfg, tokenizer, dtype="float32", shard_bytes=10**9)
  return root / "model"


def load(where, **changes):
  given = {"runtime": RUNTIME, "dtype": "float32", "say": lambda line: None} | changes
  return models.load(where, **given)


def copy(source, target, **fields):
  """The same checkpoint with fields of config.json changed."""
  target.mkdir()
  for path in source.iterdir():
    (target / path.name).write_bytes(path.read_bytes())
  raw = json.loads((source / "config.json").read_text()) | fields
  (target / "config.json").write_text(json.dumps(raw))
  return target


# Checkpoints --------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_model_with_its_tokenizer(source):
  said = []
  model = load(source, say=said.append)
  assert model.cfg.ids == model.tokenizer.size == model.cfg.V - 8
  assert model.cfg.mtp == 0
  _, params = checkpoints.model("tiny-deepseek-v3", vocab_size=model.cfg.V)
  wanted = {name: value for name, value in params.items() if name != "mtp"}
  jax.tree.map(np.testing.assert_array_equal, model.params, wanted)
  count = spec.count(transformer.specs(model.cfg))
  assert said == [
    f"loading {count:,} parameters in float32: {4 * count / 2**30:.2f} GiB, "
    f"{4 * count / 2**30:.2f} GiB on each of 1 device(s)"
  ]


def test_the_layer_of_multi_token_prediction_comes_on_request(source):
  model = load(source, mtp=True)
  assert model.cfg.mtp == 1
  assert "mtp" in model.params


def test_a_run_decides_how_and_where_the_model_computes(source):
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  runtime = RUNTIME | {"rules": sharding.FSDP_TENSOR, "dtype": "bfloat16", "remat": "layer"}
  model = load(source, runtime=runtime, dtype="bfloat16", mesh=mesh)
  assert (model.cfg.rules, model.cfg.dtype, model.cfg.remat) == (
    sharding.FSDP_TENSOR,
    "bfloat16",
    "layer",
  )
  assert model.params["embed_VD"].dtype == "bfloat16"
  assert model.params["embed_VD"].sharding.spec == jax.sharding.PartitionSpec("tensor", "fsdp")


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows_is_refused(source, tmp_path):
  rows = config.read(source)["vocab_size"] - 9
  with pytest.raises(
    ValueError, match=rf"the tokenizer has \d+ ids, but the embedding {rows} rows"
  ):
    load(copy(source, tmp_path / "model", vocab_size=rows))


def test_a_model_type_that_is_not_implemented_is_said_before_the_tokenizer_is_read(tmp_path):
  (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
  with pytest.raises(ValueError, match="model_type='mamba' is not implemented; there are"):
    load(tmp_path)


def test_a_checkpoint_without_a_tokenizer_says_what_it_lacks(tmp_path):
  checkpoints.save(tmp_path / "model", "tiny-qwen2")
  with pytest.raises(ValueError, match=r"neither tokenizer\.json nor tokenizer\.model"):
    load(tmp_path / "model")


# Workdirs and presets -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights():
  return tiny.params(tiny.model())


@pytest.fixture(scope="module")
def run(tmp_path_factory, weights):
  """A workdir with one checkpoint."""
  folder = tmp_path_factory.mktemp("run")
  workdir.describe(folder, tiny.model(), tiny.tokenizer())
  checkpointer = checkpoint.open_folder(folder / "checkpoints", keep=1)
  checkpoint.save(checkpointer, 1, {"params": weights}, score=0.0)
  checkpointer.close()
  return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_workdir_keeps_its_model_and_takes_the_run_s_settings(run, weights, dtype):
  model = load(run, runtime=RUNTIME | {"attend": "einsum"}, dtype=dtype)
  assert model.cfg == tiny.model(**RUNTIME | {"attend": "einsum"})
  wanted = jax.tree.map(lambda x: x.astype(dtype), weights)
  jax.tree.map(np.testing.assert_array_equal, model.params, wanted)
  assert {str(x.dtype) for x in jax.tree.leaves(model.params)} == {dtype}


def test_a_preset_is_drawn_and_borrows_a_tokenizer(monkeypatch):
  said, asked = [], []

  def draw(key, specs, mesh, rules):
    asked.append((jax.random.key_data(key).tolist(), mesh, rules))
    return spec.tree_map(lambda s: jnp.ones(s.shape), specs)

  monkeypatch.setattr(models.state, "initial_params", draw)
  given = {"tokenizer": tiny.tokenizer(), "seed": 7, "mtp": True}
  model = load("tiny-deepseek-v3", **given, dtype="bfloat16", say=said.append)
  assert asked == [(jax.random.key_data(jax.random.key(7)).tolist(), None, None)]
  assert (model.cfg.ids, model.cfg.V, model.cfg.mtp) == (tiny.tokenizer().size, 512, 1)
  exact = {path for path, x in spec.flatten(model.params).items() if x.dtype == "float32"}
  assert exact == {"moe/feed/router_bias_E", "mtp/block/feed/router_bias_E"}
  assert model.params["embed_VD"].dtype == "bfloat16"
  assert said[0].startswith("loading ")


def test_a_preset_without_a_tokenizer_or_with_too_large_a_one_is_refused(monkeypatch):
  with pytest.raises(ValueError, match="'tiny-qwen2' has no tokenizer of its own"):
    load("tiny-qwen2")
  monkeypatch.setitem(presets.RAW, "tiny-qwen2", presets.RAW["tiny-qwen2"] | {"vocab_size": 256})
  with pytest.raises(ValueError, match=r"the tokenizer has \d+ ids, but the embedding 256 rows"):
    load("tiny-qwen2", tokenizer=tiny.tokenizer())


@pytest.mark.parametrize("name", ["", "no/such/folder", "qwen2.5-0.7b"])
def test_what_is_nothing_is_refused_with_all_that_there_is(tmp_path, name):
  where = name or tmp_path
  with pytest.raises(ValueError, match=r"wanted a workdir .* with config\.json, hf") as caught:
    load(where)
  assert f"model={where}: " in str(caught.value)
  assert "qwen2.5-0.5b, " in str(caught.value)


# Downloads ----------------------------------------------------------------------------------------


def hub(answer):
  """A stand-in for the package huggingface_hub: no test reaches for the network."""
  module = types.ModuleType("huggingface_hub")
  module.snapshot_download = answer  # type: ignore[attr-defined]
  return module


def test_a_download_is_a_checkpoint_like_any_other(source, monkeypatch):
  asked = []

  def answer(name, *, allow_patterns):
    asked.append((name, allow_patterns))
    return str(source)

  monkeypatch.setitem(sys.modules, "huggingface_hub", hub(answer))
  model = load("hf:org/name")
  jax.tree.map(np.testing.assert_array_equal, model.params, load(source).params)
  ((name, patterns),) = asked
  assert name == "org/name"
  assert {"*.json", "*.safetensors"} <= set(patterns)
  assert not any("bin" in pattern or pattern == "*" for pattern in patterns)


def test_without_a_network_a_download_says_what_to_do(monkeypatch):
  def answer(name, **options):
    raise ConnectionError(f"cannot reach the hub for {name}")

  monkeypatch.setitem(sys.modules, "huggingface_hub", hub(answer))
  with pytest.raises(ValueError, match="could not be downloaded") as caught:
    load("hf:org/name")
  for part in ("model=hf:org/name", "ConnectionError: cannot reach the hub", "model=FOLDER"):
    assert part in str(caught.value)


def test_without_its_package_a_download_names_it(monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ValueError, match="needs the package huggingface_hub: pip install"):
    load("hf:org/name")


# What a run starts from ---------------------------------------------------------------------------


def find(where, base=None, adapters=None):
  given = {"dtype": "float32", "mesh": None, "mtp": False, "adapters": adapters, "seed": 3}
  return models.find(where, base, RUNTIME, **given, say=lambda line: None)


def test_the_lineage_holds_a_digest_of_the_files(source, tmp_path, monkeypatch):
  model, parents = find(str(source))
  assert model.cfg.attention == "mla"
  assert parents == {str(source): lineage.digest(source)}
  assert len(parents[str(source)]) == 64
  monkeypatch.setitem(sys.modules, "huggingface_hub", hub(lambda name, **options: str(source)))
  _, downloaded = find("hf:org/name")
  assert downloaded == {"hf:org/name": lineage.digest(source)}
  other = copy(source, tmp_path / "model", some_field=None)
  assert lineage.digest(other) != lineage.digest(source)


def test_the_digest_of_a_workdir_is_its_checkpoints_alone(run, tmp_path):
  shutil.copytree(run, tmp_path / "run")
  (tmp_path / "run" / "notes.txt").write_text("read me")
  assert lineage.digest(tmp_path / "run") == lineage.digest(run)
  assert lineage.digest("tiny-qwen2") == "tiny-qwen2"


def test_a_model_and_its_export_are_of_one_architecture_which_is_told_without_weights(tmp_path):
  cfg = tiny.model(qkv_bias=False, qk_norm=True)
  workdir.describe(tmp_path / "run", cfg, tiny.tokenizer())  # and no checkpoint
  given = {"dtype": "float32", "shard_bytes": 10**9}
  export.export(tmp_path / "hf", tiny.params(cfg), cfg, tiny.tokenizer(), **given)
  own = models.architecture(str(tmp_path / "run"), RUNTIME)
  assert own == model_config.architecture(cfg)
  assert models.architecture(str(tmp_path / "hf"), RUNTIME) == own
  assert models.architecture("qwen3-0.6b", RUNTIME) != own


def test_the_origin_of_a_model_is_told_without_reading_it(source, run):
  say = lambda line: None
  assert models.origin(str(source), None, say) == {str(source): lineage.digest(source)}
  assert models.origin(str(run), None, say) == {str(run): lineage.digest(run)}
  with pytest.raises(ValueError, match="parent no/such: no such file or folder"):
    models.origin("no/such", None, say)


def test_a_preset_without_a_base_s_world_has_no_tokenizer():
  with pytest.raises(ValueError, match="has no tokenizer of its own"):
    find("tiny-qwen2")


def test_adapters_are_those_of_the_run_s_seed_and_leave_the_lineage_alone(source):
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/\w+")
  (plain, parents), (model, same) = find(str(source)), find(str(source), adapters=adapters)
  assert same == parents
  assert plain.cfg.lora is None
  wanted = models.adapt(plain, adapters, mesh=None, seed=3).params["lora"]
  jax.tree.map(np.testing.assert_array_equal, model.params["lora"], wanted)


def test_adapters_are_added_and_change_nothing_yet(weights):
  plain = workdir.Model(tiny.model(), tiny.tokenizer(), weights)
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/[qkv]_\w+")
  model = models.adapt(plain, adapters, mesh=None, seed=3)
  assert model.cfg.lora == adapters
  assert spec.flatten(model.params["lora"]).keys() == (
    spec.flatten(transformer.specs(model.cfg)["lora"]).keys()
  )
  assert all(model.params[name] is value for name, value in plain.params.items())
  token_BL = np.arange(12, dtype=np.int32)[None]
  given = token_BL, token_BL, np.ones_like(token_BL)
  one, other = (transformer.forward(m.params, *given, m.cfg) for m in (plain, model))
  np.testing.assert_array_equal(one.hidden_BLD, other.hidden_BLD)


def test_a_scalar_model_keeps_the_layers_and_drops_what_predicts_tokens():
  cfg, params = checkpoints.model("tiny-deepseek-v3")
  assert {"head_DV", "mtp"} <= set(params)
  made = models.with_scalar(workdir.Model(cfg, tiny.tokenizer(), params), mesh=None)
  assert (made.cfg.scalar, made.cfg.mtp) == (True, 0)
  assert spec.flatten(made.params).keys() == spec.flatten(transformer.specs(made.cfg)).keys()
  kept = {name: value for name, value in made.params.items() if name != "scalar_D"}
  assert all(params[name] is value for name, value in kept.items())
  assert not made.params["scalar_D"].any()
  assert models.with_scalar(made, mesh=None) is made


def test_a_scalar_model_has_the_adapters_of_its_policy_in_its_weights(weights):
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/[qkv]_\w+")
  plain = workdir.Model(tiny.model(), tiny.tokenizer(), weights)
  model = models.adapt(plain, adapters, mesh=None, seed=3)
  flat = spec.flatten(model.params)
  noise = lambda path, x: x + 0.1 if path.startswith("lora/") else x
  tuned = spec.unflatten({path: noise(path, x) for path, x in flat.items()})
  made = models.with_scalar(dataclasses.replace(model, params=tuned), mesh=None)
  assert made.cfg.lora is None
  token_BL = np.arange(12, dtype=np.int32)[None]
  given = token_BL, token_BL, np.ones_like(token_BL)
  one = transformer.forward(tuned, *given, model.cfg).hidden_BLD
  other = transformer.forward(made.params, *given, made.cfg).hidden_BLD
  np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_mesh_that_the_model_does_not_divide_over_is_named():
  rules = RUNTIME | {"rules": sharding.FSDP_TENSOR}
  cfg = presets.config("tiny-qwen2", rules)  # two key heads
  with pytest.raises(ValueError, match=r"k_DNK of shape .* does not divide over the mesh .* 'ten"):
    models.need(cfg, "float32", sharding.make_mesh({"tensor": 8}))


def test_the_memory_of_each_device_is_that_of_its_shards():
  mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
  cfg = presets.config("qwen2.5-7b", RUNTIME | {"rules": sharding.FSDP_TENSOR})
  assert models.need(cfg, "bfloat16", mesh) == (
    "loading 7,615,616,512 parameters in bfloat16: 14.19 GiB, 1.77 GiB on each of 8 device(s)"
  )
