"""An update that does not fit is told beforehand, with a size that does; else it compiles once."""

import contextlib
import re
import types

import jax
import numpy as np
import pytest

from r1 import sharding
from r1.algorithms import experts
from r1.model import transformer
from r1.train import memory, optimizer, rl, state, step
from tests.train import cost_test, tiny

CFG = tiny.model()
ROW = 64


def made(rows=8):
  """(update, state, batch, used) of an update without a sample, as a run makes it."""
  tx = optimizer.make(tiny.adam(), transformer.specs(CFG))
  cfg = tiny.grpo_config(kl=0.1)
  update = step.make_update(rl.make_loss(CFG, cfg, experts.OFF), tx)
  batch, used = rl.empty_step(tiny.batch_config(ROW, rows), cfg, 16 // rows)
  heat_U = np.ones(16 // rows, np.float32)
  weights = tiny.params(CFG)
  return jax.jit(update, donate_argnums=0), state.init(weights, tx), (batch, heat_U), used


def fitted(made, **changes):
  return memory.fitted(*made, **({"row_tokens": ROW, "unit": 1} | changes))


@contextlib.contextmanager
def compilations():
  """How many programs XLA compiles meanwhile."""
  names = []

  def listen(name, seconds, **_):
    if name.endswith("backend_compile_duration"):
      names.append(name)

  jax.monitoring.register_event_duration_secs_listener(listen)
  yield names
  jax.monitoring.unregister_event_duration_listener(listen)


def test_what_fits_is_compiled_once_and_runs():
  update, before, batch, used = made()
  with compilations() as compiled:
    run = fitted((update, before, batch, used))
    assert len(compiled) == 1
    after, _ = run(before, batch, used)
    run(after, batch, used)
    assert len(compiled) == 1


def test_what_does_not_fit_is_refused_with_the_largest_size_that_does():
  given = made()
  update, before, batch, used = given
  needs = [memory.needed(update, before, memory.resized(batch, n), used) for n in (5, 6)]
  assert needs[0] < needs[1] < memory.needed(*given)
  room = int(sum(needs) / 2)
  with pytest.raises(ValueError, match=r"microbatch_tokens=512 needs 0\.\d\d GiB") as error:
    fitted(given, room=room)
  assert f": {5 * ROW} fits" in str(error.value)
  tokens = int(re.findall(r"(\d+) fits", str(error.value))[0])
  fitted((update, before, memory.resized(batch, tokens // ROW), used), room=room)


def test_a_size_that_fits_divides_over_the_mesh():
  update, before, batch, used = given = made()
  room = int(memory.needed(update, before, memory.resized(batch, 7), used))
  with pytest.raises(ValueError, match=f": {4 * ROW} fits"):
    fitted(given, room=room, unit=4)


def test_a_row_that_does_not_fit_alone_is_told_to_be_too_long():
  with pytest.raises(ValueError, match="one row is too long: lower row_tokens"):
    fitted(made(rows=2), room=1000)


def test_running_out_of_memory_names_the_setting():
  class Broken:
    """A program that XLA compiles and cannot run."""

    def __init__(self, message):
      self.message = message
      self.lower = update.lower

    def __call__(self, *_):
      raise jax.errors.JaxRuntimeError(self.message)

  update, *given = made()
  run = fitted((Broken("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), *given))
  with pytest.raises(MemoryError, match=r"microbatch_tokens=512 ran out of memory.*try 256"):
    run(*given)
  run = fitted((Broken("INTERNAL: something else"), *given))
  with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
    run(*given)


def test_what_xla_refuses_to_compile_for_its_size_is_too_large():
  class Refused:
    """A compiler that takes 3 rows and no more."""

    def lower(self, state, batch, used):
      if batch[1].shape[0] < 5:
        raise jax.errors.JaxRuntimeError(
          "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"
        )
      return update.lower(state, batch, used)

  update, *given = made()
  with pytest.raises(ValueError, match=r"needs inf GiB .*: 192 fits"):
    fitted((Refused(), *given))


def test_on_a_tpu_the_peak_counts():
  class Update:
    def lower(self, *_):
      return types.SimpleNamespace(compile=lambda: cost_test.Compiled("tpu"))

  rows = np.zeros((2, 8, 4), np.int32)
  # 30 held meanwhile, 10 of results in no argument's place, and a device's share of the batch.
  needed = memory.needed(Update(), None, rows, 2)
  assert needed == 30 + 10 + rows.nbytes // jax.device_count()


def test_the_halves_find_the_largest():
  for most in range(1, 20):
    for limit in range(20):
      tried = []

      def fits(rows, limit=limit, tried=tried):
        tried.append(rows)
        return rows <= limit

      assert memory.largest(fits, most, 1) == max(0, min(limit, most - 1))
      assert len(tried) <= 5
  assert memory.largest(lambda rows: rows <= 11, 16, 4) == 8


def test_the_room_of_a_cpu_is_its_share_of_the_machine_without_what_is_held():
  before = memory.free()
  held = jax.device_put(np.ones(2**20, np.float32), jax.local_devices()[0])
  assert before - memory.free() == held.nbytes
  assert 2**26 < before < 2**45


def test_rows_shrink_over_a_mesh_in_their_shards():
  mesh = sharding.make_mesh({"data": 8})
  placed = sharding.place(made()[2], mesh=mesh, rules=sharding.FSDP_TENSOR)
  shapes = memory.resized(placed, 16)
  assert shapes[0].token_BL.shape == (1, 16, ROW)
  assert shapes[1].shape == (1,)
  assert shapes[0].token_BL.sharding == placed[0].token_BL.sharding
