"""Supervised fine-tuning from base to curves in seconds: it learns, repeats, resumes, refuses."""

import json
import math
import pathlib
import types

import jax
import numpy as np
import pytest

from experiments import sample, sft
from r1.algorithms import minibatch
from r1.data import questions
from r1.model import config, transformer
from r1.sampling import rollout
from r1.stages import imitate
from r1.train import checkpoint, metrics, pretrain, state, workdir
from tests.experiments import runs, tiny_run, tiny_sft
from tests.sampling import settings


def untrained(model, world, opt, cfg, report):
  """A base without a single step; tests of pretrain look after the rest."""
  tokenizer = pretrain.train_tokenizer(world, cfg)
  model_cfg = config.ModelConfig(**model, ids=tokenizer.size)
  specs = transformer.specs(model_cfg)
  params = state.initial_params(jax.random.key(cfg.seed), specs, None, None)
  return workdir.Model(model_cfg, tokenizer, params)


@pytest.fixture(scope="module", autouse=True)
def newborn(patch, cache):
  """The base is as it was born."""
  patch.setattr(pretrain, "train", untrained)


@pytest.fixture(scope="module")
def finished(newborn, tmp_path_factory):
  """The workdir of a run of three updates that nothing disturbed."""
  return tiny_sft.start(tiny_sft.config(), tmp_path_factory.mktemp("runs") / "sft")


# A run -------------------------------------------------------------------------------------------


def test_a_run_leaves_everything_that_a_workdir_holds(finished):
  names = {path.name for path in finished.iterdir()}
  assert {"run.json", "lineage.json", "model.json", "tokenizer.model", "checkpoints"} <= names
  assert {"metrics.jsonl", "tensorboard", "curves.png"} <= names
  assert json.loads((finished / "run.json").read_text())["stage"] == "sft"
  lineage = json.loads((finished / "lineage.json").read_text())
  assert lineage["data"].keys() == {"train", "held_out"}
  (base,) = lineage["parents"]
  assert pathlib.Path(base, "model.json").exists()


NAMES = {
  "sft": ("loss", "tokens", "accuracy"),
  "policy": ("grad_norm", "learning_rate", "skipped"),
  "time": ("update_s",),
  "throughput": ("train_tokens_per_s",),
}


def test_every_update_is_logged_once_by_its_fixed_names_and_the_held_out_loss_beside_it(finished):
  found = metrics.read(finished / "metrics.jsonl")
  updates = [r for r in found if "sft/loss" in r]
  assert [r["step"] for r in updates] == [1, 2, 3]
  wanted = {f"{group}/{name}" for group, names in NAMES.items() for name in names}
  for record in updates:
    assert wanted <= record.keys()
    assert record["policy/grad_norm"] > 0
    assert record["policy/skipped"] == 0
  looks = [r for r in found if "eval/loss" in r]
  assert [r["step"] for r in looks] == [0, 1, 2, 3]
  assert len({r["eval/tokens"] for r in looks}) == 1
  # Warm-up of one update: half of the peak, then the peak, then down the cosine.
  peak = tiny_sft.config().optimizer.learning_rate
  rates = [r["policy/learning_rate"] for r in updates]
  assert rates == pytest.approx([peak / 2, peak, peak * (0.1 + 0.9 / 2)], rel=1e-5)


def test_what_is_learned_lowers_the_loss_on_what_is_not(finished):
  looks = [r["eval/loss"] for r in metrics.read(finished / "metrics.jsonl") if "eval/loss" in r]
  assert looks[-1] < looks[0]
  assert all(map(math.isfinite, looks))


def test_the_workdir_is_a_model_that_has_moved_away_from_its_base(finished):
  (base,) = json.loads((finished / "lineage.json").read_text())["parents"]
  moved = np.abs(runs.parameters(base)["embed_VD"] - runs.parameters(finished)["embed_VD"]).max()
  assert 0 < moved < 4 * tiny_sft.config().optimizer.learning_rate


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(finished, tmp_path):
  again = tiny_sft.start(tiny_sft.config(), tmp_path / "again")
  assert runs.steady(again) == runs.steady(finished)
  jax.tree.map(np.testing.assert_array_equal, runs.parameters(again), runs.parameters(finished))


# Resume ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_continues_as_if_nothing_had_been(finished, patch, tmp_path, capsys):
  """The lines of the update that has no checkpoint are cut, and come again bit for bit."""
  folder = runs.kill(patch, sft, tiny_sft.config(), tmp_path / "killed", at=2, loop=imitate)
  assert metrics.read(folder / "metrics.jsonl")[-1]["step"] == 2
  with (folder / "metrics.jsonl").open("a") as file:
    file.write('{"step": 3, "polic')
  tiny_sft.start(tiny_sft.config(), folder)
  assert "continuing after update 1" in capsys.readouterr().out
  assert runs.steady(folder) == runs.steady(finished)
  jax.tree.map(np.testing.assert_array_equal, runs.parameters(folder), runs.parameters(finished))


