"""Reasoning RL on another stage's model: the weights arrive, the language counts, it resumes."""

import json

import numpy as np
import pytest

from configs import reasoning_rl as recipe
from experiments import reasoning_rl
from r1.algorithms import minibatch
from r1.stages import iteration, reinforce
from r1.train import metrics, workdir
from tests.experiments import runs, tiny_run

pytestmark = pytest.mark.usefixtures("cache")

CHANGES = tiny_run.CHANGES | {
  "data.languages": (("en", 0.5), ("zh", 0.5)),
  "data.count": 4,  # as many as a rollout asks: each is an epoch
  "optimizer.learning_rate": 1e-3,
  "rl.rollouts": 3,
}


def config(model, **changes):
  return runs.changed(recipe.get_config(f"tiny,model={model}"), CHANGES, **changes)


@pytest.fixture(scope="module")
def parent(cache, tmp_path_factory):
  """The workdir of a stage before this one, whose weights have moved away from their base."""
  folder = tmp_path_factory.mktemp("runs") / "zero"
  return tiny_run.start(tiny_run.config(rl__rollouts=1, optimizer__learning_rate=1e-2), folder)


@pytest.fixture(scope="module")
def finished(parent, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "dev2"
  reasoning_rl.main(config(parent), folder)
  return folder


def gap(samples, weights, setup):
  """The largest distance between the sampler's log-probabilities and those of some weights."""
  numbers = np.arange(len(samples)) // setup.stage.grpo.group
  batch = setup.stage.batch
  scored = minibatch.score(weights, samples, setup.model.cfg, batch, 1.0, question_B=numbers)
  ours = np.concatenate([s.logp for s in samples])
  theirs = np.concatenate([x[s.prompt_length :] for x, s in zip(scored, samples, strict=True)])
  return float(np.abs(ours - theirs).max())


def test_the_weights_of_the_stage_before_arrive_in_sampler_and_trainer(parent, tmp_path):
  """At a hand-over and after every update, stale ones would go unseen (verl #7495)."""
  (base,) = json.loads((parent / "lineage.json").read_text())["parents"]
  before, after = (workdir.load(folder).params for folder in (base, parent))
  made = config(parent)
  with reinforce.opened(reasoning_rl.TITLE, made, tmp_path / "run") as (setup, run):
    played = iteration.sample(run, iteration.ask(setup, 0), setup, 0)
    assert gap(played.samples, after, setup) < 1e-4
    assert gap(played.samples, before, setup) > 1e-2
    scored = iteration.score(run, played, setup, 0)
    moved, _ = iteration.learn(run, scored, setup, 0)
    played = iteration.sample(moved, iteration.ask(setup, 1), setup, 1)
    assert gap(played.samples, moved.state.policy, setup) < 1e-4
    assert gap(played.samples, after, setup) > 1e-3


def test_the_language_of_the_thought_is_added_with_weight_one(finished):
  found = metrics.read(finished / "samples.jsonl")
  assert len(found) == 48
  for record in found:
    parts = record["parts"]
    rules = parts["accuracy"] + 0.1 * parts["format"] + parts["language"]
    assert record["reward"] == pytest.approx(rules + parts["tests.experiments.own:varied"])
  assert {("多少" in record["prompt"]) for record in found} == {True, False}, "both languages"
  assert 0 < runs.by_step(finished)[2]["reward/language"] < 1


def test_the_papers_name_the_stage_and_the_parent(finished, parent):
  record = json.loads((finished / "lineage.json").read_text())
  assert record["stage"] == "reasoning_rl"
  assert list(record["parents"]) == [str(parent)]


@pytest.mark.slow
def test_a_run_killed_between_two_updates_of_a_rollout_repeats_the_rollout(
  finished, parent, patch, tmp_path, capsys
):
  """What of a rollout was not learned is in no checkpoint, and TRL goes on without it.

  The rollout begins an epoch, where others go on with no step at all (verl #5725, #7401).
  """
  folder, check = tmp_path / "killed", iteration.steps.check_finite

  def check_until_killed(values, patience, number, where):
    if number == 3:
      raise runs.Killed
    check(values, patience, number, where)

  with patch.context() as context:
    context.setattr(iteration.steps, "check_finite", check_until_killed)
    with pytest.raises(runs.Killed):
      reasoning_rl.main(config(parent), folder)
  assert list(runs.by_step(folder)) == [0, 1, 2, 3]
  capsys.readouterr()
  reasoning_rl.main(config(parent), folder)
  assert "continuing after rollout 1" in capsys.readouterr().out
  epochs = [r["id"] for r in metrics.read(folder / "samples.jsonl")][::4]
  assert [len(set(epochs[i : i + 4])) for i in (0, 4, 8)] == [4, 4, 4]
  assert runs.steady(folder) == runs.steady(finished)
  assert tiny_run.samples(folder) == tiny_run.samples(finished)


def test_a_stage_that_follows_another_asks_for_its_model(tmp_path, no_compute):
  with pytest.raises(ValueError, match="reasoning_rl starts from Dev1: add model=MODEL"):
    reasoning_rl.main(recipe.get_config("tiny"), tmp_path / "run")
  assert not (tmp_path / "run").exists()
