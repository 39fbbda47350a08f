"""The parts of a stage of reinforcement learning; tests/experiments runs whole stages."""

import json

import pytest

from experiments import r1_zero
from r1.stages import course, reinforce
from tests.experiments import tiny_run

pytestmark = pytest.mark.usefixtures("cache")


def test_a_stage_is_called_what_its_title_says_and_a_workdir_is_of_one_stage(tmp_path, capsys):
  made, title = tiny_run.config(rl__rollouts=1), reinforce.Title("own", "young", "old")
  with reinforce.opened(title, made, tmp_path / "run") as (setup, run):
    assert run.rollouts == int(run.state.step) == 0
    assert run.carried == {}
    assert setup.model.params == {}
    r1_zero.train(setup, run)
  for name in ("run.json", "lineage.json"):
    assert json.loads((tmp_path / "run" / name).read_text())["stage"] == "own"
  said = capsys.readouterr().out
  assert "16 responses per rollout -> 2 updates" in said
  assert "young" in said
  assert "old" in said
  with (
    pytest.raises(ValueError, match="belongs to a run of own"),
    reinforce.opened(r1_zero.TITLE, made, tmp_path / "run"),
  ):
    pass


def test_a_run_goes_on_from_its_last_checkpoint_with_its_own_reference(tmp_path):
  made = tiny_run.config(rl__rollouts=1)
  with reinforce.opened(r1_zero.TITLE, made, tmp_path / "run") as (setup, run):
    r1_zero.train(setup, run)
    checkpointer = course.checkpoint.open_folder(tmp_path / "run" / "checkpoints", keep=1)
    again = course.resume(checkpointer, setup, run)
    checkpointer.close()
  assert again.rollouts == 1
  assert int(again.state.step) == 2
  assert again.state.params.keys() == again.ref.keys()
  assert (again.state.params["embed_VD"] != again.ref["embed_VD"]).any()
