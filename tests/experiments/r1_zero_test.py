"""R1-Zero from base to report in seconds: it repeats, it resumes, it refuses what cannot work."""

import json
import math
import pathlib

import jax
import numpy as np
import pytest

from configs import r1_zero as recipe
from experiments import r1_zero
from r1 import sharding
from r1.model import transformer
from r1.stages import iteration, reinforce
from r1.train import checkpoint, metrics, workdir
from tests.experiments import runs, tiny_run

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
  """The workdir of a run of three rollouts that nothing disturbed."""
  return tiny_run.start(tiny_run.config(), tmp_path_factory.mktemp("runs") / "zero")


# A run -------------------------------------------------------------------------------------------


def test_a_run_leaves_everything_that_a_workdir_holds(finished):
  names = {path.name for path in finished.iterdir()}
  assert {"run.json", "lineage.json", "model.json", "tokenizer.model", "checkpoints"} <= names
  assert {"metrics.jsonl", "samples.jsonl", "tensorboard", "curves.png"} <= names
  assert not [name for name in names if name.endswith(".part")]
  lineage = json.loads((finished / "lineage.json").read_text())
  assert lineage["data"].keys() == {"train", "held_out"}
  (base,) = lineage["parents"]
  assert pathlib.Path(base, "model.json").exists()


def test_the_base_is_step_0_and_every_update_is_logged_once(finished):
  found = metrics.read(finished / "metrics.jsonl")
  steps = [r["step"] for r in found]
  assert steps == sorted(steps)
  assert [r["step"] for r in found if "eval/greedy" in r] == [0, 6]
  assert [r["step"] for r in found if "reward/total" in r] == [2, 4, 6]
  updates = [r for r in found if "policy/loss" in r]
  assert [r["step"] for r in updates] == [1, 2, 3, 4, 5, 6]
  for record in updates:
    assert math.isfinite(record["policy/loss"])
    assert record["policy/grad_norm"] > 0
    assert record["policy/skipped"] == 0


NAMES = {  # fixed, of a rollout and of its last update
  "reward": ("total", "accuracy", "format", "language"),
  "verdict": ("right", "wrong", "unparsed", "timeout", "crashed", "no_verdict"),
  "response": ("length", "truncated", "reflection"),
  "policy": ("loss", "kl", "clip_fraction", "ratio_max", "entropy", "grad_norm"),
  "sampler": ("logp_gap",),
  "time": ("sample_s", "reward_s", "update_s"),
  "throughput": ("sample_tokens_per_s", "train_tokens_per_s", "mfu"),
}


def test_a_rollout_logs_every_metric_by_its_fixed_name(finished):
  found = [r.keys() for r in metrics.read(finished / "metrics.jsonl") if r["step"] == 2]
  wanted = {f"{group}/{name}" for group, names in NAMES.items() for name in names}
  assert wanted - set().union(*found) == set()


def test_the_first_update_of_a_rollout_is_on_policy_and_the_second_is_not(finished):
  """And the sampler's log-probabilities are those of the trainer's weights, rollout by rollout."""
  found = runs.by_step(finished)
  assert found[1]["policy/kl"] < 1e-9
  for step in range(1, 7):
    record = found[step]
    if step % 2:
      assert record["policy/ratio_gap"] < 1e-5, step
    else:
      assert record["policy/ratio_gap"] > 1e-5, step
      assert record["sampler/logp_gap"] < 1e-4, step


def test_every_sample_of_every_rollout_is_written_down(finished):
  found = metrics.read(finished / "samples.jsonl")
  assert [r["step"] for r in found] == [2] * 16 + [4] * 16 + [6] * 16
  asked = [r["id"] for r in found]
  assert all(asked[i] == asked[i - i % 4] for i in range(48)), "groups stand together"
  assert len(set(asked)) == 12, "every rollout asks other questions"
  for i in range(0, 48, 4):
    group = found[i : i + 4]
    assert sum(r["advantage"] for r in group) == pytest.approx(0, abs=1e-4)
    assert len({r["response"] for r in group}) > 1, "one seed for all of a group"


