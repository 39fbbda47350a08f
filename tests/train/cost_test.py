"""Costs read from compiled programs and from their text."""

import types

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from r1 import sharding
from r1.train import cost

TEXT = """
  %all-gather.1 = bf16[8,16]{1,0:T(8,128)(2,1)} all-gather(%p.1), channel_id=1
  %ag.2 = (bf16[2,16]{1,0}, bf16[8,16]{1,0}) all-gather-start(%p.2), channel_id=2
  %ag.3 = bf16[8,16]{1,0} all-gather-done(%ag.2)
  %all-reduce.4 = (f32[]{:T(128)}, f32[10]{0:T(128)}) all-reduce(%a, %b), to_apply=%add
  %fusion.5 = f32[100]{0} fusion(%all-reduce.4), calls=%all-reduce-scatter
  ROOT %cp.6 = (pred[4]{0}, pred[4]{0}, u32[]) collective-permute-start(%c), channel_id=3
"""


def test_operations_between_devices_are_counted_with_the_bytes_of_their_results():
  assert cost.collectives(TEXT) == {
    "all-gather": (2, 2 * 8 * 16 * 2),
    "all-reduce": (1, 4 + 40),
    "collective-permute": (1, 4),
  }


def test_a_compiled_step_says_what_it_takes():
  x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
  used = cost.measure(jax.jit(lambda a, b: (a @ b) @ b + 1, donate_argnums=0).lower(x, x))
  size = 4 * 256**2
  assert (used.arguments, used.outputs, used.alias) == (2 * size, size, size)
  assert used.temporary >= size  # the first product
  assert used.peak == 2 * size + used.temporary
  assert used.flops == pytest.approx(2 * 2 * 256**3, rel=0.01)
  assert used.collectives == {}


def test_what_a_step_holds_meanwhile_is_counted_beside_several_results():
  x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
  used = cost.measure(jax.jit(lambda a, b: ((a @ b) @ b, jnp.sum(a))).lower(x, x))
  assert used.temporary >= 4 * 256**2  # the first product
  assert used.peak == used.arguments + used.outputs + used.temporary


class Compiled:
  """A program of another platform: 40 bytes in, 30 out, 20 of them in place, at most 80 held."""

  def __init__(self, platform: str):
    device = types.SimpleNamespace(platform=platform)
    self.output_shardings = {"loss": types.SimpleNamespace(device_set=[device])}

  def memory_analysis(self):
    return types.SimpleNamespace(
      argument_size_in_bytes=40,
      output_size_in_bytes=30,
      alias_size_in_bytes=20,
      peak_memory_in_bytes=80,
      temp_size_in_bytes=45,
    )


@pytest.mark.parametrize(("platform", "bytes_"), [("tpu", 30), ("cuda", 45), ("cpu", 45)])
def test_temporaries_are_in_the_peak_of_a_tpu_and_in_a_buffer_elsewhere(platform, bytes_):
  assert cost.temporary(Compiled(platform)) == bytes_


def test_talk_between_devices_shows():
  with sharding.on(mesh := sharding.make_mesh({"fsdp": 8})):
    at = jax.sharding.NamedSharding(mesh, P("fsdp"))
    x = jax.ShapeDtypeStruct((64, 4), jnp.float32, sharding=at)
    used = cost.measure(jax.jit(lambda x: jnp.sum(x, axis=0)).lower(x))
  assert used.collectives == {"all-reduce": (1, 16)}
  assert used.arguments == 8 * 4 * 4


def step(cache, x):
  """One number of the cache is written."""
  return cache.at[3].set(x), x


def test_a_step_in_place_needs_a_small_part_of_its_cache_and_a_copying_one_all_of_it():
  home = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  cache = jax.ShapeDtypeStruct((1 << 16,), jnp.float32, sharding=home)
  number = jax.ShapeDtypeStruct((), jnp.float32, sharding=home)
  assert cost.held({"a": cache, "b": cache}) == 2 * 4 * (1 << 16)

  def share(step):
    lowered = jax.jit(step, donate_argnums=0).lower(cache, number)
    return cost.share(cost.measure(lowered), cache)

  assert share(step) < 0.01

  def copying(cache, x):
    turned = jax.lax.optimization_barrier(cache[::-1])
    return step(turned[::-1] + x, x)

  assert share(copying) >= 1
  refused = pytest.raises(ValueError, match="0 bytes of a cache of 262,144 are updated in place")
  with pytest.warns(UserWarning, match="donated"), refused:
    share(lambda cache, x: (jnp.sum(cache) + x, x))


class Full:
  """A program for which the compiler finds no room, as libtpu says it."""

  def compile(self):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 97.1G of 95.7G hbm.")


class Broken:
  def compile(self):
    raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_no_room_is_told_apart_from_other_errors():
  with pytest.raises(cost.DoesNotFit, match=r"Used 97.1G of 95.7G hbm"):
    cost.measure(Full())
  with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
    cost.measure(Broken())


def test_a_cost_in_words():
  used = cost.Cost(
    arguments=5_000_000_000,
    temporary=20_000_000_000,
    outputs=5_000_000_000,
    alias=4_000_000_000,
    flops=3.27e13,
    accessed=None,
    collectives={"all-gather": (3, 2_500_000_000)},
    seconds=80.4,
  )
  text = "\n".join(cost.lines(used, 95e9))
  assert "peak 26.00 GB a device of 95.00 GB: fits" in text
  assert "temporaries 20.00 GB" in text
  assert "FLOPs 3.27e+13, bytes accessed not counted" in text
  assert "all-gather 3 (2.50 GB)" in text
  assert "peak 26.00 GB a device of 16.00 GB: DOES NOT FIT" in cost.lines(used, 16e9)
  assert cost.lines(used, None)[0] == "peak 26.00 GB a device"
