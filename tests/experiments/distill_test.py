"""Distillation from a base to a student in seconds: by text, and by a teacher's distribution."""

import json
import math

import jax
import numpy as np
import pytest

from configs import distill as recipe
from configs import pretrain as bases
from experiments import distill
from r1 import spec
from r1.model import config, transformer
from r1.stages import imitate
from r1.train import metrics, pretrain, workdir
from tests.experiments import runs, sft_test, tiny_distill


@pytest.fixture(scope="module", autouse=True)
def newborn(patch, cache):
  """The base is as it was born."""
  patch.setattr(pretrain, "train", sft_test.untrained)


@pytest.fixture(scope="module")
def student(newborn, tmp_path_factory):
  """The workdir of three updates on text alone; a teacher, too, as far as the tokenizer goes."""
  return tiny_distill.start(tiny_distill.config(), tmp_path_factory.mktemp("runs") / "student")


def guided(teacher, **changes):
  made = tiny_distill.config(**changes)
  made.distill.update({"teacher": str(teacher), "logits": 1.0, "temperature": 2.0})
  return made


@pytest.fixture(scope="module")
def taught(student, tmp_path_factory):
  """Three updates by the distribution of that teacher alone."""
  folder = tmp_path_factory.mktemp("runs") / "taught"
  return tiny_distill.start(guided(student, optimizer__learning_rate=3e-4), folder)


def looks(folder, name="eval/loss"):
  return [r[name] for r in metrics.read(folder / "metrics.jsonl") if name in r]


def lineage(folder):
  return json.loads((folder / "lineage.json").read_text())


def test_a_student_learns_from_text(student):
  assert lineage(student)["stage"] == "distill"
  found = looks(student)
  assert found[-1] < found[0]
  assert all(map(math.isfinite, found))
  assert looks(student, "sft/teacher_kl") == []


def test_a_student_comes_closer_to_its_teacher_which_stays_as_it_is(student, taught):
  before = runs.parameters(student)
  kl = looks(taught, "sft/teacher_kl")
  assert len(kl) == 3
  assert 0 < kl[-1] < kl[0]
  jax.tree.map(np.testing.assert_array_equal, runs.parameters(student), before)
  parents = lineage(taught)["parents"]
  assert str(student) in parents
  assert len(parents) == 2, "the base beside it"


def test_a_student_with_a_teacher_is_no_larger_than_one_without(student, taught):
  """Checkpoints hold what is trained: a teacher's weights are its own run's business."""
  shapes = lambda folder: jax.tree.map(np.shape, runs.parameters(folder))
  assert shapes(taught) == shapes(student)
  assert workdir.load(taught).cfg == workdir.load(student).cfg


@pytest.mark.slow
def test_a_killed_student_continues_with_its_teacher_as_if_nothing_had_been(
  student, taught, patch, tmp_path, capsys
):
  made = guided(student, optimizer__learning_rate=3e-4)
  folder = runs.kill(patch, distill, made, tmp_path / "killed", at=2, loop=imitate)
  tiny_distill.start(guided(student, optimizer__learning_rate=3e-4), folder)
  assert "continuing after update 1" in capsys.readouterr().out
  assert runs.steady(folder) == runs.steady(taught)
  jax.tree.map(np.testing.assert_array_equal, runs.parameters(folder), runs.parameters(taught))


def test_more_positions_and_a_head_of_its_own_are_the_student_s_from_the_start(tmp_path):
  made = tiny_distill.config(sft__steps=1, sft__eval_every=0, optimizer__warmup=0)
  made.student.update({"context": 128, "untied": True})
  folder = tiny_distill.start(made, tmp_path / "run")
  model = workdir.load(folder)
  assert (model.cfg.context, model.cfg.tied) == (128, False)
  assert model.params["head_DV"].shape == model.params["embed_VD"].T.shape
  assert np.abs(model.params["head_DV"] - model.params["embed_VD"].T).max() > 0, "trained apart"


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("arg", "message"),
  [
    ("student=qwen-3b", "student='qwen-3b': there are qwen-1.5b, "),
    ("", "choose one of configs/distill"),
    ("tiny,paper", "choose one of configs/distill"),
    ("smoke,paper", "choose one of configs/distill"),
    ("tiny,teacher=runs/r1", "teacher='runs/r1' and logits=0.0: a teacher needs a share"),
    ("tiny,logits=0.5", "teacher='' and logits=0.5: a teacher needs a share"),
    ("paper,model=runs/base", "neither base nor conversations"),
    ("paper", "neither base nor conversations"),
  ],
)
def test_what_does_not_fit_is_refused_before_any_compute(arg, message, no_compute, tmp_path):
  with pytest.raises(ValueError, match=message):
    distill.main(recipe.get_config(arg), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
  "arg", ["tiny", "smoke", "tiny,teacher=runs/r1,logits=0.5,model=runs/base"]
)
def test_every_small_recipe_is_accepted(arg):
  assert distill.read(recipe.get_config(arg)).template == "short"


@pytest.mark.parametrize("changes", list(recipe.sweep()), ids=str)
def test_every_entry_of_the_sweep_is_accepted_by_the_experiment(changes):
  c = recipe.get_config("tiny")
  c.update_from_flattened_dict(changes)
  assert distill.read(c).conversations == 16


def count(arg):
  model, _, _, cfg = pretrain.settings(bases.get_config(arg))
  return spec.count(transformer.specs(config.ModelConfig(**model, ids=cfg.vocabulary)))


def test_the_student_of_the_tiny_recipe_is_a_fraction_of_the_embedded_world_s_base():
  assert count("tiny,general,student") < count("tiny,general") / 4
