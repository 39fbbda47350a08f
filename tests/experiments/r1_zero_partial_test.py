"""R1-Zero with partial rollouts: nothing is lost, nothing is drawn otherwise, and it resumes."""

import jax
import numpy as np
import pytest

from experiments import r1_zero
from r1.train import checkpoint, metrics
from tests.experiments import runs, tiny_run

pytestmark = pytest.mark.usefixtures("cache")

BUDGET = {"rl__partial_tokens": 9, "rl__rollouts": 4}  # of 24: an answer takes three rollouts


def config(**changes):
  return tiny_run.config(**{"grpo__sampler_cap": 2.0} | changes)


@pytest.fixture(scope="module")
def carried(cache, tmp_path_factory):
  """The workdir of a run whose answers go on, which nothing disturbed."""
  return tiny_run.start(config(**BUDGET), tmp_path_factory.mktemp("runs") / "carried")


def drawn(folder):
  """{(question, sample): what was drawn}; every question is asked once in these runs."""
  found = metrics.read(folder / "samples.jsonl")
  made = {(r["id"], r["sample"]): (r["response"], r["tokens"], r["truncated"]) for r in found}
  assert len(made) == len(found)
  return made


def steady(folder):
  """Metrics without clocks, and without what only partial rollouts tell."""
  return [
    {name: x for name, x in record.items() if not name.startswith("partial/")}
    for record in runs.steady(folder)
  ]


@pytest.mark.slow
def test_a_budget_that_no_answer_reaches_changes_nothing(cache, tmp_path):
  """Asynchronous with staleness 0 must equal synchronous; verl's did not (#6780)."""
  off = tiny_run.start(config(), tmp_path / "off")
  on = tiny_run.start(config(rl__partial_tokens=24), tmp_path / "on")
  assert steady(on) == steady(off)
  assert tiny_run.samples(on) == tiny_run.samples(off)
  assert not any("partial/carried" in record for record in runs.steady(off))
  last = runs.by_step(on)[6]
  assert (last["partial/carried"], last["partial/age_max"], last["partial/older"]) == (0, 0, 0)


def test_every_group_is_learned_from_once_and_its_age_counts_the_updates_between(carried):
  found = metrics.read(carried / "samples.jsonl")
  assert len(found) == 4 * 16, "groups that were dropped would be the long ones"
  asked = [r["id"] for r in found]
  assert all(asked[i] == asked[i - i % 4] for i in range(64)), "groups stand together"
  assert len(set(asked)) == 16
  by_step = runs.by_step(carried)
  for step in (2, 4, 6, 8):
    learned = [r for r in found if r["step"] == step]
    assert ("partial/age" in by_step[step]) == bool(learned)
    # Whatever ends in rollout n was begun in n - 2 at the earliest, two updates a rollout.
    assert by_step[step].get("partial/age_max", 0) <= min(4, step - 2)
  assert by_step[2]["partial/carried"] > 0
  assert by_step[6]["partial/age_max"] == 4
  assert by_step[8]["partial/carried"] == by_step[8]["partial/waiting"] == 0


def test_older_tokens_do_not_hide_the_gap_between_sampler_and_trainer(carried):
  """The largest gap is of this rollout's tokens; the mean in the loss is of all of them."""
  last = runs.by_step(carried)[8]
  assert 0 < last["partial/older"] < 1
  assert last["sampler/logp_gap"] < 1e-4 < last["sampler/logp_gap_mean"]


def test_a_run_killed_with_answers_under_way_continues_as_if_nothing_had_been(
  carried, patch, tmp_path
):
  folder = runs.kill_rl(patch, r1_zero, config(**BUDGET), tmp_path / "killed", at=3)
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  saved = checkpoint.restore(checkpointer, 4, {"run": None})["run"]
  assert saved["rollouts"] == 2
  assert set(saved["rollout_B"].tolist()) == {0, 1}
  assert saved["length_B"].sum() == len(saved["token_T"]) > 0
  tiny_run.start(config(**BUDGET), folder)
  assert runs.steady(folder) == runs.steady(carried)
  assert tiny_run.samples(folder) == tiny_run.samples(carried)
  again, once = runs.parameters(folder), runs.parameters(carried)
  jax.tree.map(np.testing.assert_array_equal, again, once)


@pytest.mark.slow
def test_with_frozen_weights_every_question_gets_the_answers_that_it_gets_without(tmp_path):
  frozen = {"optimizer__learning_rate": 0.0, "rl__rollouts": 4}
  off = tiny_run.start(config(**frozen), tmp_path / "off")
  on = tiny_run.start(config(**BUDGET | frozen), tmp_path / "on")
  assert drawn(on) == drawn(off)
  assert runs.by_step(on)[8]["sampler/logp_gap_mean"] < 1e-5


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"grpo__sampler_cap": None}, "partial_tokens=9 without a sampler_cap"),
    ({"sampler__draft": "lookup"}, "partial_tokens=9 with draft='lookup'"),
    ({"rl__partial_tokens": -9}, "partial_tokens=-9 must be >= 0"),
  ],
)
def test_what_would_be_weighed_wrongly_is_refused_before_any_compute(
  tmp_path, no_compute, changes, message
):
  with pytest.raises(ValueError, match=message):
    tiny_run.start(config(**BUDGET | changes), tmp_path / "run")


def test_a_cache_too_small_for_an_answer_that_goes_on_is_refused_before_the_first_rollout(tmp_path):
  changes = {"sampler__cache_tokens": 2 * 3 * 16, "sampler__chunk": 16}
  with pytest.raises(ValueError, match=r"set sampler\.cache_tokens to"):
    tiny_run.start(config(**BUDGET | changes), tmp_path / "run")
  assert not (tmp_path / "run" / "metrics.jsonl").exists()
