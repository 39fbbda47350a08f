"""One rollout of a stage, with counted programs in place of the device's."""

import dataclasses
import json
import math

import numpy as np
import pytest

from configs import r1_zero
from r1.algorithms import advantages
from r1.stages import iteration, questions, reinforce
from tests.experiments import runs
from tests.stages import fakes

SMALL = {
  "rl.questions_per_rollout": 4,
  "rl.rollouts": 9,
  "rl.limit": ((0, 9), (8, 7)),
  "rl.temperature": ((0, 1.0), (12, 0.7)),
  "rl.reference_every": 8,
  "grpo.group": 4,
  "batch.minibatches": 4,
}


@pytest.fixture
def made(monkeypatch, tmp_path):
  """(setup, run, what was seen) of rollouts of 4 x 4 answers and 4 updates."""
  seen = fakes.watch(monkeypatch)
  stage = reinforce.read(runs.changed(r1_zero.get_config("tiny"), SMALL))
  asked = questions.Questions(fakes.maths(8), 0, [], {}, {})
  return fakes.setup(stage, asked, seen, tmp_path), fakes.run(), seen


def once(setup, run, number):
  chosen = iteration.ask(setup, number)
  played = iteration.sample(run, chosen, setup, number)
  scored = iteration.score(run, played, setup, number)
  run, learned = iteration.learn(run, scored, setup, number)
  run = iteration.advance(run, played, setup, number)
  return run, scored, iteration.note(played, scored, learned, setup, number)


def test_advantages_are_of_whole_groups_and_come_before_the_shuffle_into_minibatches(made):
  """R1 shuffles 8,192 answers of 512 groups over 16 minibatches; here 16 of 4.

  After the shuffle a group's answers lie in different minibatches, where no baseline is theirs.
  """
  setup, run, seen = made
  _, scored, _ = once(setup, run, 0)
  split = [i for batch in seen.updates for i in batch.question_B]
  assert sorted(split) == sorted(np.repeat(range(4), 4))
  assert any(len(set(batch.question_B)) > 1 for batch in seen.updates), "shuffled"
  reward_QG = np.reshape(scored.rewards.total, (4, 4))
  want_QG = advantages.group_advantages(reward_QG, np.ones((4, 4), bool), setup.stage.grpo)
  assert np.any(want_QG)
  got = {}
  for batch in seen.updates:
    for s, value in zip(batch.samples, batch.advantage_B, strict=True):
      got[s.question.id, s.number] = value
  asked = [s.question.id for s in scored.samples[::4]]
  for q, name in enumerate(asked):
    for g in range(4):
      assert got[name, g] == want_QG[q, g]


def test_rewards_are_added_before_they_are_normalised(made):
  """A part that is the same for all, here the format, then takes nothing from the others.

  Normalised one by one, parts of any size would count alike (NeMo-RL #4158 has the discussion).
  """
  setup, run, _ = made
  reward = dataclasses.replace(
    setup.stage.reward, format=50.0, own=(("tests.experiments.own:varied", 4.0),)
  )
  setup = dataclasses.replace(setup, stage=dataclasses.replace(setup.stage, reward=reward))
  _, scored, _ = once(setup, run, 0)
  parts = {name: np.reshape(x, (4, 4)) for name, x in scored.rewards.parts.items()}
  assert not parts["format"].any()
  right_QG, varied_QG = parts["accuracy"], parts["tests.experiments.own:varied"]

  def normal(x_QG):
    spread_Q1 = x_QG.std(axis=1, keepdims=True)
    return (x_QG - x_QG.mean(axis=1, keepdims=True)) / np.where(spread_Q1 > 0, spread_Q1, 1)

  got_QG = np.reshape(scored.advantage_B, (4, 4))
  np.testing.assert_allclose(got_QG, normal(right_QG + 4 * varied_QG), atol=1e-4)
  assert np.abs(got_QG - normal(normal(right_QG) + normal(varied_QG))).max() > 0.1


