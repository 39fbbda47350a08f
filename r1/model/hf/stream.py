"""From a file to the devices: each holds its share, and the host one share at a time."""

import functools
import gc
from collections.abc import Callable

import jax
import numpy as np

LINE = 64  # bytes of a cache line

Cut = tuple[slice, ...]  # a range (start, stop) per axis


def place(
  shape: tuple[int, ...], sharding: jax.sharding.Sharding, read: Callable[[Cut], np.ndarray]
) -> jax.Array:
  """An array of this shape and sharding, whose parts come from `read` one after the other.

  read(cut) returns the values of one device's part. It is called once for each distinct part of
  this process, also where several devices hold a copy of it, and only when the part before has
  reached its devices (jax.make_array_from_callback holds all of them at once).
  Raises ValueError where read returns another shape, or another type than before.
  """
  homes: dict[tuple[tuple[int, int], ...], list] = {}
  for device, cut in sharding.addressable_devices_indices_map(shape).items():
    whole = cut or (slice(None),) * len(shape)
    ends = tuple(part.indices(length)[:2] for part, length in zip(whole, shape))
    homes.setdefault(ends, []).append(device)
  parts: list[jax.Array] = []
  for ends, devices in homes.items():
    parts += _put(ends, devices, read)
    gc.collect(0)  # jax lets go of the host's array at the next collection, not before
    if parts[-1].dtype != parts[0].dtype:
      raise ValueError(f"part {ends} of {shape} is {parts[-1].dtype}, others are {parts[0].dtype}")
  return jax.make_array_from_single_device_arrays(shape, sharding, parts)


def _put(ends, devices, read) -> list[jax.Array]:
  """One part, read and put on each of its devices."""
  part = np.asarray(read(tuple(slice(first, last) for first, last in ends)))
  wanted = tuple(last - first for first, last in ends)
  if part.shape != wanted:
    raise ValueError(f"the part {ends} was read with shape {part.shape}, wanted {wanted}")
  if devices[0].platform == "cpu" and part.ctypes.data % LINE == 0:
    part = _beside_a_line(part)
  return jax.block_until_ready([jax.device_put(part, device) for device in devices])


def _beside_a_line(part: np.ndarray) -> np.ndarray:
  """A copy that a CPU device has to copy once more, into memory of its own.

  An array that begins on a cache line it would take as it is, and then no donating step could write
  to it in place. Whether malloc returns such an address is chance.
  """
  room = np.empty(part.nbytes + 2 * LINE, np.uint8)
  first = -room.ctypes.data % LINE + part.itemsize
  beside = room[first : first + part.nbytes].view(part.dtype).reshape(part.shape)
  beside[...] = part
  return beside


def fill(stack: jax.Array, z: int, value: jax.Array) -> jax.Array:
  """`stack` with `value` (cast to its type) as its layer z, in the same memory and sharding.

  stack is donated: it is gone afterwards, and at no time are there two. Start from
  jnp.zeros(shape, dtype, device=sharding). Raises ValueError for a layer that it does not have (XLA
  would write to the nearest) and for a value of another shape.
  """
  if not 0 <= z < stack.shape[0] or value.shape != stack.shape[1:]:
    raise ValueError(
      f"layer {z} of shape {value.shape} does not fit into a stack of shape {stack.shape}"
    )
  return _filler(stack.sharding)(stack, z, value)


@functools.cache
def _filler(sharding: jax.sharding.Sharding):
  """Compiled once per shape: the number of the layer is an argument."""

  def put(stack, z, value):
    return jax.lax.dynamic_update_index_in_dim(stack, value.astype(stack.dtype), z, 0)

  return jax.jit(put, donate_argnums=0, out_shardings=sharding)