def test_the_workdir_is_a_model_that_has_moved_away_from_its_base(finished):
  base = json.loads((finished / "lineage.json").read_text())["parents"]
  before, after = (workdir.load(folder) for folder in (*base, finished))
  assert before.cfg == after.cfg
  # Six updates of Adam, each of about the learning rate.
  moved = np.abs(before.params["embed_VD"] - after.params["embed_VD"]).max()
  rate = tiny_run.config().optimizer.learning_rate
  assert rate < moved < 7 * rate


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(finished, tmp_path):
  again = tiny_run.start(tiny_run.config(), tmp_path / "again")
  assert runs.steady(again) == runs.steady(finished)
  assert tiny_run.samples(again) == tiny_run.samples(finished)


@pytest.mark.slow
def test_another_seed_gives_another_run(finished, tmp_path):
  other = tiny_run.start(tiny_run.config(rl__seed=77, rl__rollouts=2), tmp_path / "other")
  assert tiny_run.samples(other) != tiny_run.samples(finished)


# Resume ------------------------------------------------------------------------------------------


def test_a_killed_run_continues_as_if_nothing_had_been(finished, patch, tmp_path, capsys):
  """The lines of the rollout that has no checkpoint are cut, and come again bit for bit."""
  folder = runs.kill_rl(patch, r1_zero, tiny_run.config(), tmp_path / "killed", at=2)
  assert list(runs.by_step(folder)) == [0, 1, 2, 3, 4]
  with (folder / "metrics.jsonl").open("a") as file:
    file.write('{"step": 5, "polic')
  tiny_run.start(tiny_run.config(), folder)
  assert "continuing after rollout 1" in capsys.readouterr().out
  assert runs.steady(folder) == runs.steady(finished)
  assert tiny_run.samples(folder) == tiny_run.samples(finished)


def test_a_finished_run_started_again_changes_nothing(finished, capsys):
  before = [(finished / name).read_bytes() for name in ("metrics.jsonl", "samples.jsonl")]
  tiny_run.start(tiny_run.config(), finished)
  assert [(finished / n).read_bytes() for n in ("metrics.jsonl", "samples.jsonl")] == before
  assert "is finished, there is nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_the_reference_is_refreshed_and_survives_a_restart(patch, tmp_path):
  """With a refresh after the second rollout, KL is 0 again in the first update of the third."""
  made = tiny_run.config(rl__reference_every=4, rl__keep=3)
  folder = runs.kill_rl(patch, r1_zero, made, tmp_path / "refreshed", at=3)
  tiny_run.start(made, folder)
  kl = {step: r["policy/kl"] for step, r in runs.by_step(folder).items() if step}
  assert kl[1] < 1e-9
  assert kl[3] > 1e-8
  assert kl[5] < 1e-9
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  specs = transformer.specs(workdir.load(folder).cfg)
  like = sharding.placed(specs, None, None)
  ref = checkpoint.restore(checkpointer, 6, {"ref": like})["ref"]
  then = checkpoint.restore(checkpointer, 4, {"params": like})["params"]
  jax.tree.map(np.testing.assert_array_equal, ref, then)


def test_nan_in_a_row_stops_the_run_and_leaves_the_last_checkpoint(patch, tmp_path):
  folder, learn = tmp_path / "nan", iteration.learn

  def poisoned(run, scored, setup, number):
    if number == 1:
      scored.advantage_B[:] = math.nan
    return learn(run, scored, setup, number)

  with patch.context() as context:
    context.setattr(iteration, "learn", poisoned)
    with pytest.raises(FloatingPointError, match="in 2 updates in a row at update 4"):
      tiny_run.start(tiny_run.config(rl__patience=2), folder)
  assert checkpoint.read_folder(folder / "checkpoints").latest.step == 2


