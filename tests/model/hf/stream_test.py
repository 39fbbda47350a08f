"""Arrays that reach their devices part by part."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1 import sharding
from r1.model.hf import safetensors, stream, write

MESH = {"data": 2, "fsdp": 2, "tensor": 2}
SPECS = {  # and the number of distinct parts of an [8, 4] array on that mesh
  P(): 1,
  P("fsdp"): 2,
  P(None, "tensor"): 2,
  P("tensor", "fsdp"): 4,
  P(("data", "fsdp"), "tensor"): 8,
  P(None, ("fsdp", "tensor")): 4,
}
X = np.arange(32, dtype=np.float32).reshape(8, 4)


def home(spec, **sizes):
  return NamedSharding(sharding.make_mesh(sizes or MESH), spec)


@pytest.mark.parametrize("spec", SPECS)
def test_every_device_gets_its_part_and_each_part_is_read_once(spec):
  asked = []

  def read(cut):
    asked.append(tuple((part.start, part.stop) for part in cut))
    return X[cut].copy()

  got = stream.place(X.shape, home(spec), read)
  want = jax.device_put(X, home(spec))
  assert got.sharding == want.sharding
  assert got.dtype == np.float32
  assert len(got.addressable_shards) == 8
  for mine, other in zip(got.addressable_shards, want.addressable_shards, strict=True):
    assert mine.device == other.device
    np.testing.assert_array_equal(mine.data, other.data)
  assert len(asked) == len(set(asked)) == SPECS[spec]


def test_one_device_and_a_scalar():
  alone = jax.sharding.SingleDeviceSharding(jax.devices()[3])
  got = stream.place(X.shape, alone, lambda cut: X[cut])
  assert got.devices() == {jax.devices()[3]}
  np.testing.assert_array_equal(got, X)
  assert stream.place((), home(P()), lambda cut: np.full((), 2.5)[cut]) == 2.5


def test_types_are_kept():
  for code in ("BF16", "F16", "F8_E4M3", "I32", "U8"):
    x = X.astype(safetensors.DTYPES[code])
    got = stream.place(X.shape, home(P("fsdp")), lambda cut, x=x: x[cut].copy())
    np.testing.assert_array_equal(np.asarray(got), x, strict=True)


def test_a_part_of_another_shape_or_type_is_refused():
  wanted = r"part \(\(0, 4\), \(0, 4\)\) was read with shape \(3, 4\), wanted \(4, 4\)"
  with pytest.raises(ValueError, match=wanted):
    stream.place(X.shape, home(P("fsdp")), lambda cut: X[:3])

  def mixed(cut):
    return X[cut].astype(np.float32 if cut[0].start else np.float16)

  with pytest.raises(ValueError, match="is float32, others are float16"):
    stream.place(X.shape, home(P("fsdp")), mixed)


def at_offset(x, offset):
  """A copy of x that begins `offset` bytes behind a cache line."""
  room = np.empty(x.nbytes + 128, np.uint8)
  first = -room.ctypes.data % 64 + offset
  out = room[first : first + x.nbytes].view(x.dtype).reshape(x.shape)
  out[...] = x
  return out


@pytest.mark.parametrize("offset", [0, 4, 16])
def test_what_was_placed_belongs_to_the_device(offset):
  """A CPU device would share an aligned array with numpy; no donating step could then reuse it."""
  parts = []

  def read(cut):
    parts.append(at_offset(X[cut], offset))
    return parts[-1]

  x = stream.place(X.shape, home(P("tensor")), read)
  for part in parts:
    part[...] = -1
  np.testing.assert_array_equal(x, X)
  where = [part.data.unsafe_buffer_pointer() for part in x.addressable_shards]
  step = jax.jit(lambda x: x.at[0].set(5.0), donate_argnums=0, out_shardings=x.sharding)
  assert [part.data.unsafe_buffer_pointer() for part in step(x).addressable_shards] == where


@pytest.mark.parametrize(("offset", "parts"), [(16, 1), (0, 2)])
def test_the_host_holds_one_part_at_a_time(offset, parts):
  """16.8e6 bytes over 8 devices, or two parts where one is aligned and has to be moved."""
  shape, spec = (1024, 4096), P(("data", "fsdp", "tensor"))
  x = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)

  def peak(make):
    tracemalloc.start()
    got = make(shape, home(spec), lambda cut: at_offset(x[cut], offset))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(got, x)
    return most

  part = x.nbytes // 8
  assert parts * part <= peak(stream.place) < (parts + 0.2) * part
  assert peak(jax.make_array_from_callback) > 7 * part


@pytest.mark.parametrize("spec", [P(None, "fsdp"), P(None, "tensor", "fsdp"), P()])
def test_a_stack_is_filled_in_place_and_keeps_its_sharding(spec):
  layers = np.random.default_rng(0).standard_normal((3, 8, 4)).astype(np.float32)
  stack = jnp.zeros(layers.shape, jnp.float32, device=home(spec))
  where = lambda x: [part.data.unsafe_buffer_pointer() for part in x.addressable_shards]
  first = where(stack)
  for z in (1, 2, 0):
    value = stream.place((8, 4), home(P(*spec[1:])), lambda cut, z=z: layers[z][cut].copy())
    before = stack
    stack = stream.fill(stack, z, value)
    assert before.is_deleted()
    assert not value.is_deleted()
    assert where(stack) == first
    assert stack.sharding == home(spec)
  np.testing.assert_array_equal(stack, layers)


def test_a_value_that_is_sharded_in_another_way_does_not_move_the_stack():
  stack = jnp.zeros((2, 8, 4), jnp.float32, device=home(P()))
  value = jax.device_put(X, home(P("fsdp", "tensor")))
  stack = stream.fill(stack, 1, value)
  assert stack.sharding == home(P())
  np.testing.assert_array_equal(stack, np.stack([0 * X, X]))


def test_filling_casts_to_the_type_of_the_stack_and_compiles_once():
  alone = jax.sharding.SingleDeviceSharding(jax.devices()[5])
  stack = jnp.zeros((4, 3), jnp.float32, device=alone)
  for z in range(4):
    stack = stream.fill(stack, z, jnp.full(3, z + 0.5, jnp.bfloat16, device=alone))
  assert stack.dtype == jnp.float32
  np.testing.assert_array_equal(stack[:, 0], [0.5, 1.5, 2.5, 3.5])
  assert stream._filler(alone)._cache_size() == 1


@pytest.mark.parametrize(("z", "width"), [(3, 4), (-1, 4), (0, 3)])
def test_a_layer_that_does_not_fit_is_refused(z, width):
  """XLA would clamp 3 to the last layer, and -1 would mean it."""
  stack = jnp.zeros((3, 4))
  with pytest.raises(
    ValueError, match=rf"layer {z} of shape \({width},\) .* stack of shape \(3, 4"
  ):
    stream.fill(stack, z, jnp.zeros(width))
  assert not stack.is_deleted()


def test_a_transposed_matrix_of_a_file_reaches_a_stack(tmp_path):
  """As a loader does: files have [outputs, inputs], the tree [inputs, outputs]; cut both ways."""
  rng = np.random.default_rng(2)
  layers = {f"layers.{z}.weight": rng.standard_normal((8, 12)).astype(np.float32) for z in range(3)}
  tensors = [write.Tensor(name, x.shape, x.dtype) for name, x in layers.items()]
  write.checkpoint(tmp_path / "m", write.plan(tensors, 500), layers.__getitem__, {})
  index = safetensors.open_folder(tmp_path / "m")
  stack = jnp.zeros((3, 12, 8), jnp.float32, device=home(P(None, "fsdp", "tensor")))
  for z in range(3):
    entry = index[f"layers.{z}.weight"]
    read = lambda cut, entry=entry: np.ascontiguousarray(safetensors.read(entry, cut[1], cut[0]).T)
    stack = stream.fill(stack, z, stream.place((12, 8), home(P("fsdp", "tensor")), read))
  np.testing.assert_array_equal(stack, np.stack([x.T for x in layers.values()]))
