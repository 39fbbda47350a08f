"""Where weights and data came from, and what may be another stage's parent."""

import json
import shutil

import jax.numpy as jnp
import pytest

from r1.train import checkpoint, lineage, pretrain, run, workdir
from tests.train import tiny


def stage(folder, name="r1_zero", outputs=None):
  """A workdir of a stage, finished where it has outputs."""
  run.claim(folder, name, {"seed": 1})
  lineage.begin(folder, name, {}, {}, {})
  if outputs:
    lineage.finish(folder, outputs)
  return folder


def test_lineage_names_parents_data_counts_and_settings(tmp_path):
  run.claim(tmp_path, "sft", {"sft": {"seed": 3}})
  counts = {"train": lineage.count(5, ["wrong", "mixed", "wrong"])}
  lineage.begin(tmp_path, "sft", {"runs/zero": "ab12"}, {"train": "cd34", "思": "é"}, counts)
  record = json.loads((tmp_path / "lineage.json").read_text(encoding="utf-8"))
  assert record["stage"] == "sft"
  assert record["parents"] == {"runs/zero": "ab12"}
  assert record["data"] == {"train": "cd34", "思": "é"}
  assert record["counts"] == {"train": {"kept": 5, "dropped": {"mixed": 1, "wrong": 2}}}
  assert record["commit"] == run.commit()
  assert record["config"] == {"sft.seed": 3}


@pytest.mark.parametrize(
  ("parents", "data", "named"),
  [({"a": "2"}, {"train": "1"}, "parents"), ({"a": "1"}, {"train": "2"}, "data")],
)
def test_a_run_does_not_go_on_from_others(tmp_path, parents, data, named):
  lineage.begin(tmp_path, "sft", {"a": "1"}, {"train": "1"}, {})
  with pytest.raises(ValueError, match=f"began with {named} .*'1'.* now they are .*'2'"):
    lineage.begin(tmp_path, "sft", parents, data, {})


def test_parents_are_named_before_there_is_any_data_and_data_only_once(tmp_path):
  lineage.descend(tmp_path, "cold_start", {"a": "1"})
  assert lineage.read(tmp_path)["data"] == {}
  with pytest.raises(ValueError, match=r"began with parents .*'1'.* now they are .*'2'"):
    lineage.descend(tmp_path, "cold_start", {"a": "2"})
  counts = {"train": lineage.count(3, ())}
  lineage.begin(tmp_path, "cold_start", {"a": "1"}, {"train": "1"}, counts)
  lineage.descend(tmp_path, "cold_start", {"a": "1"})
  assert lineage.read(tmp_path)["data"] == {"train": "1"}
  assert lineage.read(tmp_path)["counts"] == counts
  with pytest.raises(ValueError, match=r"began with data .*'1'.* now they are .*'2'"):
    lineage.begin(tmp_path, "cold_start", {"a": "1"}, {"train": "2"}, {})


# What may be a parent ----------------------------------------------------------------------------


def test_a_finished_stage_may_be_a_parent_and_an_unfinished_one_is_named(tmp_path):
  lineage.parent(stage(tmp_path / "done", outputs={"model": "ab"}))
  stage(tmp_path / "half")
  with pytest.raises(ValueError, match=r"parent .*half: this run of r1_zero is not finished"):
    lineage.parent(tmp_path / "half")


def test_a_parent_that_is_not_there_is_named(tmp_path):
  with pytest.raises(ValueError, match="parent runs/nothing: no such file or folder"):
    lineage.parent("runs/nothing")


def test_what_is_no_stage_s_workdir_is_left_to_its_reader(tmp_path):
  (tmp_path / "config.json").write_text("{}")
  lineage.parent(tmp_path)
  lineage.parent("hf:org/name")
  lineage.parent("tiny-qwen2")