def test_a_finished_run_started_again_changes_nothing(finished, capsys):
  before = (finished / "metrics.jsonl").read_bytes()
  tiny_sft.start(tiny_sft.config(), finished)
  assert (finished / "metrics.jsonl").read_bytes() == before
  assert "is finished, there is nothing to do" in capsys.readouterr().out


def test_the_best_checkpoint_is_that_of_the_lowest_held_out_loss(finished):
  kept = checkpoint.read_folder(finished / "checkpoints").checkpoints
  looks = {
    r["step"]: r["eval/loss"] for r in metrics.read(finished / "metrics.jsonl") if "eval/loss" in r
  }
  for saved in kept:
    assert saved.metrics["score"] == pytest.approx(-looks[saved.step])


def test_nan_in_a_row_stops_the_run_and_leaves_the_last_checkpoint(patch, tmp_path):
  folder, assemble, calls = tmp_path / "nan", imitate.objective.assemble, []
  made = tiny_sft.config(sft__patience=2, sft__eval_every=0, sft__checkpoint_every=1)

  def poisoned(*given, **settings):
    batch, used = assemble(*given, **settings)
    calls.append(used)
    good = np.float32(1 if len(calls) <= 2 else math.nan)  # the first is of the size check
    return batch.replace(weight_BL=batch.weight_BL * good), used

  with patch.context() as context:
    context.setattr(imitate.objective, "assemble", poisoned)
    with pytest.raises(FloatingPointError, match="in 2 updates in a row at update 3"):
      tiny_sft.start(made, folder)
  kept = checkpoint.read_folder(folder / "checkpoints")
  assert (kept.latest.step, checkpoint.best_step(kept)) == (2, 1)
  found = metrics.read(folder / "metrics.jsonl")
  assert [r["policy/skipped"] for r in found] == [0, 1, 2]
  assert [r["sft/loss"] is None for r in found] == [False, True, True]


# The user's own conversations --------------------------------------------------------------------


def write(path, count=20, extra=""):
  rows = [{"prompt": f"{i} + {i} ?", "response": f"it is {2 * i}"} for i in range(count)]
  talk = [
    ("system", "sums"),
    ("user", "1 + 1 ?"),
    ("assistant", "2"),
    ("user", "so"),
    ("assistant", "2"),
  ]
  rows += [{"messages": [{"role": role, "content": text} for role, text in talk]}] * 2
  path.write_text("".join(json.dumps(row) + "\n" for row in rows) + extra)
  return str(path)


@pytest.mark.slow
def test_own_conversations_on_an_own_model_run_through(finished, tmp_path, capsys):
  """Several turns, each response of the same weight, nothing held out, long ones left out."""
  long = json.dumps({"prompt": "p", "response": "b" * 200}) + "\n"
  made = tiny_sft.config(
    model=str(finished),
    data__file=write(tmp_path / "chats.jsonl", extra=long),
    data__share=0.0,
    sft__template="chat",
    sft__normalise="response",
    sft__overlong="drop",
    sft__epochs=1,
    sft__steps=0,
    sft__conversations=8,
  )
  folder = tiny_sft.start(made, tmp_path / "own")
  said = capsys.readouterr().out
  assert "1 of 23 conversations are longer than 96 tokens: dropped" in said
  found = metrics.read(folder / "metrics.jsonl")
  assert [r["step"] for r in found] == [1, 2, 3], "22 conversations: 8, 8 and 6"
  assert all("eval/loss" not in r for r in found)
  assert list(json.loads((folder / "lineage.json").read_text())["parents"]) == [str(finished)]


@pytest.mark.slow
def test_the_model_can_be_asked_and_answers_with_what_it_learned(finished):
  """The sampler's log-probabilities are the trainer's, of the new weights (unsloth #8701)."""
  (base,) = json.loads((finished / "lineage.json").read_text())["parents"]
  model = workdir.load(finished)
  samples = rollout.sample_groups(
    model.params,
    [questions.Question(id="q", prompt="what is 3 + 4 ?", answer="7")],
    model.tokenizer,
    "short",
    group=4,
    rollout=0,
    limit=16,
    cfg=model.cfg,
    sampler=settings.sampler(
      slots=4, prompt_bucket=16, chunk=4, cache_tokens=4096, layout="auto", in_flight=1
    ),
    temperature=1.0,
    seed=0,
  )
  cfg = minibatch.BatchConfig(
    row_tokens=96, microbatch_tokens=192, minibatches=1, share_prompts=True, fork=()
  )
  gaps = []
  for params in (model.params, runs.parameters(base)):
    numbers = np.arange(len(samples)) // 4
    scores = minibatch.score(params, samples, model.cfg, cfg, 1.0, question_B=numbers)
    gaps.append(max(np.abs(x[s.prompt_length :] - s.logp).max() for s, x in zip(samples, scores)))
  assert gaps[0] < 1e-4 < 1e-2 < gaps[1]
  given = types.SimpleNamespace(
    limit=20,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    min_p=0.0,
    draft="none",
    draft_tokens=3,
    ngram=3,
    stop=(),
    seed=0,
  )
  assert list(sample.draw(workdir.load(finished), "short", "what is 3 + 4 ?", given))


