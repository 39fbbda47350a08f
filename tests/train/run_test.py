"""A run's papers: whose folder it is, where its weights came from, and with what it was made."""

import json
import os
import pathlib
import subprocess
import sys

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


def test_a_run_that_died_while_it_claimed_its_folder_claims_it_again(tmp_path):
  (tmp_path / "run.json.part").write_text('{"stage": "r1_')
  run.claim(tmp_path, "r1_zero", CONFIG)
  assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


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


STAGE = """
from r1.train import run
run.stage(lambda config, folder: print("ran", config.size, folder.name, type(folder).__name__))
"""
RECIPE = """
import ml_collections
def get_config(arg):
  return ml_collections.ConfigDict({"size": int(arg)})
"""


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (["--config=recipe.py:3", "--workdir=runs/one"], "ran 3 one "),
    (["--config=recipe.py:3", "--workdir=runs/one", "--config.size=4"], "ran 4 one "),
    (["--config=recipe.py:3"], "--workdir=None: Flag --workdir must have a value"),
    (["--workdir=runs/one"], "--config=None: Flag --config must have a value"),
    (["--config=recipe.py:3", "--workdir=a", "--config.sise=4"], "did you mean size?"),
  ],
)
def test_a_stage_is_a_config_and_a_workdir(tmp_path, given, said):
  (tmp_path / "stage.py").write_text(STAGE)
  (tmp_path / "recipe.py").write_text(RECIPE)
  env = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2]), "R1_NO_REEXEC": "1"}
  command = [sys.executable, "stage.py", *given]
  done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
  assert said in done.stdout + done.stderr
  assert (done.returncode == 0) == said.startswith("ran")
