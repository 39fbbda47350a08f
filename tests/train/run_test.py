"""A run's papers: whose folder it is, where its weights came from, and with what it was made."""

import json
import subprocess

import pytest

from r1.train import run

CONFIG = {"rl": {"seed": 1, "limit": ((0, 24),)}, "model": "", "reward": {"own": ()}}


def changed(**rl):
  return CONFIG | {"rl": CONFIG["rl"] | rl}


def test_nested_settings_get_dotted_names_and_json_s_types():
  assert run.flatten(CONFIG) == {
    "rl.seed": 1,
    "rl.limit": [[0, 24]],
    "model": "",
    "reward.own": [],
  }


def test_a_claimed_folder_can_be_claimed_again_with_the_same_settings(tmp_path):
  folder = tmp_path / "new" / "run"
  run.claim(folder, "r1_zero", CONFIG)
  before = (folder / "run.json").read_bytes()
  run.claim(folder, "r1_zero", CONFIG)
  assert (folder / "run.json").read_bytes() == before
  record = json.loads(before)
  assert record["stage"] == "r1_zero"
  assert record["config"] == run.flatten(CONFIG)
  assert {"jax", "numpy", "python", "device"} <= record["versions"].keys()


def test_another_config_is_refused_and_only_the_settings_that_differ_are_named(tmp_path):
  run.claim(tmp_path, "r1_zero", CONFIG)
  with pytest.raises(ValueError, match="belongs to a run of r1_zero") as caught:
    run.claim(tmp_path, "r1_zero", changed(seed=2))
  assert "rl.seed: 1 there, 2 now" in str(caught.value)
  assert "rl.limit" not in str(caught.value)


def test_a_setting_that_only_one_of_the_two_has_is_a_difference(tmp_path):
  run.claim(tmp_path, "r1_zero", CONFIG)
  with pytest.raises(ValueError, match=r"mesh\.fsdp: None there, 8 now"):
    run.claim(tmp_path, "r1_zero", CONFIG | {"mesh": {"fsdp": 8}})


def test_another_stage_is_refused(tmp_path):
  run.claim(tmp_path, "r1_zero", CONFIG)
  with pytest.raises(ValueError, match="belongs to a run of r1_zero"):
    run.claim(tmp_path, "sft", CONFIG)


def test_a_folder_of_somebody_else_s_files_is_left_alone(tmp_path):
  (tmp_path / "thesis.tex").write_text("years of work")
  with pytest.raises(ValueError, match=r"is not empty and holds no run\.json"):
    run.claim(tmp_path, "r1_zero", CONFIG)
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_lineage_names_parents_and_data(tmp_path):
  run.lineage(tmp_path, "sft", {"runs/zero": "ab12"}, {"train": "cd34", "思": "é"})
  record = json.loads((tmp_path / "lineage.json").read_text(encoding="utf-8"))
  assert record["stage"] == "sft"
  assert record["parents"] == {"runs/zero": "ab12"}
  assert record["data"] == {"train": "cd34", "思": "é"}
  assert record["commit"] == run.commit()


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path):
  digests = []
  for name, text in (("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")):
    folder = tmp_path / str(len(digests))
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / name).write_text(text)
    digests.append(run.digest_of_files(folder))
  assert digests[0] == digests[3]
  assert len(set(digests)) == 3


def test_the_commit_says_so_where_the_tree_has_changes(monkeypatch):
  def git(command, **_):
    out = {"rev-parse": "abc\n", "status": " M r1/dims.py\n"}[command[1]]
    return subprocess.CompletedProcess(command, 0, stdout=out)

  monkeypatch.setattr(subprocess, "run", git)
  assert run.commit() == "abc+"


def test_outside_git_the_commit_is_unknown(monkeypatch):
  def no_git(*_, **__):
    raise FileNotFoundError("git")

  monkeypatch.setattr(subprocess, "run", no_git)
  assert run.commit() == "unknown"
