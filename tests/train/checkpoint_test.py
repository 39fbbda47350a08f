"""What is saved comes back bit for bit, whole or not at all, also on another mesh."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1 import sharding
from r1.algorithms import experts
from r1.model import transformer
from r1.train import checkpoint, optimizer, rl, state, step
from tests.train import tiny

CFG = tiny.model()


def bits(leaf):
  if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  return np.asarray(leaf).tobytes()


def assert_same(got, wanted):
  """Same structure and types of records, same dtypes, same bits."""
  assert jax.tree.structure(got) == jax.tree.structure(wanted)
  for path, leaf in jax.tree.leaves_with_path(wanted):
    other = got
    for key in path:
      other = getattr(other, key.name) if hasattr(key, "name") else other[_index(key)]
    assert other.dtype == leaf.dtype, path
    assert bits(other) == bits(leaf), path


def _index(key):
  return key.key if hasattr(key, "key") else key.idx


def trained(steps=2):
  """A state with counters and moments that are not zero."""
  tx = optimizer.make(tiny.adam(), transformer.specs(CFG))
  made = state.init(tiny.params(CFG), tx)

  def loss(params, micro):
    total = sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(params))
    return total * micro, {"sum": {}, "max": {}, "count": 1.0}

  update = jax.jit(step.make_update(loss, tx))
  for _ in range(steps):
    made, _ = update(made, jnp.ones(1), 1)
  return update(made, jnp.full(1, jnp.nan), 1)[0]  # one skipped


def trees(made, **more):
  return {"params": made.params, "rest": made.replace(params={}), **more}


def abstract(made):
  """The state before anything is known of it, as a run that starts again has it."""
  return jax.tree.map(jnp.zeros_like, made)


@pytest.fixture
def opened(tmp_path):
  found = []

  def one(keep=1, name="checkpoints"):
    found.append(checkpoint.open_folder(tmp_path / name, keep=keep))
    return found[-1]

  yield one
  for checkpointer in found:
    checkpointer.close()


def test_a_training_state_comes_back_bit_for_bit_and_typed(opened):
  made, ref = trained(), tiny.params(CFG, seed=9)
  size = checkpoint.save(opened(), 6, trees(made, ref=ref, run={"rollouts": 3}), score=0.5)
  count = sum(leaf.nbytes for leaf in jax.tree.leaves((made, ref)))
  assert size > 0.5 * count, "compressed, but all of it"
  like = trees(abstract(made), ref=jax.tree.map(jnp.zeros_like, ref), run=None)
  saved = checkpoint.restore(opened(), None, like)
  assert_same(saved["rest"].replace(params=saved["params"]), made)
  assert_same(saved["ref"], ref)
  assert saved["run"] == {"rollouts": 3}
  assert isinstance(saved["rest"], state.TrainState)
  assert (int(saved["rest"].step), int(saved["rest"].skipped)) == (2, 1)
  assert np.any(optax.tree_utils.tree_get(saved["rest"].opt, "nu")["embed_VD"])


def test_typed_keys_and_bfloat16_survive(opened):
  tree = {"key": jax.random.key(3), "half": jnp.arange(5, dtype=jnp.bfloat16) / 3}
  checkpoint.save(opened(), 1, {"tree": tree}, score=0.0)
  like = {"key": jax.random.key(0), "half": jnp.zeros(5, jnp.bfloat16)}
  assert_same(checkpoint.restore(opened(), 1, {"tree": like})["tree"], tree)


def test_a_saved_buffer_may_be_given_away_at_once(opened):
  tree = {"a": jnp.arange(1000.0)}
  checkpoint.save(opened(), 1, {"tree": tree}, score=0.0)
  tree["a"].delete()
  like = {"tree": {"a": jnp.zeros(1000)}}
  np.testing.assert_array_equal(checkpoint.restore(opened(), 1, like)["tree"]["a"], np.arange(1000))


@pytest.mark.parametrize("sizes", [{"fsdp": 8}, {"fsdp": 4, "tensor": 2}], ids=str)
def test_a_checkpoint_of_one_mesh_is_restored_on_another(opened, sizes):
  rules, specs = sharding.FSDP_TENSOR, transformer.specs(CFG)
  before = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
  weights = state.initial_params(jax.random.key(1), specs, before, rules)
  checkpoint.save(opened(), 1, {"params": weights}, score=0.0)
  mesh = sharding.make_mesh(sizes)
  like = sharding.placed(specs, mesh, rules)
  found = checkpoint.restore(opened(), None, {"params": like})["params"]
  jax.tree.map(np.testing.assert_array_equal, found, weights)
  wanted = sharding.shardings(specs, mesh, rules)
  assert jax.tree.all(jax.tree.map(lambda x, s: x.sharding == s, found, wanted))
  alone = sharding.placed(specs, None, None)
  found = checkpoint.restore(opened(), None, {"params": alone})["params"]
  jax.tree.map(np.testing.assert_array_equal, found, weights)
  assert {len(x.sharding.device_set) for x in jax.tree.leaves(found)} == {1}


def one(x):
  return {"tree": {"a": jnp.full(3, float(x))}}


def test_the_last_steps_and_the_best_one_are_kept(opened):
  checkpointer = opened(keep=2)
  for number, score in enumerate((0.1, 0.9, 0.5, 0.2, 0.3), 1):
    checkpoint.save(checkpointer, number, one(number), score=score)
  assert [c.step for c in checkpointer.checkpoints] == [2, 4, 5]
  assert checkpoint.best_step(checkpointer) == 2
  assert checkpointer.latest.step == 5
  again = opened(keep=2)
  assert checkpoint.best_step(again) == 2
  assert checkpoint.restore(again, 2, one(0))["tree"]["a"][0] == 2
  assert checkpoint.restore(again, None, one(0))["tree"]["a"][0] == 5


def test_a_folder_without_checkpoints_has_no_latest(opened):
  assert opened().latest is None


def test_what_a_save_left_unfinished_is_no_checkpoint(opened, tmp_path):
  checkpoint.save(opened(), 1, one(1), score=0.0)
  torn = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  (torn / "tree").mkdir(parents=True)
  (torn / "tree" / "manifest.ocdbt").write_bytes(b"half")
  again = opened()
  assert [c.step for c in again.checkpoints] == [1]
  checkpoint.save(again, 2, one(2), score=0.0)
  assert checkpoint.restore(opened(), None, one(0))["tree"]["a"][0] == 2


SAVE_FOR_EVER = """
import pathlib, sys
import jax.numpy as jnp
from r1.train import checkpoint
checkpointer = checkpoint.open_folder(pathlib.Path(sys.argv[1]), keep=1)
for number in range(1, 1000):
  tree = {"a": jnp.full(300_000, float(number))}
  checkpoint.save(checkpointer, number, {"tree": tree}, score=0.0)
  print(number, flush=True)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_saves_leaves_a_whole_checkpoint(opened, tmp_path):
  folder = tmp_path / "checkpoints"
  for attempt in range(3):
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path / f"{attempt}")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for _ in range(3):
      child.stdout.readline()
    time.sleep(0.01 + 0.017 * attempt)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    folder = opened(name=f"{attempt}")
    step_found = folder.latest.step
    found = checkpoint.restore(folder, None, {"tree": {"a": jnp.zeros(300_000)}})["tree"]["a"]
    assert step_found >= 3
    np.testing.assert_array_equal(found, step_found)


