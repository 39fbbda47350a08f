"""R1-Zero on adapters: a run that dies goes on as if it had not, and the base stays as it was."""

import json

import jax
import numpy as np
import pytest

from experiments import r1_zero
from r1 import spec
from r1.model import lora, transformer
from r1.stages import reinforce
from r1.train import checkpoint, optimizer, snapshot, state, workdir
from tests.experiments import runs, tiny_run

pytestmark = pytest.mark.usefixtures("cache")
# The reference changes after the second rollout: the third needs one that is neither the base nor
# the policy, and that only a checkpoint has.
CHANGES = {
  "lora.rank": 2,
  "lora.alpha": 4.0,
  "optimizer.learning_rate": 1e-2,
  "rl.reference_every": 4,
}


def config():
  return runs.changed(tiny_run.config(), CHANGES)


def saved(folder):
  """(state, the rest) of the last checkpoint: model, adapters, moments, counters, reference."""
  model = workdir.load(folder)
  trained, frozen = lora.split(model.params)
  settings = reinforce.read(config()).optimizer
  tx = optimizer.make(settings, lora.split(transformer.specs(model.cfg))[0])
  like = state.init(trained, tx, frozen)
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  return snapshot.restore(checkpointer, like, {"ref": trained, "run": None})


def assert_same_run(folder, wanted):
  assert runs.steady(folder) == runs.steady(wanted)
  assert tiny_run.samples(folder) == tiny_run.samples(wanted)
  jax.tree.map(np.testing.assert_array_equal, saved(folder), saved(wanted))


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
  """The workdir of a run of three rollouts that nothing disturbed."""
  return tiny_run.start(config(), tmp_path_factory.mktemp("runs") / "lora")


def test_adapters_and_their_moments_move_and_the_base_does_not(finished):
  (base,) = json.loads((finished / "lineage.json").read_text())["parents"]
  before, after = workdir.load(base).params, workdir.load(finished).params
  adapters = after.pop("lora")
  jax.tree.map(np.testing.assert_array_equal, after, before)
  flat = spec.flatten(adapters)
  moved = {path: np.any(x) for path, x in flat.items() if path.rpartition("/")[2][0] == "b"}
  assert len(moved) == 7, "q, k, v, o, gate, up and down"
  assert all(moved.values()), "each began at zero"
  made, more = saved(finished)
  sizes = [x.size for x in jax.tree.leaves(made.opt) if x.ndim]
  assert sum(sizes) == 2 * sum(x.size for x in flat.values()), "two moments of each adapter"
  assert int(made.step) == 6
  assert more["ref"].keys() == {"lora"}
  then = spec.flatten(more["ref"]["lora"])
  assert any(np.any(then[path]) for path in moved), "no longer the first one"
  assert any(np.any(then[path] != x) for path, x in flat.items()), "nor the last"


@pytest.mark.parametrize("at", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_run_continues_as_if_nothing_had_been(finished, patch, tmp_path, capsys, at):
  """Parameters, adapters, moments, reference, metrics and samples, bit for bit."""
  folder = runs.kill_rl(patch, r1_zero, config(), tmp_path / "killed", at=at)
  assert list(runs.by_step(folder)) == list(range(2 * at + 1))
  assert int(saved(folder)[0].step) == 2 * (at - 1)
  tiny_run.start(config(), folder)
  assert f"continuing after rollout {at - 1}" in capsys.readouterr().out
  assert_same_run(folder, finished)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_like_the_one_that_was_not(finished, tmp_path):
  """The real command and the real signal."""
  folder = tmp_path / "killed"
  whole = runs.command("r1_zero", "tiny", folder, tiny_run.CHANGES | CHANGES)
  runs.run_through_signals(whole, folder, (2, 5))
  assert_same_run(folder, finished)