@pytest.mark.parametrize("policy", ["keep", "zero", "mask"])
def test_a_truncated_answer_keeps_its_reward_or_gets_0_or_is_masked_and_the_baseline_follows(
  monkeypatch, tmp_path, policy
):
  """Sample 1 of each group is cut; masked, it is in no baseline and has no weight in the loss."""
  seen = fakes.watch(monkeypatch, cut=lambda request: request.sample == 1)
  stage = reinforce.read(runs.changed(r1_zero.get_config("tiny"), SMALL))
  stage = dataclasses.replace(stage, grpo=dataclasses.replace(stage.grpo, truncated=policy))
  asked = questions.Questions(fakes.maths(8), 0, [], {}, {})
  _, scored, _ = once(fakes.setup(stage, asked, seen, tmp_path), fakes.run(), 0)
  reward_QG = np.reshape(scored.rewards.total, (4, 4))
  assert reward_QG[:, 1].any(), "the graders judge it all the same"
  counted_QG, got_QG = (np.reshape(x, (4, 4)) for x in (scored.counted_B, scored.advantage_B))
  if policy == "zero":
    reward_QG = np.where(np.arange(4) == 1, 0, reward_QG)
  for q in range(4):
    kept = [0, 2, 3] if policy == "mask" else [0, 1, 2, 3]
    mean, std = reward_QG[q, kept].mean(), reward_QG[q, kept].std()
    want = (reward_QG[q, kept] - mean) / (std or 1)
    np.testing.assert_allclose(got_QG[q, kept], want, atol=1e-4)
  if policy == "mask":
    assert not got_QG[:, 1].any()
    assert not counted_QG[:, 1].any()
  weights = {}
  for batch in seen.updates:
    for s, weight in zip(batch.samples, batch.weight_B, strict=True):
      weights.setdefault(s.number, []).append(weight)
  assert all(
    bool(weight) == (number != 1 or policy != "mask")
    for number in range(4)
    for weight in weights[number]
  )


def test_old_log_probabilities_are_of_the_weights_that_sampled_whatever_the_minibatch(made):
  """Recomputed for each update, every ratio would be 1 and nothing clipped."""
  setup, run, seen = made
  run, _, _ = once(setup, run, 0)
  run, _, _ = once(setup, run, 1)
  assert len(seen.updates) == 8
  assert [entry["scored_by"] for entry in seen.rollouts] == [(0, 0), (4, 0)], "policy, reference"


def test_settings_change_where_their_rollout_begins(made):
  """Four updates a rollout: update 8 begins rollout 2, and update 12 rollout 3."""
  setup, run, seen = made
  for number in range(4):
    run, _, _ = once(setup, run, number)
  assert [entry["limit"] for entry in seen.rollouts] == [{9}, {9}, {7}, {7}]
  assert [entry["temperature"] for entry in seen.rollouts] == [1.0, 1.0, 1.0, 0.7]
  assert [entry["scored_at"][0] for entry in seen.rollouts] == [1.0, 1.0, 1.0, 0.7]
  assert seen.heat[11:13] == [{1.0}, {0.7}]


def test_the_reference_is_the_policy_of_the_last_refresh(made):
  setup, run, _ = made
  ages = []
  for number in range(5):
    run, _, _ = once(setup, run, number)
    ages.append(int(run.ref["w"]))
  assert ages == [0, 8, 8, 16, 16]
  assert run.rollouts == 5


def test_a_rollout_without_a_whole_group_has_no_update_and_is_told(made):
  setup, run, seen = made
  played = iteration.sample(run, [], setup, 0)
  scored = iteration.score(run, played, setup, 0)
  assert scored is None
  after, learned = iteration.learn(run, scored, setup, 0)
  assert (after, learned.updates, seen.updates) == (run, [], [])
  values = iteration.note(played, scored, learned, setup, 0)
  assert values.keys() == {"time/sample_s", "time/reward_s", "canary/accepted", "canary/tried"}


def test_updates_are_logged_before_their_rollout_and_samples_with_their_parts(made):
  setup, run, _ = made
  _, scored, values = once(setup, run, 0)
  lines = [json.loads(x) for x in (setup.folder / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines] == [1, 2, 3, 4, 4]
  assert "policy/loss" in lines[3]
  assert "reward/total" in lines[4]
  assert values.keys() >= lines[4].keys() - {"step"}
  samples = (setup.folder / "samples.jsonl").read_text().splitlines()
  assert len(samples) == len(scored.samples) == 16
  assert math.isclose(values["reward/total"], np.mean(scored.rewards.total))