def test_a_resumed_update_is_bit_for_bit_the_one_that_was_not_interrupted(opened):
  cfg = tiny.grpo_config(kl=0.1)
  samples = tiny.random_samples(8)
  scored = rl.Scored(
    samples=samples,
    rewards=None,
    advantage_B=np.linspace(-1, 1, 8),
    counted_B=np.ones(8, bool),
    old=[np.full(len(s.tokens), -5.9) for s in samples],
    ref=[np.full(len(s.tokens), -5.9) for s in samples],
  )
  batch = dataclasses.replace(tiny.batch_config(), minibatches=1)
  rng = np.random.default_rng(0)
  given = {"batch": batch, "cfg": cfg, "mixture": experts.OFF, "rng": rng, "microbatches": 8}
  ((packed, used),) = rl.steps(scored, **given)
  tx = optimizer.make(tiny.adam(), transformer.specs(CFG))
  update = jax.jit(step.make_update(rl.make_loss(CFG, cfg, experts.OFF), tx))
  micro = packed, np.ones(8, np.float32)
  made = update(state.init(tiny.params(CFG), tx), micro, used)[0]
  checkpoint.save(opened(), 1, trees(made), score=0.0)
  saved = checkpoint.restore(opened(), None, trees(abstract(made)))
  resumed = saved["rest"].replace(params=saved["params"])
  assert_same(update(resumed, micro, used), update(made, micro, used))