def test_the_rate_is_measured_in_the_models_own_type(patch, tmp_path):
  """In float32, a run in bfloat16 was told twice the mfu and half of the speed that it has."""

  class Asked(Exception):
    pass

  def rate(dtype):
    raise Asked(dtype)

  with patch.context() as context:
    context.setattr(reinforce.measure, "matmul_rate", rate)
    context.setattr(reinforce.rl, "compiled", lambda *_, **__: None)
    with pytest.raises(Asked, match="bfloat16"):
      tiny_run.start(tiny_run.config(runtime__dtype="bfloat16"), tmp_path / "run")


# The user's own questions and rewards ------------------------------------------------------------


def write(path, count=40):
  rows = [{"id": f"q{i}", "prompt": f"{i} + {i} ?", "answer": str(2 * i)} for i in range(count)]
  rows += [{"id": f"o{i}", "prompt": f"{i} + 1 ?", "answer": str(i + 1)} for i in range(count)]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


@pytest.mark.slow
def test_own_questions_and_own_rewards_run_through(tmp_path, capsys):
  varied, picky = "tests.experiments.own:varied", "tests.experiments.own:picky"
  made = tiny_run.config(
    data__questions=write(tmp_path / "sums.jsonl"),
    data__share=0.2,
    reward__own=((varied, 0.5), (picky, 0.25)),
    rl__rollouts=2,
  )
  folder = tiny_run.start(made, tmp_path / "own")
  found = metrics.read(folder / "samples.jsonl")
  for record in found:
    parts = record["parts"]
    assert parts[varied] == len(set(record["response"])) / 32
    total = parts["accuracy"] + 0.1 * parts["format"] + 0.5 * parts[varied] + 0.25 * parts[picky]
    if record["verdict"] == "no_verdict":
      assert (record["reward"], record["advantage"]) == (0, 0)
      assert int(record["answer"]) % 2
    else:
      assert record["reward"] == pytest.approx(total)
  missing = sum(r["verdict"] == "no_verdict" for r in found[:16]) / 16
  first = runs.by_step(folder)[2]
  assert first["verdict/no_verdict"] == missing > 0
  assert f"reward/{varied}" in first
  assert "RuntimeError: the judge is out for lunch [/lunch]\n" in capsys.readouterr().out


# Refusals ----------------------------------------------------------------------------------------


def test_questions_of_every_kind_run_through_and_those_that_cannot_be_graded_are_left_out(
  tmp_path, capsys
):
  """Programs are asked for too, so the sandbox must open before anything is sampled."""
  rows = [{"prompt": f"{i} + 1 ?", "answer": str(i + 1)} for i in range(20)]
  rows += [{"prompt": f"a or b {i}", "answer": "B", "kind": "choice"} for i in range(8)]
  rows += [{"prompt": f"who {i}", "answer": "7", "kind": "logic"} for i in range(8)]
  adds = [{"input": "1 2", "output": "3"}]
  rows += [{"prompt": f"add {i}", "kind": "code", "tests": adds} for i in range(8)]
  rows.append({"id": "broken", "prompt": "what", "answer": "\\frac{1}{"})
  rows.append({"id": "idle", "prompt": "so", "kind": "code", "tests": [{"assert": "1 + 1"}]})
  path = tmp_path / "mixed.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  made = tiny_run.config(data__questions=str(path), data__share=0.3, rl__rollouts=2)
  folder = tiny_run.start(made, tmp_path / "run")
  dropped = json.loads((folder / "dropped.json").read_text())
  assert set(dropped) == {"broken", "idle"}
  assert "asserts nothing" in dropped["idle"]
  assert "left out: broken" in capsys.readouterr().out
  lines = metrics.read(folder / "metrics.jsonl")
  tried = [line for line in lines if "canary/tried" in line]
  assert len(tried) == 1
  assert tried[0]["canary/accepted"] == 0
  assert tried[0]["canary/tried"] > 40
  assert {r["verdict"] for r in metrics.read(folder / "samples.jsonl")} <= {"wrong", "unparsed"}