def test_finished_json_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  class Died(BaseException):
    pass

  def die(*_):
    raise Died

  stage(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(run.pathlib.Path, "replace", die)
    with pytest.raises(Died):
      lineage.finish(tmp_path, {"model": "ab"})
  assert lineage.finished(tmp_path) is None
  lineage.finish(tmp_path, {"model": "ab"})
  assert lineage.finished(tmp_path) == {"model": "ab"}


def test_a_parent_that_changed_is_told_and_one_that_is_gone_is_not(tmp_path):
  one, two = (stage(tmp_path / name, outputs={"model": name}) for name in ("one", "two"))
  child = tmp_path / "child"
  run.claim(child, "sft", {})
  lineage.begin(child, "sft", {str(where): lineage.digest(where) for where in (one, two)}, {}, {})
  assert lineage.changed(child) == []
  lineage.finish(one, {"model": "other"})
  assert lineage.changed(child) == [f"{one} was one, is other"]
  shutil.rmtree(one)
  assert lineage.changed(child) == []


def test_what_differs_is_named_with_who_has_it():
  lineage.same("D", {"a": 1, "b": 1})
  with pytest.raises(ValueError, match="a and c differ in tokenizer: x there, y here"):
    lineage.same("tokenizer", {"a": "x", "b": "x", "c": "y"})
  with pytest.raises(ValueError, match=r"differ in architecture: {'F': 2} there, {'F': 3} here"):
    lineage.same("architecture", {"a": {"D": 1, "F": 2}, "b": {"D": 1, "F": 3}})


# Digests -----------------------------------------------------------------------------------------


def test_the_digest_of_a_folder_sees_names_and_bytes_and_no_model_card(tmp_path):
  digests = []
  for name, text in (("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")):
    folder = tmp_path / str(len(digests))
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / name).write_text(text)
    (folder / "README.md").write_text(f"card {len(digests)}")
    digests.append(lineage.digest_of_files(folder))
  assert digests[0] == digests[3]
  assert len(set(digests)) == 3


def test_the_digest_of_arrays_sees_names_types_shapes_and_values():
  made = [
    {"a": {"w": jnp.ones((2, 3))}},
    {"a": {"v": jnp.ones((2, 3))}},
    {"a": {"w": jnp.ones((3, 2))}},
    {"a": {"w": jnp.ones((2, 3), jnp.bfloat16)}},
    {"a": {"w": jnp.ones((2, 3)).at[1, 2].set(2)}},
    {"a": {"w": jnp.ones((2, 3))}},
  ]
  digests = [lineage.digest_of_arrays(params) for params in made]
  assert digests[0] == digests[5]
  assert len(set(digests)) == 5


def save(folder, params):
  workdir.describe(folder, tiny.model(ids=tiny.tokenizer().size), tiny.tokenizer())
  checkpointer = checkpoint.open_folder(folder / "checkpoints", keep=1)
  checkpoint.save(checkpointer, 0, {"params": params}, score=0.0)
  checkpointer.close()
  return folder


def test_the_digest_of_a_workdir_is_that_of_its_weights_however_they_were_written(tmp_path):
  """Orbax names its files anew at every write, so digests of files would call them different."""
  params = tiny.params(tiny.model())
  one, two = (save(tmp_path / name, params) for name in ("one", "two"))
  assert lineage.digest_of_files(one / "checkpoints") != lineage.digest_of_files(
    two / "checkpoints"
  )
  assert lineage.digest(one) == lineage.digest(two) == lineage.digest_of_arrays(params)


def test_the_digest_of_a_stage_is_what_it_wrote_down(tmp_path):
  assert lineage.digest(stage(tmp_path / "m", outputs={"model": "ab", "hf": "cd"})) == "ab"
  assert lineage.digest(stage(tmp_path / "d", outputs={"data": "ef"})) == "ef"
  both = [stage(tmp_path / n, outputs={"helpful": "1", "safety": n}) for n in ("x", "y")]
  assert len({lineage.digest(folder) for folder in both}) == 2
  assert lineage.digest("tiny-qwen2") == "tiny-qwen2"


def test_a_base_says_what_it_is_and_a_draft_of_a_dead_run_goes(tmp_path, monkeypatch):
  params = tiny.params(tiny.model())
  model = workdir.Model(tiny.model(ids=tiny.tokenizer().size), tiny.tokenizer(), params)
  draft = tmp_path / "ab12.left"
  draft.mkdir()
  pretrain.save(tmp_path / "ab12", model)
  assert draft.exists(), "somebody may be writing it"
  assert lineage.finished(tmp_path / "ab12") == {"model": lineage.digest_of_arrays(params)}
  monkeypatch.setattr(pretrain, "ABANDONED", -1)
  pretrain.sweep(tmp_path / "ab12")
  assert [path.name for path in tmp_path.iterdir()] == ["ab12"]
