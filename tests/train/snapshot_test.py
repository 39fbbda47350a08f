"""A state goes to disk in two halves and comes back whole, with or without adapters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import lora, transformer
from r1.train import checkpoint, models, optimizer, snapshot, state, workdir
from tests.train import tiny

CFG = tiny.model()
ADAPTERS = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/\w+")


def fresh(adapters, seed=0):
  """A state of its own, all of it trained or its adapters alone."""
  model = workdir.Model(CFG, tiny.tokenizer(), tiny.params(CFG, seed))
  if adapters:
    model = models.adapt(model, adapters, mesh=None, seed=seed)
  trained, frozen = lora.split(model.params)
  return state.init(
    trained, optimizer.make(tiny.adam(), lora.split(transformer.specs(model.cfg))[0]), frozen
  )


@pytest.mark.parametrize("adapters", [None, ADAPTERS], ids=["all", "adapters"])
def test_what_was_saved_comes_back_with_what_the_stage_added(tmp_path, adapters):
  made, said = fresh(adapters).replace(step=jnp.int32(4)), []
  checkpointer = checkpoint.open_folder(tmp_path / "checkpoints", keep=1)
  more = {"ref": {"a": jnp.arange(3.0)}, "run": {"rollouts": 2}}
  snapshot.save(checkpointer, 4, made, more, score=0.0, say=said.append)
  like = {"ref": {"a": jnp.zeros(3)}, "run": None}
  got, stage = snapshot.restore(checkpointer, fresh(adapters, seed=1), like)
  assert jax.tree.structure(got) == jax.tree.structure(made)
  jax.tree.map(np.testing.assert_array_equal, got, made)
  assert bool(got.frozen) == bool(adapters)
  assert stage.keys() == {"ref", "run"}
  assert stage["run"] == {"rollouts": 2}
  np.testing.assert_array_equal(stage["ref"]["a"], np.arange(3.0))
  (line,) = said
  assert line.startswith("checkpoint 4: ")
  checkpointer.close()


def test_the_model_lies_whole_where_samplers_look_for_it(tmp_path):
  """The weights that stay as they are lie beside the adapters, under one name."""
  made = fresh(ADAPTERS)
  trees = snapshot.trees(made, {"run": {"steps": 1}})
  assert trees.keys() == {"params", "rest", "run"}
  assert trees["params"].keys() == made.params.keys() | made.frozen.keys()
  assert (trees["rest"].params, trees["rest"].frozen) == ({}, {})
