"""Configs: what they take, what they hold, and the paper's numbers.

Every setting of a recipe stands in tests/golden/, so that a changed hyper-parameter is a changed
line of a commit. After a change that is meant: `python -m tests.configs_test`, and read the diff.
"""

import importlib
import json
import pathlib
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from configs import common, preference, pretrain, r1_zero
from r1 import schedule
from r1.data import conversations, questions
from r1.model import config as model_config
from r1.stages import reinforce
from r1.train import pretrain as pretraining
from r1.train import run

ROOT = pathlib.Path(__file__).parents[1]
ARGS = {"tiny": "tiny", "paper": "paper", "small": "model=base"}
GOLDEN = [
  (stem, name)
  for stem in ("r1_zero", "sft", "distill", "cold_start", "harvest", "preference")
  for name in ARGS
]
ARGS |= {"peers": "", "preset": "model=qwen2.5-1.5b,cap=2048"}
GOLDEN += [
  (stem, name)
  for stem in ("reasoning_rl", "alignment_rl", "ppo")
  for name in ("tiny", "paper", "small")
]
GOLDEN += [("throughput", name) for name in ("peers", "preset")]


def text(stem, name):
  """One setting a line."""
  recipe = importlib.import_module(f"configs.{stem}")
  flat = run.flatten(recipe.get_config(ARGS[name]).to_dict())
  return "".join(f"{key} = {json.dumps(value)}\n" for key, value in sorted(flat.items()))


def overridden(changes, arg="tiny"):
  config = r1_zero.get_config(arg)
  config.update_from_flattened_dict(changes)
  return config


# What a config holds -----------------------------------------------------------------------------


@pytest.mark.parametrize(("stem", "name"), GOLDEN)
def test_every_setting_of_a_recipe_is_the_one_on_record(stem, name):
  recorded = (ROOT / "tests" / "golden" / f"{stem}_{name}.txt").read_text()
  assert text(stem, name).splitlines() == recorded.splitlines()


