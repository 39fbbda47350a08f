"""Sweeps: which commands they run, what they read, and what they do not run twice."""

import json
import math
import queue
import time

import pytest
import rich.console

from configs import ablations, pipeline
from experiments import sweep


def config(**changes):
  made = ablations.get_config("clip,pipeline=runs/r1-{seed},seeds=2,lanes=1")
  made.update(changes)
  return made


def evaluated(one, accuracies, greedy):
  """What a finished run leaves."""
  one.trained.mkdir(parents=True)
  one.asked.mkdir()
  lines = [{"step": 4 * i + 4, "reward/accuracy": x} for i, x in enumerate(accuracies)]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (one.trained / "metrics.jsonl").write_text(text)
  (one.asked / "evaluation.json").write_text(json.dumps({"greedy": [greedy, 0.01]}))


def test_every_ablation_has_arms_that_differ_in_their_settings():
  for name in ablations.ABLATIONS:
    arms = ablations.get_config(name).arms
    assert len(arms) > 1
    assert len({arm[1:] for arm in arms}) == len(arms)
    assert len({arm[0] for arm in arms}) == len(arms)


def test_a_run_is_the_command_that_a_user_would_type_and_its_evaluation(tmp_path):
  first, *_, last = sweep.runs(config(), tmp_path)
  assert [first.arm, first.seed, last.arm, last.seed] == ["10", 0, "0.2", 1]
  learn, ask = last.commands
  assert learn[1:] == [
    "-m",
    "experiments.r1_zero",
    "--config=configs/r1_zero.py:tiny,model=runs/r1-1/base,seed=1",
    f"--workdir={tmp_path}/0.2-1/run",
    "--config.data.languages=(('en', 0.6), ('zh', 0.4))",
    "--config.grpo.clip_low=0.2",
    "--config.grpo.clip_high=0.2",
  ]
  assert ask[2:4] == [
    "experiments.evaluate",
    f"--config=configs/evaluate.py:tiny,model={tmp_path}/0.2-1/run,mode=answer_tag",
  ]


def test_an_arm_that_changes_nothing_is_what_the_pipeline_made(tmp_path):
  first = sweep.runs(config(pipeline=str(tmp_path / "r1-{seed}")), tmp_path)[0]
  assert first.commands == []
  assert first.trained == tmp_path / "r1-0" / "r1_zero"
  assert first.asked == tmp_path / "r1-0" / "eval_r1_zero"
  with pytest.raises(ValueError, match=r"arm 10, seed 0: .*eval_r1_zero has no evaluation.json"):
    sweep.main(config(pipeline=str(tmp_path / "r1-{seed}")), tmp_path / "sweep")
  assert not (tmp_path / "sweep").exists(), "refused before anything runs"


def test_the_stages_that_arms_name_are_evaluated_by_the_pipeline():
  rows = {name for _, name, _ in pipeline.get_config("tiny").rows}
  for name in ablations.ABLATIONS:
    arms = ablations.get_config(name).arms
    assert {arg for _, experiment, arg, *_ in arms if experiment == "pipeline"} <= rows


