"""The preference stage whole: opinions, two reward models, lineage; resumed, refused, done once."""

import json
import shutil

import jax
import numpy as np
import pytest

from configs import common
from configs import preference as recipe
from experiments import preference
from r1.data import preferences
from r1.stages import collect, opinions, prefer
from r1.train import lineage, metrics, pretrain, reward_models, workdir
from tests.experiments import runs, tiny_run
from tests.experiments.sft_test import untrained
from tests.rewards import servers
from tests.stages import people

BASE = {name: value for name, value in tiny_run.CHANGES.items() if name.startswith("base.")}
CHANGES = BASE | {
  "base.model.context": 160,
  "base.model.attend": "einsum",
  "runtime.attend": "einsum",
  "data.helpful": 30,
  "data.harmful": 20,
  "data.unseen": 6,
  "data.people": 1,
  "collect.limit": 24,
  "collect.shard": 20,
  "preference.epochs": 1,
  "preference.row_tokens": 160,
  "preference.microbatch_tokens": 1280,
  "preference.eval_every": 2,
  "preference.checkpoint_every": 2,
  "optimizer.warmup": 0,
}


@pytest.fixture(scope="module")
def base(patch, cache):
  """A workdir to sample from, whose answers are written by people."""
  patch.setattr(pretrain, "train", untrained)
  patch.setattr(collect, "draw", people.draw)
  made = runs.changed(recipe.get_config("tiny"), CHANGES)
  folder, _ = pretrain.cached_base(*pretrain.settings(made.base), lambda *_: None)
  return str(folder)


def config(base, **changes):
  return runs.changed(recipe.get_config(f"tiny,model={base}"), CHANGES, **changes)


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "preference"
  preference.main(config(base), folder)
  return folder


def test_the_workdir_holds_opinions_and_two_reward_models(finished, base):
  record = lineage.read(finished)
  assert record["stage"] == "preference"
  assert list(record["parents"]) == [base]
  pairs, _ = preferences.load(finished / "pairs.jsonl")
  _, labels = preferences.load(finished / "labels.jsonl")
  counts = record["counts"]
  assert counts["pairs"]["kept"] == len(pairs)
  judged = counts["pairs"]["kept"] + sum(counts["pairs"]["dropped"].values())
  assert judged == 36 * config(base).data.pairs
  assert counts["labels"] == {"kept": len(labels), "dropped": {}}
  assert len(labels) == 26 * 9
  made = lineage.finished(finished)
  assert made == {
    "helpful": lineage.digest(finished / "helpful"),
    "safety": lineage.digest(finished / "safety"),
    "pairs": preferences.digest(pairs),
    "labels": preferences.digest(labels),
  }
  lineage.parent(finished)


@pytest.mark.parametrize("kind", reward_models.KINDS)
def test_each_is_a_workdir_of_its_own(finished, base, kind):
  folder = finished / kind
  assert workdir.load(folder).cfg.scalar
  assert list(lineage.read(folder)["parents"]) == [base]
  assert json.loads((folder / "reward.json").read_text())["kind"] == kind
  last = [r for r in metrics.read(folder / "metrics.jsonl") if "eval/accuracy_unseen" in r][-1]
  assert {"eval/accuracy", "eval/accuracy_se", "eval/accuracy_unseen"} <= last.keys()