def test_the_paper_s_numbers():
  """arXiv 2501.12948v2 sections 2.2 and B.3; what it leaves open is not here."""
  c = r1_zero.get_config("paper")
  assert c.optimizer.learning_rate == 3e-6
  assert c.grpo.kl == 0.001
  assert (c.grpo.clip_low, c.grpo.clip_high) == (10, 10)
  assert c.grpo.kl_estimator == "k3"
  assert {value for _, value in c.rl.temperature} == {1.0}
  assert (c.rl.questions_per_rollout, c.grpo.group, c.batch.minibatches) == (512, 16, 16)
  responses = c.rl.questions_per_rollout * c.grpo.group
  assert (responses, responses // c.batch.minibatches) == (8192, 512)
  assert c.rl.reference_every == 400
  assert c.rl.rollouts * c.batch.minibatches == 10_400
  assert schedule.at(c.rl.limit, 8_199) == 32_768
  assert schedule.at(c.rl.limit, 8_200) == 65_536
  assert c.rl.template == "r1_zero"
  assert (c.reward.accuracy, c.reward.format, c.reward.language) == (1, 1, 0)


@pytest.mark.parametrize("arg", ["tiny", "paper"])
def test_a_recipe_is_accepted_by_the_experiment(arg):
  config = r1_zero.get_config(f"{arg},model=runs/base")
  config.data.questions = "questions.jsonl"
  assert reinforce.read(config).grpo.group == config.grpo.group


def test_a_recipe_without_a_base_of_its_own_asks_for_one():
  with pytest.raises(ValueError, match="neither a base nor questions"):
    reinforce.read(r1_zero.get_config("paper"))


def test_the_base_of_the_tiny_recipe_is_a_model_that_its_answers_fit():
  config = r1_zero.get_config("tiny")
  model, world, opt, cfg = pretraining.settings(config.base)
  made = model_config.ModelConfig(**model, ids=cfg.vocabulary)
  assert cfg.vocabulary <= made.V
  assert max(limit for _, limit in config.rl.limit) < made.context
  assert opt.steps == cfg.steps
  assert 0 < world.test_share < 1


ASKED = ("r1_zero", "ppo", "cold_start", "reasoning_rl", "harvest", "alignment_rl")


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_all_recipes_of_a_chain_hold_out_the_same_questions(size):
  get = lambda stem: importlib.import_module(f"configs.{stem}").get_config(ARGS[size])
  assert len({get(stem).data.share for stem in ASKED}) == 1


@pytest.mark.parametrize("size", ["small", "paper"])
def test_what_is_learned_from_answers_to_a_file_was_never_held_out(size):
  """From one file of questions: RL, harvest and cold start ask, SFT and the students imitate."""
  get = lambda stem: importlib.import_module(f"configs.{stem}").get_config(ARGS[size])
  file = [questions.Question(id=str(i), prompt=f"{i} + 1 ?", answer="1") for i in range(5_000)]
  held = {q.prompt for q in questions.hold_out(file, get("alignment_rl").data.share)[1]}
  for stem in ASKED:
    asked, _ = questions.hold_out(file, get(stem).data.share)
    assert not {q.prompt for q in asked} & held, stem
  say = lambda role, text: conversations.Message(role, text)
  answered = lambda given: [
    conversations.Conversation(messages=(say("user", q.prompt), say("assistant", "1")), origin="")
    for q in given
  ]
  shares = (get("sft").data.share, get("distill").data.share, get("cold_start").share)
  assert len(set(shares)) == 1
  learned, _ = conversations.hold_out(answered(file), shares[0])
  assert not {c.prompt for c in learned} & held, "as many as the questions at least"
  asked, _ = questions.hold_out(file, get("harvest").data.share)
  _, looked_at = conversations.hold_out(answered(asked), shares[0])
  assert len(looked_at) >= 10, "and more, or a harvest would have none"


@pytest.mark.parametrize("size", ["small", "paper"])
def test_a_judge_that_votes_is_asked_at_a_temperature(size):
  """At 0 its two votes in one order would be the same."""
  config = preference.get_config(ARGS[size])
  assert config.judge.votes > 2
  assert config.endpoint.temperature > 0


def test_settings_after_the_colon_reach_their_place():
  config = r1_zero.get_config("tiny,seed=3,language=0.3,model=runs/base")
  assert config.model == "runs/base"
  assert config.reward.language == 0.3
  assert config.base.pretrain.seed == 3
  assert config.rl.seed != r1_zero.get_config("tiny").rl.seed
  steps = pretrain.get_config("steps=777")
  assert steps.pretrain.steps == 777
  assert pretraining.settings(steps)[2].steps == 777


# The settings after the colon --------------------------------------------------------------------


def test_settings_are_typed_like_their_defaults():
  a = common.parse("tiny,share=0.5,count=3,name=x=y", tiny=False, share=0.0, count=1, name="")
  assert a.to_dict() == {"tiny": True, "share": 0.5, "count": 3, "name": "x=y"}
  assert common.parse(None, tiny=False).tiny is False
  assert common.parse("tiny=false", tiny=True).tiny is False


@pytest.mark.parametrize(
  ("arg", "message"),
  [
    ("tiny,sed=1", "unknown setting 'sed'; this config takes"),
    ("huge", "unknown setting 'huge'"),
    ("tiny,seed=one", "seed='one': wanted a int"),
    ("tiny=maybe", "tiny='maybe': wanted true or false"),
    ("tiny,seed", "seed='true': wanted a int"),
    ("", r"choose one of configs/r1_zero\.py:tiny, "),
    ("tiny,paper", "choose one of"),
  ],
)
def test_a_wrong_setting_is_refused_by_name(arg, message):
  with pytest.raises(ValueError, match=message):
    r1_zero.get_config(arg)


# ml_collections loads the file in a way that Python 3.12 drops.
loads_a_file = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def from_command_line(monkeypatch, *overrides):
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", flag_values=values)
  command = ["prog", f"--config={ROOT}/configs/r1_zero.py:tiny", *overrides]
  monkeypatch.setattr(sys, "argv", command)  # where the overrides are looked for
  values(command)
  return holder.value


@loads_a_file
def test_overrides_on_the_command_line_reach_tuples_and_numbers(monkeypatch):
  config = from_command_line(
    monkeypatch,
    "--config.grpo.group=4",
    "--config.rl.limit=((0, 24), (8, 48))",
    "--config.reward.own=(('tests.experiments.own:short', 0.5),)",
    "--config.grpo.kl=0",
  )
  assert config.grpo.group == 4
  assert config.rl.limit == ((0, 24), (8, 48))
  assert config.reward.own == (("tests.experiments.own:short", 0.5),)
  assert config.grpo.kl == 0.0


@loads_a_file
@pytest.mark.parametrize(
  ("override", "message"),
  [
    ("--config.grpo.beta=1", "beta"),
    ("--config.grop.kl=1", "grop"),
    ("--config.grpo.group=four", "four"),
  ],
)
def test_an_unknown_setting_or_a_wrong_type_on_the_command_line_is_refused(
  monkeypatch, override, message
):
  with pytest.raises((flags.Error, AttributeError, KeyError), match=message):
    from_command_line(monkeypatch, override)


# The experiment's own refusals -------------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"grpo.group": 1}, "group=1: a group of one has no baseline"),
    ({"batch.minibatches": 7}, "do not divide into minibatches=7"),
    ({"batch.microbatch_tokens": 100}, "microbatch_tokens=100 must be a multiple"),
    ({"runtime.attend": "splash"}, "share_prompts=True with attend='splash'"),
    ({"rl.top_p": 0.9}, "top_p=0.9"),
    ({"rl.top_k": -1}, "top_k=-1"),
    ({"sampler.draft": "eagle"}, "draft='eagle': choose one of"),
    ({"sampler.draft_tokens": 0}, "draft_tokens=0 and ngram=3 must be >= 1"),
    ({"grpo.ratio": "magic"}, "ratio='magic': choose one of"),
    ({"grpo.max_tokens": 1}, "max_tokens=1 is below the limit"),
    ({"reward.own": (("no.such.module:f", 1.0),)}, "cannot import 'no.such.module'"),
    ({"reward.own": (("json:nothing", 1.0),)}, "has no function 'nothing'"),
    ({"reward.mode": "magic"}, "magic"),
  ],
)
def test_settings_that_do_not_fit_are_refused_before_any_compute(changes, message):
  with pytest.raises(ValueError, match=message):
    reinforce.read(overridden(changes))


