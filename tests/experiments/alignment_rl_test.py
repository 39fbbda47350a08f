"""RL for all scenarios: who judges what and from when on, and what it refuses to be judged by."""

import dataclasses
import json
import math

import numpy as np
import pytest

from configs import alignment_rl as recipe
from experiments import alignment_rl
from r1.stages import iteration
from r1.train import checkpoint, metrics, models, reward_models, workdir
from tests.experiments import runs, tiny_run
from tests.train import tiny

pytestmark = pytest.mark.usefixtures("cache")

ROOM = {"base.model.context": 256}  # prompts of words that the tokenizer never saw are long
CHANGES = tiny_run.CHANGES | ROOM
CHANGES |= {
  "data.languages": (("en", 1.0),),
  "data.general_count": 40,
  "batch.row_tokens": 256,
  "batch.microbatch_tokens": 512,
  "sampler.cache_tokens": 16 * 256,
  "optimizer.learning_rate": 1e-3,
  "rl.rollouts": 2,
  "rl.mixture": ((0, 0.0), (2, 0.5)),
  "reward.schedules": tuple((kind, ((0, 0.0), (2, 1.0))) for kind in reward_models.KINDS),
}
VARIED = "tests.experiments.own:varied"


def config(model, rewards, **changes):
  made = recipe.get_config(f"tiny,model={model},rewards={rewards}")
  return runs.changed(made, CHANGES, **changes)


@pytest.fixture(scope="module")
def parent(cache, tmp_path_factory):
  """The workdir of a stage before this one."""
  folder = tmp_path_factory.mktemp("runs") / "zero"
  made = runs.changed(tiny_run.config(rl__rollouts=1), ROOM)
  return tiny_run.start(made, folder)


def preference(folder, model, kinds=reward_models.KINDS):
  """A workdir as the preference stage leaves it, with reward models of a policy's layers."""
  rng = np.random.default_rng(0)
  made = models.with_scalar(model, mesh=None)
  for kind in kinds:
    head_D = rng.standard_normal(made.cfg.D).astype(np.float32)
    workdir.describe(folder / kind, made.cfg, made.tokenizer)
    reward_models.describe(
      folder / kind, reward_models.Head(kind=kind, template="short", mean=0.0, std=1.0)
    )
    checkpointer = checkpoint.open_folder(folder / kind / "checkpoints", keep=1)
    checkpoint.save(checkpointer, 1, {"params": made.params | {"scalar_D": head_D}}, score=0.0)
    checkpointer.close()
  return folder


@pytest.fixture(scope="module")
def judges(parent, tmp_path_factory):
  return preference(tmp_path_factory.mktemp("runs") / "preference", workdir.load(parent))


@pytest.fixture(scope="module")
def finished(parent, judges, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "r1"
  alignment_rl.main(config(parent, judges), folder)
  return folder


def test_reward_models_judge_general_prompts_near_the_end_and_rules_judge_the_others(finished):
  found = metrics.read(finished / "samples.jsonl")
  judged = {2: set(), 4: set()}
  for record in found:
    parts = {name: x for name, x in record["parts"].items() if x is not None}
    kinds = parts.keys() & {"helpful", "safety", "accuracy"}
    assert len(kinds) == 1, "each question has one judge"
    judged[record["step"]].add(*kinds)
    total = parts[next(iter(kinds))] + 0.1 * parts["format"] + parts["language"] + parts[VARIED]
    assert record["reward"] == pytest.approx(total)
  assert judged[2] == {"accuracy"}
  assert judged[4] > {"accuracy"}
  general = [r for r in found if r["step"] == 4 and r["parts"]["accuracy"] is None]
  assert len(general) == 8, "two of four questions, four answers to each"
  assert "reward/helpful" not in runs.by_step(finished)[2]


def test_answers_of_both_sorts_are_drawn_and_scored_at_one_temperature(finished):
  by_step = runs.by_step(finished)
  assert by_step[2]["sampler/logp_gap"] < 1e-4
  assert by_step[4]["sampler/logp_gap"] < 1e-4
  assert by_step[1]["policy/ratio_gap"] < 1e-5


def test_the_papers_name_the_policy_s_stage_and_the_reward_models(finished, parent, judges):
  record = json.loads((finished / "lineage.json").read_text())
  assert record["parents"].keys() == {str(parent), str(judges)}
  assert record["counts"]["train"]["kept"] == 64 + 40


def test_a_run_killed_among_general_prompts_repeats_the_rollout(
  finished, parent, judges, patch, tmp_path
):
  folder, check = tmp_path / "killed", iteration.steps.check_finite

  def check_until_killed(values, patience, number, where):
    if number == 3:
      raise runs.Killed
    check(values, patience, number, where)

  with patch.context() as context:
    context.setattr(iteration.steps, "check_finite", check_until_killed)
    with pytest.raises(runs.Killed):
      alignment_rl.main(config(parent, judges), folder)
  alignment_rl.main(config(parent, judges), folder)
  assert runs.steady(folder) == runs.steady(finished)
  assert tiny_run.samples(folder) == tiny_run.samples(finished)
  assert all(math.isfinite(r["reward/total"]) for r in runs.steady(folder) if "reward/total" in r)


# Refusals ----------------------------------------------------------------------------------------


def test_a_reward_model_of_another_tokenizer_is_refused_naming_both(parent, tmp_path):
  model = dataclasses.replace(workdir.load(parent), tokenizer=tiny.tokenizer())
  other = preference(tmp_path / "other", model, kinds=["helpful"])
  match = f"{parent} and {other / 'helpful'} differ in tokenizer"
  with pytest.raises(ValueError, match=match):
    alignment_rl.main(config(parent, other), tmp_path / "run")
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_reward_models_and_their_weights_come_together(parent, tmp_path, no_compute):
  with pytest.raises(ValueError, match=r"rewards='' with weights helpful=1\.0, .*: a weight needs"):
    alignment_rl.main(config(parent, ""), tmp_path / "run")
  weightless = config(parent, "runs/preference", reward__helpful=0.0, reward__safety=0.0)
  with pytest.raises(ValueError, match=r"rewards='runs/preference' with weights helpful=0\.0"):
    alignment_rl.main(weightless, tmp_path / "run")
  with pytest.raises(ValueError, match="alignment_rl starts from Dev3: add model=MODEL"):
    alignment_rl.main(recipe.get_config("tiny"), tmp_path / "run")


def test_reward_models_that_are_missing_or_unfinished_are_refused_by_name(parent, tmp_path):
  with pytest.raises(ValueError, match="nowhere: no such file or folder"):
    alignment_rl.main(config(parent, tmp_path / "nowhere"), tmp_path / "run")
  unfinished = tmp_path / "unfinished"
  unfinished.mkdir()
  (unfinished / "run.json").write_text('{"stage": "preference", "config": {}}')
  with pytest.raises(ValueError, match="unfinished: this run of preference is not finished"):
    alignment_rl.main(config(parent, unfinished), tmp_path / "run")
  assert not (tmp_path / "run").exists()