def test_a_second_start_does_nothing_and_says_so(finished, base, capsys):
  before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}
  preference.main(config(base), finished)
  assert "preference is finished, there is nothing to do" in capsys.readouterr().out
  assert before == {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_one_that_was_not(finished, base, patch, tmp_path):
  """While answers are sampled, in the first reward model, and in the second."""
  folder, learn = tmp_path / "killed", prefer.learn
  deaths = iter(["shard", "helpful", "safety", "never"])
  now = next(deaths)

  def draw(model, asked, *rest):
    if now == "shard" and asked[0].kind == "safety":
      raise runs.Killed
    return people.draw(model, asked, *rest)

  def until(state, setup, number):
    if now == setup.kind and number == setup.total:
      raise runs.Killed
    return learn(state, setup, number)

  with patch.context() as context:
    context.setattr(collect, "draw", draw)
    context.setattr(prefer, "learn", until)
    while now != "never":
      with pytest.raises(runs.Killed):
        preference.main(config(base), folder)
      assert lineage.finished(folder) is None
      now = next(deaths)
    preference.main(config(base), folder)
  assert lineage.finished(folder) == lineage.finished(finished)
  for kind in reward_models.KINDS:
    assert runs.steady(folder / kind) == runs.steady(finished / kind)
    one, other = (workdir.load(where / kind).params for where in (folder, finished))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_opinions_of_a_file_take_the_place_of_the_world(finished, base, tmp_path):
  path = tmp_path / "own.jsonl"
  text = "".join((finished / name).read_text() for name in ("pairs.jsonl", "labels.jsonl"))
  path.write_text(text)
  folder = tmp_path / "own"
  preference.main(config(base, data__file=str(path), preference__examples=64), folder)
  assert lineage.read(folder)["data"] == lineage.read(finished)["data"]
  assert not (folder / "answers").exists()


def test_labels_of_one_class_are_refused_before_anything_is_learned(finished, base, tmp_path):
  path = tmp_path / "one.jsonl"
  pairs, labels = (preferences.load(finished / f"{name}.jsonl") for name in ("pairs", "labels"))
  preferences.write(path, [*pairs[0], *(r for r in labels[1] if r.label == "safe")])
  with pytest.raises(ValueError, match=r"one\.jsonl: \d+ answers are safe and 0 unsafe"):
    preference.main(config(base, data__file=str(path)), tmp_path / "run")
  assert not (tmp_path / "run" / "helpful").exists()


def test_another_policy_is_refused_by_its_workdir(finished, base, tmp_path):
  folder = tmp_path / "preference"
  shutil.copytree(finished, folder)
  (folder / "finished.json").unlink()
  record = json.loads((folder / "lineage.json").read_text())
  record["parents"] = {base: "another"}
  (folder / "lineage.json").write_text(json.dumps(record))
  with pytest.raises(ValueError, match="began with parents"):
    preference.main(config(base), folder)


@pytest.mark.parametrize("when", ["sampling", "written"])
def test_opinions_on_another_policy_are_never_gone_on_from(base, patch, tmp_path, when):
  policy, folder, write = tmp_path / "policy", tmp_path / "preference", opinions.write
  shutil.copytree(base, policy)

  def killed(*given):
    if when == "written":
      write(*given)
    raise runs.Killed

  with patch.context() as context:
    context.setattr(*((opinions, "write") if when == "written" else (collect, "draw")), killed)
    with pytest.raises(runs.Killed):
      preference.main(config(policy), folder)
  assert (opinions.read(folder) is not None) == (when == "written")
  lineage.finish(policy, {"model": "another"})
  assert [line.split(" was ")[0] for line in lineage.changed(folder)] == [str(policy)]
  with pytest.raises(ValueError, match=r"began with parents .* it cannot go on from others"):
    preference.main(config(policy), folder)


def test_a_judge_that_is_not_there_is_told_with_what_its_server_says(base, tmp_path, capsys):
  with servers.serving(lambda _: (500, b"out of memory")) as (url, _):
    few = {"data__helpful": 4, "data__unseen": 0, "endpoint__tries": 1}
    made = config(base, endpoint__url=url, **few)
    with pytest.raises(ValueError, match=r"no pair is left of (.|\n)* votes missing"):
      preference.main(made, tmp_path / "run")
  assert "the judge: http" in (said := capsys.readouterr().out)
  assert "HTTP 500: out of memory" in said
  assert opinions.read(tmp_path / "run") is None, "a second start asks again"


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"judge__votes": 3}, "votes=3"),
    ({"rule__noise": -1.0}, "noise=-1.0"),
    ({"data__share": 1.0}, "share=1.0"),
    ({"preference__template": "chat"}, "collect and preference differ in template: short there"),
    ({"optimizer__final": 2.0}, "final=2.0"),
    ({"endpoint__url": "localhost"}, "write it as http"),
  ],
)
def test_what_cannot_work_is_refused_before_any_compute(tmp_path, no_compute, changes, message):
  with pytest.raises(ValueError, match=message):
    preference.main(runs.changed(recipe.get_config("tiny"), CHANGES, **changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_model_without_a_world_needs_opinions(tmp_path):
  with pytest.raises(ValueError, match=r"brings no world of prompts: add model=MODEL,data=FILE"):
    preference.main(recipe.get_config("model=runs/own"), tmp_path / "run")


def test_the_paper_s_numbers():
  """arXiv 2501.12948v2 section 3.1."""
  c = recipe.get_config("paper,model=deepseek-v3,data=pairs.jsonl")
  assert (c.preference.examples, c.preference.epochs, c.preference.row_tokens) == (256, 1, 8192)
  assert c.optimizer.learning_rate == 6e-6
  assert c.optimizer.clip == common.ADAM["clip"]
  assert (c.judge.votes, c.judge.gap) == (4, 1.0)