def test_tokens_are_those_of_all_rollouts_and_the_last_three_are_heard(tmp_path):
  one = sweep.runs(config(), tmp_path)[-1]
  evaluated(one, [0.5], 0.5)
  lines = [
    {
      "step": i,
      "reward/helpful": reward,
      "throughput/train_tokens_per_s": 2e6,
      "time/update_s": 0.5,
      "throughput/sample_tokens_per_s": 1e6,
      "time/sample_s": 0.25,
    }
    for i, reward in enumerate((9.0, 0.1, 0.2, 0.3))
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (one.trained / "metrics.jsonl").write_text(text)
  found = sweep.numbers(one, reach=0.9)
  assert found["trained"] == pytest.approx(4.0)
  assert found["sampled"] == pytest.approx(1.0)
  assert found["helpful"] == pytest.approx(0.2)
  assert math.isnan(found["updates_to"]), "no rollout says how often it was right"


def test_the_table_has_means_and_intervals_over_the_seeds(tmp_path):
  made = config(metrics=("greedy", "updates_to"), pipeline=str(tmp_path / "r1-{seed}"))
  found = []
  for one in sweep.runs(made, tmp_path):
    evaluated(one, [0.1, 0.9, 0.9, 0.9, 1.0], 0.9 + 0.01 * one.seed)
    found.append((one, sweep.numbers(one, made.reach)))
  # Means of three reach .9 with the fourth rollout, 0.63 and 0.9; so after 16 updates.
  # Two seeds: 0.905 ± 12.706 x 0.00707 / sqrt(2).
  assert sweep.table(made, found).splitlines()[2:] == [
    "| 10 | 0.905 ± 0.064 | 16.000 ± 0.000 | 0, 1 |",
    "| 0.2 | 0.905 ± 0.064 | 16.000 ± 0.000 | 0, 1 |",
  ]


def test_a_seed_that_never_comes_so_far_has_its_place_in_the_table(tmp_path):
  made = config(metrics=("updates_to",), pipeline=str(tmp_path / "r1-{seed}"))
  found = []
  for one in sweep.runs(made, tmp_path):
    evaluated(one, [0.9 * one.seed] * 3, 0.5)
    found.append((one, sweep.numbers(one, made.reach)))
  assert sweep.table(made, found).splitlines()[2] == "| 10 | 1 of 2: 12.000 | 0, 1 |"
  assert sweep.plain(found[0][1])["updates_to"] is None


def test_an_arm_whose_parents_have_changed_is_not_taken_for_one_of_now(tmp_path):
  made = config(pipeline=str(tmp_path / "r1-{seed}"), seeds=(0,))
  for one in sweep.runs(made, tmp_path / "sweep"):
    evaluated(one, [0.5], 0.5)
  parent = tmp_path / "parent.txt"
  parent.write_text("new")
  record = {"parents": {str(parent): "old"}}
  (one.trained / "lineage.json").write_text(json.dumps(record))
  with pytest.raises(ValueError, match=r"arm 0.2, seed 0: (.|\n)*parent.txt was old"):
    sweep.main(made, tmp_path / "sweep")


def test_after_an_error_no_other_run_begins(tmp_path, monkeypatch):
  begun = []

  def go(one, cores, console):
    begun.append(one.arm)
    time.sleep(0.5 * (len(begun) - 1))  # so that the error is seen while the second one runs
    raise RuntimeError("broken")

  made = config(pipeline=str(tmp_path / "r1-{seed}"))
  for one in sweep.runs(made, tmp_path / "sweep"):
    if not one.commands:
      evaluated(one, [0.5], 0.5)
  monkeypatch.setattr(sweep, "go", go)
  with pytest.raises(RuntimeError, match="broken"):
    sweep.main(made, tmp_path / "other")
  assert len(begun) <= 2


def test_what_is_there_is_not_run_again(tmp_path):
  one = sweep.runs(config(), tmp_path)[-1]
  evaluated(one, [0.5], 0.5)
  sweep.go(one, queue.SimpleQueue(), rich.console.Console())  # no cores to take, none needed


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path):
  one, cores = sweep.runs(config(), tmp_path)[1], queue.SimpleQueue()
  cores.put({0})
  with pytest.raises(
    RuntimeError, match=r"experiments.r1_zero.*ended with 1:(.|\n)*runs/r1-0/base"
  ):
    sweep.go(one, cores, rich.console.Console())
  assert cores.get() == {0}, "the next run finds the cores free"


def test_a_sweep_without_a_name_or_with_two_is_refused(tmp_path):
  with pytest.raises(ValueError, match="no ablation given"):
    sweep.main(ablations.get_config(""), tmp_path)
  with pytest.raises(ValueError, match="choose one of language, clip"):
    ablations.get_config("clip,ppo")
  with pytest.raises(ValueError, match="lanes=99"):
    sweep.main(config(lanes=99), tmp_path)
