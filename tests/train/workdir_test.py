"""A workdir is a model: what was written is what is loaded."""

import json

import jax
import numpy as np
import pytest

from r1 import sharding
from r1.train import checkpoint, workdir
from tests.train import tiny

CFG = tiny.model()


@pytest.fixture
def folder(tmp_path):
  """A workdir of two checkpoints; the weights of the later are those of seed 2."""
  workdir.describe(tmp_path, CFG, tiny.tokenizer())
  checkpointer = checkpoint.open_folder(tmp_path / "checkpoints", keep=2)
  for number in (1, 2):
    checkpoint.save(checkpointer, number, {"params": tiny.params(CFG, seed=number)}, score=-number)
  checkpointer.close()
  return tmp_path


def test_a_model_comes_back_whole_from_its_latest_checkpoint(folder):
  model = workdir.load(str(folder))
  assert model.cfg == CFG
  assert model.tokenizer.digest == tiny.tokenizer().digest
  jax.tree.map(np.testing.assert_array_equal, model.params, tiny.params(CFG, seed=2))


def test_a_model_is_loaded_onto_a_mesh(folder):
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh({"fsdp": 4, "tensor": 2})
  model = workdir.load(folder, mesh=mesh, rules=rules)
  assert model.cfg.rules == rules
  assert model.params["embed_VD"].sharding.mesh == mesh
  jax.tree.map(np.testing.assert_array_equal, model.params, tiny.params(CFG, seed=2))


def test_a_scalar_model_comes_back_and_a_description_from_before_there_were_any(tmp_path):
  workdir.describe(tmp_path, tiny.model(scalar=True), tiny.tokenizer())
  path = tmp_path / "model.json"
  assert workdir.read_config(path, None) == tiny.model(scalar=True)
  fields = json.loads(path.read_text())
  path.write_text(json.dumps({name: x for name, x in fields.items() if name != "scalar"}))
  assert workdir.read_config(path, None) == CFG


def test_the_rules_of_a_mesh_are_not_written_down(tmp_path):
  workdir.describe(tmp_path, tiny.model(rules=sharding.FSDP_TENSOR), tiny.tokenizer())
  fields = json.loads((tmp_path / "model.json").read_text())
  assert fields["rules"] is None
  assert fields["stacks"] == [["dense", 1]]


def test_a_folder_that_is_no_workdir_says_what_it_lacks(tmp_path):
  with pytest.raises(ValueError, match=r"no workdir of r1: it lacks model\.json"):
    workdir.load(tmp_path)


def test_a_folder_without_a_tokenizer_names_both_kinds(folder):
  (folder / "tokenizer.model").unlink()
  with pytest.raises(ValueError, match=r"neither tokenizer\.json nor tokenizer\.model"):
    workdir.load(folder)


def test_a_workdir_without_a_checkpoint_yet_says_so(tmp_path):
  workdir.describe(tmp_path, CFG, tiny.tokenizer())
  with pytest.raises(ValueError, match="holds no checkpoint yet"):
    workdir.load(tmp_path)


def test_loading_leaves_the_folder_as_it_was(folder):
  """It may be that of a run that is still going."""

  def listing():
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob("*")}

  (folder / "checkpoints" / "3.orbax-checkpoint-tmp").mkdir()
  before = listing()
  workdir.load(folder)
  assert listing() == before