def test_a_kernel_without_shared_prompts_is_accepted_where_none_are_shared():
  changes = {"runtime.attend": "splash", "batch.share_prompts": False}
  assert not reinforce.read(overridden(changes)).batch.share_prompts


def test_a_key_that_the_library_does_not_know_is_refused():
  config = r1_zero.get_config("tiny")
  with config.unlocked():
    config.grpo.beta = 0.1
  with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
    reinforce.read(config)


def test_a_key_that_is_missing_is_refused():
  config = r1_zero.get_config("tiny")
  with config.unlocked():
    del config.grpo.kl
  with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'kl'"):
    reinforce.read(config)


# Sweeps ----------------------------------------------------------------------------------------


SWEEPS = [
  (path.stem, changes)
  for path in sorted((ROOT / "configs").glob("*.py"))
  for changes in getattr(importlib.import_module(f"configs.{path.stem}"), "sweep", tuple)()
]


def test_there_is_a_sweep():
  assert len(SWEEPS) >= 5


@pytest.mark.parametrize(("stem", "changes"), SWEEPS, ids=str)
def test_every_entry_of_a_sweep_changes_settings_that_there_are(stem, changes):
  config = importlib.import_module(f"configs.{stem}").get_config("tiny")
  before = run.flatten(config.to_dict())
  assert changes.keys() <= before.keys()
  config.update_from_flattened_dict(changes)
  after = run.flatten(config.to_dict())
  for name, value in changes.items():
    assert after[name] != before[name], f"{name}={value} is what it was"


@pytest.mark.parametrize("changes", list(r1_zero.sweep()), ids=str)
def test_every_entry_of_the_sweep_is_accepted_by_the_experiment(changes):
  tiny, stage = r1_zero.get_config("tiny"), reinforce.read(overridden(changes))
  samples = stage.rl.questions_per_rollout * stage.grpo.group
  assert samples == tiny.rl.questions_per_rollout * tiny.grpo.group, "at one cost"


if __name__ == "__main__":
  for stem, name in GOLDEN:
    (ROOT / "tests" / "golden" / f"{stem}_{name}.txt").write_text(text(stem, name))


@pytest.mark.parametrize("seed", range(3))
def test_the_stages_that_collect_index_the_questions_that_the_pipeline_asks(seed):
  stages = importlib.import_module("configs.pipeline").get_config(f"tiny,seed={seed}").stages
  asked = {
    str(importlib.import_module("configs.evaluate").get_config(argument.split(",model=")[0]).suite)
    for _, experiment, argument, _ in stages
    if experiment == "evaluate"
  }
  for stem in ("cold_start", "harvest"):
    recipe = importlib.import_module(f"configs.{stem}").get_config(f"tiny,seed={seed}")
    assert asked == {str(recipe.suite)}
