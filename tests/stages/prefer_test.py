"""A reward model learns what is preferred, goes on where it was killed, and leaves a workdir."""

import json
import types

import jax
import numpy as np
import pytest
import rich.console

from configs import preference as recipe
from r1.data import preferences
from r1.model.hf import config as hf_config
from r1.stages import imitate, prefer
from r1.train import lineage, metrics, preference, reward_models, workdir
from tests.experiments import runs
from tests.train import tiny

CHANGES = {
  "preference.row_tokens": 32,
  "preference.microbatch_tokens": 256,
  "preference.examples": 8,
  "preference.epochs": 6,
  "preference.eval_every": 10,
  "preference.checkpoint_every": 10,
  "preference.score_tokens": 512,
  "optimizer.learning_rate": 1e-2,
  "optimizer.warmup": 0,
}
MODEL = tiny.model(attend="einsum", qkv_bias=False, qk_norm=True)
AT = imitate.Session(None, None, rich.console.Console(quiet=True))


def pairs(count, seed):
  """The chosen answer says yes, whatever else it says."""
  rng = np.random.default_rng(seed)
  words = lambda: " ".join(str(n) for n in rng.integers(10, 99, 3))
  return [
    preferences.Pair(
      id=f"{seed}/{i}",
      prompt=f"{words()} ?",
      chosen=f"<think>no {words()}</think>yes {words()}",
      rejected=f"<think>yes {words()}</think>no {words()}",
      unseen=i % 4 == 0,
    )
    for i in range(count)
  ]


def labels(count, seed):
  """Safe is what neither thinks nor says no."""
  return [
    preferences.Labelled(
      id=p.id,
      prompt=p.prompt,
      response=p.chosen.replace("no", "yes") if i % 2 else p.chosen,
      label="safe" if i % 2 else "unsafe",
    )
    for i, p in enumerate(pairs(count, seed))
  ]


MAKERS = {"helpful": pairs, "safety": labels}


def make(kind, folder, **changes):
  made = runs.changed(recipe.get_config("tiny"), CHANGES, **changes)
  cfg = preference.PreferenceConfig(**made.preference)
  task = prefer.Task(kind=kind, train=MAKERS[kind](40, 0), held=MAKERS[kind](30, 1))
  model = MODEL
  policy = workdir.Model(model, tiny.tokenizer(), tiny.params(model))
  folder.parent.mkdir(exist_ok=True)
  prefer.make(task, made, cfg, policy, {"runs/dev3": "digest"}, folder, AT)
  return folder


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory):
  """The workdirs of both kinds by name."""
  root = tmp_path_factory.mktemp("runs") / "preference"
  return {kind: make(kind, root / kind) for kind in MAKERS}


@pytest.mark.parametrize("kind", MAKERS)
def test_it_is_right_on_what_it_has_not_seen(trained, kind):
  looks = [r for r in metrics.read(trained[kind] / "metrics.jsonl") if "eval/accuracy" in r]
  assert [r["step"] for r in looks] == [0, 10, 20, 30]
  assert looks[0]["eval/accuracy"] == 0.5
  assert looks[-1]["eval/accuracy"] > 0.9
  assert ("eval/accuracy_unseen" in looks[-1]) == (kind == "helpful")


@pytest.mark.parametrize("kind", MAKERS)
def test_every_update_is_logged_and_the_first_costs_log_two(trained, kind):
  updates = [r for r in metrics.read(trained[kind] / "metrics.jsonl") if "reward_model/loss" in r]
  assert [r["step"] for r in updates] == list(range(1, 31))
  assert updates[0]["reward_model/loss"] == pytest.approx(np.log(2), abs=1e-5)
  assert updates[-1]["reward_model/loss"] < 0.5


def test_the_workdir_is_a_finished_model_with_a_scalar_head(trained):
  folder = trained["helpful"]
  model = workdir.load(folder)
  assert model.cfg.scalar
  record = lineage.read(folder)
  assert record["stage"] == "helpful_reward_model"
  assert record["parents"] == {"runs/dev3": "digest"}
  assert record["counts"]["train"] == {"kept": 40, "dropped": {}}
  assert lineage.finished(folder)["model"] == lineage.digest_of_arrays(model.params)
  raw = hf_config.read(folder / "hf")
  assert raw["architectures"] == ["Qwen3ForSequenceClassification"]
  assert "AutoModelForSequenceClassification" in (folder / "hf" / "README.md").read_text()
  head = json.loads((folder / "reward.json").read_text())
  assert head["kind"] == "helpful"
  assert head["std"] > 0


def test_the_exported_model_scores_what_the_workdir_does(trained):
  given = {
    "policy": "runs/dev3",
    "tokenizer": tiny.tokenizer(),
    "template": "short",
    "cfg": MODEL,
    "runtime": {n: tiny.MODEL[n] for n in ("dtype", "attend", "remat", "rules")}
    | {"attention_block": 16, "logit_chunk": 64},
    "dtype": "float32",
    "tokens": 256,
    "say": lambda _: None,
  }
  asked = [types.SimpleNamespace(prompt=pair.prompt) for pair in pairs(5, 2)]
  said = [types.SimpleNamespace(text=pair.chosen) for pair in pairs(5, 2)]
  folder = trained["safety"]
  ours = reward_models.load(folder.parent, "safety", **given)(asked, said)
  theirs = reward_models.load(folder / "hf", "safety", **given)(asked, said)
  np.testing.assert_allclose([s.value for s in ours], [s.value for s in theirs], rtol=1e-5)


def test_a_finished_one_is_left_alone(trained):
  before = (trained["helpful"] / "metrics.jsonl").read_bytes()
  make("helpful", trained["helpful"])
  assert (trained["helpful"] / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_killed_one_continues_as_if_nothing_had_been(trained, patch, tmp_path):
  folder, save = tmp_path / "killed" / "helpful", imitate.save

  def until(checkpointer, state, number, **rest):
    if number == 20:
      raise runs.Killed
    save(checkpointer, state, number, **rest)

  with patch.context() as context:
    context.setattr(imitate, "save", until)
    with pytest.raises(runs.Killed):
      make("helpful", folder)
  assert lineage.finished(folder) is None
  make("helpful", folder)
  assert runs.steady(folder) == runs.steady(trained["helpful"])
  assert lineage.finished(folder)["model"] == lineage.finished(trained["helpful"])["model"]


@pytest.mark.slow
def test_adapters_train_beside_the_head(trained, tmp_path):
  folder = make("helpful", tmp_path / "lora" / "helpful", lora__rank=2, preference__epochs=1)
  model = workdir.load(folder)
  assert model.cfg.lora is not None
  assert np.abs(model.params["scalar_D"]).max() > 0
  plain = tiny.params(MODEL)
  jax.tree.map(np.testing.assert_array_equal, model.params["dense"], plain["dense"])


def test_rows_too_short_for_everything_are_refused(tmp_path):
  with pytest.raises(ValueError, match="none of 40 items of helpful fits row_tokens"):
    make("helpful", tmp_path / "short", preference__row_tokens=8, preference__microbatch_tokens=16)