@pytest.mark.slow
def test_rl_starts_from_what_was_learned(finished, tmp_path):
  made = tiny_run.config(model=str(finished), rl__rollouts=1)
  folder = tiny_run.start(made, tmp_path / "zero")
  assert [r["step"] for r in metrics.read(folder / "metrics.jsonl") if "eval/greedy" in r] == [0, 2]
  assert list(json.loads((folder / "lineage.json").read_text())["parents"]) == [str(finished)]


# Refusals ----------------------------------------------------------------------------------------


def refused(tmp_path, match, **changes):
  with pytest.raises(ValueError, match=match):
    tiny_sft.start(tiny_sft.config(**changes), tmp_path / "run")
  assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"sft__epochs": 1}, "epochs=1 and steps=3: wanted one of them above 0"),
    ({"sft__normalise": "mean"}, "normalise='mean'"),
    ({"sft__template": "chatml"}, "unknown template 'chatml'"),
    ({"optimizer__final": 2.0}, "final=2.0 must be in"),
    ({"data__file": "no/such/file.jsonl"}, "no/such/file.jsonl: no such file"),
    ({"data__share": 1.0}, "leave 0 to train"),
  ],
)
def test_what_cannot_work_is_refused_before_any_compute(tmp_path, no_compute, changes, message):
  refused(tmp_path, message, **changes)


@pytest.mark.parametrize(
  ("extra", "message"),
  [
    ('{"prompt": \n', r"chats.jsonl:23: not JSON"),
    ('{"messages": [{"role": "user", "content": "a"}]}\n', r"chats.jsonl:23: no message of the as"),
    ('{"messages": [{"role": "me", "content": "a"}]}\n', r"chats.jsonl:23: message 1: role='me'"),
  ],
)
def test_a_broken_line_is_told_by_file_and_line(tmp_path, no_compute, extra, message):
  refused(tmp_path, message, data__file=write(tmp_path / "chats.jsonl", extra=extra))


def test_a_conversation_longer_than_the_row_is_named_before_any_update(finished, tmp_path):
  long = json.dumps({"prompt": "9 ?", "response": "b" * 200}) + "\n"
  path = write(tmp_path / "chats.jsonl", extra=long)
  refused(
    tmp_path,
    r"chats.jsonl:23: \d+ tokens, 96 fit into a row .* 1 of \d+ conversations are too long",
    model=str(finished),
    data__file=path,
    data__share=0.0,
    sft__template="chat",
  )


def test_a_workdir_of_another_config_is_refused_by_the_setting(finished):
  with pytest.raises(ValueError, match=r"sft\.seed: 1 there, 5 now"):
    tiny_sft.start(tiny_sft.config(sft__seed=5), finished)


def test_the_command_line_refuses_what_it_does_not_know(tmp_path):
  said = runs.refused(tmp_path, "sft", "tiny", {"sft.epoch": 1})
  assert "unknown setting 'sft.epoch'; did you mean sft.epochs?" in said


# Slow --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_like_the_one_that_was_not(finished, tmp_path):
  """The real command and the real signal, at three moments of the run."""
  folder = tmp_path / "killed"
  whole = runs.command("sft", "tiny", folder, tiny_sft.CHANGES)
  runs.run_through_signals(whole, folder, (1, 3, 5))
  assert runs.steady(folder) == runs.steady(finished)
  jax.tree.map(np.testing.assert_array_equal, runs.parameters(folder), runs.parameters(finished))


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_a_mesh_of_eight_devices_learns_what_one_does(finished, tmp_path, mesh):
  axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
  made = tiny_sft.config(sft__microbatch_tokens=96 * 8, **axes)
  folder = tiny_sft.start(made, tmp_path / "mesh")
  wanted, got = runs.steady(finished), runs.steady(folder)
  assert len(got) == len(wanted)
  for record, one in zip(got, wanted):
    assert record == pytest.approx(one, rel=1e-3, abs=1e-6)