def refused(tmp_path, match, **changes):
  with pytest.raises(ValueError, match=match):
    tiny_run.start(tiny_run.config(**changes), tmp_path / "run")
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"grpo__group": 1}, "a group of one has no baseline"),
    ({"batch__minibatches": 3}, "16 samples do not divide into minibatches=3"),
    ({"data__questions": "no/such/file.jsonl"}, "no/such/file.jsonl: no such file or folder"),
    ({"reward__own": (("tests.experiments.own:nothing", 1.0),)}, "has no function 'nothing'"),
    ({"mesh__data": 2}, "in_flight=2 is for one device; with a mesh it must be 1"),
    ({"sampler__cache_tokens": 32}, "24 new ones take 2 pages of 16 tokens, the cache has 1"),
    ({"data__count": 10**6}, "distinct train problems were found"),
  ],
)
def test_what_cannot_work_is_refused_before_any_compute(tmp_path, no_compute, changes, message):
  refused(tmp_path, message, **changes)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('{"prompt": "1 + 1 ?", "answer": "2"}\n{"prompt": \n', r"bad.jsonl:2: not JSON"),
    ('{"prompt": "1 + 1 ?"}\n', r"bad.jsonl:1: no 'answer'"),
    ("", "bad.jsonl: no question in it"),
  ],
)
def test_a_broken_line_is_told_by_file_and_line(tmp_path, no_compute, text, message):
  (tmp_path / "bad.jsonl").write_text(text)
  refused(tmp_path, message, data__questions=str(tmp_path / "bad.jsonl"))


def test_a_question_longer_than_the_context_is_named(tmp_path):
  path = pathlib.Path(write(tmp_path / "long.jsonl"))
  long = {"id": "the long one", "prompt": "1 + " * 60 + "1 ?", "answer": "61"}
  path.write_text(path.read_text() + json.dumps(long) + "\n")
  refused(tmp_path, r"question 'the long one' has .* tokens", data__questions=str(path))


def test_a_model_folder_that_is_none_is_named(tmp_path):
  refused(tmp_path, "wanted a workdir", model=str(tmp_path))


def test_a_workdir_of_another_config_is_refused_by_the_setting(finished):
  before = sorted(path.name for path in finished.iterdir())
  with pytest.raises(ValueError, match=r"rl\.seed: 1 there, 5 now"):
    tiny_run.start(tiny_run.config(rl__seed=5), finished)
  assert sorted(path.name for path in finished.iterdir()) == before


def test_the_command_line_refuses_what_it_does_not_know(tmp_path):
  assert "unknown setting 'huge'" in runs.refused(tmp_path, "r1_zero", "huge", {})


# Slow --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_like_the_one_that_was_not(finished, tmp_path):
  """The real command and the real signal, at four moments of the run."""
  folder = tmp_path / "killed"
  whole = runs.command("r1_zero", "tiny", folder, tiny_run.CHANGES)
  runs.run_through_signals(whole, folder, (1, 2, 4, 6))
  assert runs.steady(folder) == runs.steady(finished)
  assert tiny_run.samples(folder) == tiny_run.samples(finished)


@pytest.mark.slow
@pytest.mark.parametrize("changes", list(recipe.sweep()), ids=str)
def test_every_entry_of_the_sweep_runs_three_rollouts(tmp_path, changes):
  made = tiny_run.config(**changes)
  found = metrics.read(tiny_run.start(made, tmp_path / "run") / "metrics.jsonl")
  losses = [r["policy/loss"] for r in found if "policy/loss" in r]
  assert len(losses) == 6
  assert all(map(math.isfinite, losses))


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_a_mesh_of_eight_devices_gives_the_first_rollout_of_one(finished, tmp_path, mesh):
  axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
  made = tiny_run.config(
    batch__microbatch_tokens=96 * 8, rl__rollouts=2, **axes | {"sampler.in_flight": 1}
  )
  folder = tiny_run.start(made, tmp_path / "mesh")
  assert tiny_run.samples(folder).splitlines()[0] == tiny_run.samples(finished).splitlines()[0]
  wanted, got = (runs.by_step(f)[1] for f in (finished, folder))
  for name in ("policy/loss", "policy/entropy", "policy/grad_norm"):
    assert got[name] == pytest.approx(wanted[name], rel=1e-3, abs=1e-6), name
