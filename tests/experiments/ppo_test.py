"""PPO from base to report in seconds: it repeats, it resumes, it refuses what cannot work."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from configs import ppo as recipe
from experiments import ppo
from r1.model import transformer
from r1.train import checkpoint, metrics, optimizer, state, workdir
from tests.experiments import runs, tiny_ppo, tiny_run

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
  """The workdir of a run of three rollouts that nothing disturbed."""
  return tiny_ppo.start(tiny_ppo.config(), tmp_path_factory.mktemp("runs") / "ppo")


def test_every_update_is_logged_once_with_both_models(finished):
  found = metrics.read(finished / "metrics.jsonl")
  assert [r["step"] for r in found if "eval/greedy" in r] == [0, 6]
  assert [r["step"] for r in found if "reward/total" in r] == [2, 4, 6]
  updates = [r for r in found if "policy/loss" in r]
  assert [r["step"] for r in updates] == [1, 2, 3, 4, 5, 6]
  for record in updates:
    assert math.isfinite(record["policy/loss"])
    assert record["policy/grad_norm"] > 0
    assert record["value/grad_norm"] > 0
    assert record["value/loss"] > 0
    assert record["policy/skipped"] == record["value/skipped"] == 0
  names = {"value/explained_variance", "policy/kl", "reward/kl", "group/informative"}
  assert names <= runs.by_step(finished)[2].keys()


def test_the_first_update_of_a_rollout_has_ratio_1_and_clips_nothing(finished):
  found = runs.by_step(finished)
  for step in (1, 3, 5):
    assert found[step]["policy/ratio_gap"] < 1e-5
    assert found[step]["policy/clip_fraction"] == 0
    assert found[step]["value/moved"] < 1e-5, "the values are the trainer's own"
    assert found[step + 1]["policy/ratio_gap"] > 1e-5
    assert found[step + 1]["value/moved"] > 1e-5


def test_the_critic_begins_at_0_and_learns(finished):
  found = runs.by_step(finished)
  assert found[1]["value/mean"] == 0
  assert found[2]["value/explained_variance"] == 0
  assert found[2]["reward/kl"] == 0, "the policy is its reference"
  assert found[5]["value/mean"] > 0
  assert found[5]["value/loss"] < found[1]["value/loss"]


def test_the_same_seed_gives_the_same_bits(finished, tmp_path):
  again = tiny_ppo.start(tiny_ppo.config(), tmp_path / "again")
  assert runs.steady(again) == runs.steady(finished)
  assert tiny_run.samples(again) == tiny_run.samples(finished)


def value_state(folder, step):
  """The value model and its moments in a checkpoint."""
  adam = tiny_ppo.config().to_dict()["value_optimizer"]
  specs = transformer.specs(dataclasses.replace(workdir.load(folder).cfg, scalar=True))
  tx = optimizer.make(optimizer.OptimizerConfig(**adam, steps=6), specs)
  like = state.init(state.initial_params(jax.random.key(0), specs, None, None), tx)
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  return checkpoint.restore(checkpointer, step, {"value": like})["value"]


@pytest.mark.slow
def test_a_killed_run_continues_as_if_nothing_had_been(finished, patch, tmp_path, capsys):
  """Policy, value model and their moments: everything comes again bit for bit."""
  folder = runs.kill_rl(patch, ppo, tiny_ppo.config(), tmp_path / "killed", at=2)
  assert list(runs.by_step(folder)) == [0, 1, 2, 3, 4]
  tiny_ppo.start(tiny_ppo.config(), folder)
  assert "continuing after rollout 1" in capsys.readouterr().out
  assert runs.steady(folder) == runs.steady(finished)
  assert tiny_run.samples(folder) == tiny_run.samples(finished)
  found, wanted = value_state(folder, 6), value_state(finished, 6)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)
  assert int(found.step) == 6
  assert np.asarray(found.params["scalar_D"]).any()


def test_the_workdir_is_the_policy_and_the_next_stage_can_take_it(finished):
  assert not workdir.load(finished).cfg.scalar
  lineage = json.loads((finished / "lineage.json").read_text())
  assert lineage["stage"] == "ppo"
  assert lineage["data"].keys() == {"train", "held_out"}


@pytest.mark.slow
def test_its_first_rollout_is_r1_zero_s_token_for_token(finished, tmp_path):
  """One comparison: the same base, questions, answers and rewards, until the first update."""
  zero = tiny_run.start(tiny_run.config(rl__rollouts=1), tmp_path / "zero")
  kept = ("id", "sample", "prompt", "response", "tokens", "reward", "parts", "verdict")
  first = lambda folder: [
    {name: r[name] for name in kept}
    for r in metrics.read(folder / "samples.jsonl")
    if r["step"] == 2
  ]
  assert first(finished) == first(zero)
  assert runs.by_step(finished)[0] == runs.by_step(zero)[0], "the base's evaluation"


# Refusals ----------------------------------------------------------------------------------------


def test_a_reward_model_is_no_policy(finished, tmp_path):
  """It has a scalar head, so it draws no tokens."""
  folder = tmp_path / "reward"
  model = workdir.load(finished)
  workdir.describe(folder, dataclasses.replace(model.cfg, scalar=True), model.tokenizer)
  params = dict(model.params) | {"scalar_D": np.zeros(model.cfg.D, np.float32)}
  checkpointer = checkpoint.open_folder(folder / "checkpoints", keep=1)
  checkpoint.save(checkpointer, 0, {"params": params}, score=0.0)
  checkpointer.close()
  with pytest.raises(ValueError, match=r"scalar head \(a reward or value model\)"):
    tiny_ppo.start(tiny_ppo.config(model=str(folder)), tmp_path / "run")


def test_a_lambda_that_is_none_is_refused_before_any_compute(no_compute, tmp_path):
  with pytest.raises(ValueError, match=r"lam=2\.0: wanted a number from 0 to 1"):
    ppo.main(recipe.get_config("tiny,lam=2"), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_another_lambda_is_another_run(finished):
  with pytest.raises(ValueError, match=r"ppo.lam: 1.0 there, 0.5 now"):
    tiny_ppo.start(tiny_ppo.config(ppo__lam=0.5), finished)
