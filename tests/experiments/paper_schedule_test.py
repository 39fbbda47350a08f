"""The paper's schedules, followed to the update: whole stages with a clock in place of a model.

Every update of a stage's own loop is made, with the recipe of its `:paper` and fewer questions and
answers to a rollout. What was in force at each is read off what the loop handed on: to the sampler,
to the rewards, to the scoring of old and reference policy, and to the update.
"""

import pytest

from configs import alignment_rl as alignment_recipe
from configs import r1_zero as zero_recipe
from configs import reasoning_rl as reasoning_recipe
from experiments import alignment_rl, r1_zero, reasoning_rl
from r1.stages import questions, reinforce
from tests.stages import fakes

UPDATES = 16  # of a rollout
SIZES = {"rl.questions_per_rollout": 16, "grpo.group": 2}  # of 512 and 16
RULES = {"accuracy", "format", "language"}


def follow(patch, folder, experiment, recipe, arg="paper,model=runs/parent", **changes):
  """[what was in force] of each update of a stage."""
  config = recipe.get_config(arg)
  config.data.questions = "questions.jsonl"
  config.update_from_flattened_dict(SIZES | {k.replace("__", "."): v for k, v in changes.items()})
  seen = fakes.watch(patch)
  train = fakes.maths(64) + fakes.maths(20, kind="helpful") + fakes.maths(20, kind="safety")
  asked = questions.Questions(train, 40, [], {}, {})
  setup = fakes.setup(reinforce.read(config), asked, seen, folder)
  experiment.train(setup, fakes.run())
  assert len(seen.updates) == len(seen.rollouts) * UPDATES
  return [
    seen.rollouts[u // UPDATES] | {"update_temperature": seen.heat[u]}
    for u in range(len(seen.updates))
  ]


def changes_of(found, name) -> dict:
  """{update: value} wherever a value is not that of the update before."""
  values = [entry[name] for entry in found]
  starts = [u for u in range(len(values)) if not u or values[u] != values[u - 1]]
  return {u: values[u] for u in starts}


def test_alignment_rl_follows_the_paper_for_1700_updates(monkeypatch, tmp_path):
  """1,696 of them, which are 106 whole rollouts: general prompts in the last 400 and not before."""
  arg = "paper,model=runs/dev3,rewards=runs/preference"
  found = follow(monkeypatch, tmp_path, alignment_rl, alignment_recipe, arg)
  assert len(found) == 1_696
  assert changes_of(found, "temperature") == {0: 0.7}
  assert changes_of(found, "scored_at") == {0: (0.7, 0.7)}
  assert changes_of(found, "update_temperature") == {0: {0.7}}
  assert changes_of(found, "limit") == {0: {32_768}}
  assert changes_of(found, "general") == {0: 0, 1_296: 16}, "answers of 32"
  assert changes_of(found, "weights") == {
    0: {"accuracy": 1, "format": 1, "language": 1},
    1_296: {"accuracy": 1, "format": 1, "language": 1, "helpful": 1, "safety": 1},
  }
  for u, entry in enumerate(found):
    kinds = entry["parts"].keys() - {"maths"}
    assert entry["parts"]["maths"] == RULES, u
    assert bool(kinds) == (u >= 1_296), u
    assert all(entry["parts"][kind] == {kind, "format", "language"} for kind in kinds), u
  assert {kind for entry in found for kind in entry["parts"]} == {"maths", "helpful", "safety"}
  assert changes_of(found, "reference") == {0: 0, 400: 400, 800: 800, 1_200: 1_200, 1_600: 1_600}
  assert changes_of(found, "policy") == {u: u for u in range(0, 1_696, UPDATES)}


def test_reasoning_rl_follows_the_paper_for_1700_updates(monkeypatch, tmp_path):
  found = follow(monkeypatch, tmp_path, reasoning_rl, reasoning_recipe, rl__rollouts=107)
  assert len(found) == 1_712
  assert changes_of(found, "temperature") == {0: 1.0}
  assert changes_of(found, "scored_at") == {0: (1.0, 1.0)}
  assert changes_of(found, "update_temperature") == {0: {1.0}}
  assert changes_of(found, "limit") == {0: {32_768}}
  assert changes_of(found, "general") == {0: 0}
  assert changes_of(found, "weights") == {0: {"accuracy": 1, "format": 1, "language": 1}}
  assert changes_of(found, "parts") == {0: {"maths": RULES}}
  assert changes_of(found, "reference") == {0: 0, 400: 400, 800: 800, 1_200: 1_200, 1_600: 1_600}
  assert changes_of(found, "policy") == {u: u for u in range(0, 1_712, UPDATES)}


@pytest.mark.slow
def test_r1_zero_follows_the_paper_for_10400_updates(monkeypatch, tmp_path):
  """Update 8,200 is within a rollout, so the longer answers begin with the next, at 8,208."""
  found = follow(monkeypatch, tmp_path, r1_zero, zero_recipe)
  assert len(found) == 10_400
  assert changes_of(found, "limit") == {0: {32_768}, 8_208: {65_536}}
  assert changes_of(found, "temperature") == {0: 1.0}
  assert changes_of(found, "general") == {0: 0}
  assert changes_of(found, "weights") == {0: {"accuracy": 1, "format": 1}}
  assert changes_of(found, "reference") == {u: u for u in range(0, 10_400, 400)}
