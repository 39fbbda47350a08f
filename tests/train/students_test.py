"""A base made ready to be distilled computes what it did; a teacher has its tokenizer."""

import dataclasses

import numpy as np
import pytest

from r1 import sharding
from r1.model import heads, transformer
from r1.train import lineage, models, students, workdir
from tests.experiments import families
from tests.model import tiny
from tests.train import tiny as words


def config(**changes):
  return students.StudentConfig(**{"context": 0, "untied": False} | changes)


def base(**changes):
  cfg = tiny.config(**changes)
  return workdir.Model(cfg, words.tokenizer(), tiny.params(cfg))


def logits(model):
  """Of two rows of nine tokens."""
  token_BL = np.random.default_rng(0).integers(0, model.cfg.ids, (2, 9)).astype(np.int32)
  position_BL = np.tile(np.arange(9, dtype=np.int32), (2, 1))
  given = model.params, token_BL, position_BL, np.ones_like(token_BL), model.cfg
  return heads.logits(
    heads.matrix(model.params, model.cfg), tiny.forward(*given).hidden_BLD, model.cfg
  )


def test_nothing_asked_for_is_nothing_changed():
  model = base()
  made = students.prepare(model, config(), mesh=None)
  assert (made.cfg, made.params, made.tokenizer) == (model.cfg, model.params, model.tokenizer)


def test_more_positions_change_no_weight_and_no_rotation():
  model = base()
  made = students.prepare(model, config(context=256), mesh=None)
  assert made.cfg == dataclasses.replace(model.cfg, context=256)
  assert made.params is model.params


def test_fewer_positions_than_the_base_has_are_refused():
  with pytest.raises(ValueError, match="context=63 is below the base's 64 positions"):
    students.prepare(base(), config(context=63), mesh=None)
  with pytest.raises(ValueError, match="context=-1 must be >= 0"):
    config(context=-1)


def test_a_head_of_its_own_begins_as_the_embedding_and_the_model_computes_the_same():
  model = base(tied=True)
  made = students.prepare(model, config(untied=True), mesh=None)
  assert not made.cfg.tied
  assert transformer.specs(made.cfg).keys() == made.params.keys()
  np.testing.assert_array_equal(made.params["head_DV"], model.params["embed_VD"].T)
  np.testing.assert_array_equal(logits(made), logits(model))
  moved = made.params | {"head_DV": 2 * made.params["head_DV"]}
  assert np.abs(logits(dataclasses.replace(made, params=moved)) - logits(model)).max() > 0.1
  assert "head_DV" not in model.params, "the base stays as it was"


def test_a_model_that_has_a_head_already_keeps_it():
  model = base(tied=False)
  assert students.prepare(model, config(untied=True), mesh=None).params is model.params


def test_on_a_mesh_the_new_head_lives_where_the_rules_put_it():
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh({"fsdp": 4, "tensor": 2})
  model = base(tied=True, rules=rules)
  with sharding.on(mesh):
    head_DV = students.prepare(model, config(untied=True), mesh=mesh).params["head_DV"]
  assert head_DV.sharding.spec == sharding.pspec("DV", rules.weight)
  np.testing.assert_array_equal(head_DV, model.params["embed_VD"].T)


# Teachers ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
  root = tmp_path_factory.mktemp("checkpoints")
  return {name: families.write(root, f"tiny-{name}") for name in ("qwen2", "qwen3", "llama")}


def load(where):
  return models.load(where, runtime=families.RUNTIME, dtype="float32", say=lambda line: None)


def teacher(where, student):
  given = {"dtype": "float32", "mesh": None, "say": lambda line: None}
  return students.teacher(str(where), student, families.RUNTIME, **given)


def test_a_teacher_of_another_family_with_the_same_tokenizer_is_taken(checkpoints):
  found, parents = teacher(checkpoints["qwen3"], load(checkpoints["qwen2"]))
  assert found.cfg.qk_norm
  assert parents == {str(checkpoints["qwen3"]): lineage.digest(checkpoints["qwen3"])}


def test_a_teacher_with_another_tokenizer_is_refused_naming_both(checkpoints):
  student = load(checkpoints["qwen2"])
  with pytest.raises(ValueError, match="llama and the student have different tokenizers") as error:
    teacher(checkpoints["llama"], student)
  sizes = load(checkpoints["llama"]).tokenizer.size, student.tokenizer.size
  assert "({} ids of the teacher, {} of the student)".format(*sizes) in str(error.value)


def test_a_tokenizer_of_one_size_that_differs_in_a_piece_or_an_end_is_another(checkpoints):
  student = load(checkpoints["qwen2"])
  own = student.tokenizer
  pieces = (*own.pieces[:300], "odd", *own.pieces[301:])
  for changes, said in (
    (
      {"pieces": pieces},
      rf"id 300 is {own.pieces[300]!r} for the teacher and 'odd' for the student",
    ),
    ({"eos": (7,)}, rf"ends with id {own.eos[0]} of the teacher, 7 of the student"),
  ):
    other = dataclasses.replace(student, tokenizer=dataclasses.replace(own, **changes))
    with pytest.raises(ValueError, match="different tokenizers") as error:
      teacher(checkpoints["qwen3"], other)
    assert said in str(error.value)
