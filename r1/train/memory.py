"""Does an update fit the device? Told before the first one, with a size that does.

The program is compiled ahead of time and asked what it reserves. JAX keeps it, so the first update
does not compile again.
"""

import os
from collections.abc import Callable

import jax

from r1.train import cost

GIB = 2**30


def fitted(
  update,
  state,
  batch,
  used: int,
  *,
  row_tokens: int,
  unit: int,
  fixed: tuple = (),
  room: int | None = None,
) -> Callable:
  """`update(state, batch, used)`, compiled for these; running out of memory names the setting.

  update: of `jax.jit`, which donates its state. batch: arrays [U, B, L] or [U]. unit: B must be a
  multiple of it. fixed: what every update is given beside the batch, such as a teacher's weights;
  they are on the devices already. room: bytes a device has beside what is in it, None: as `free`
  finds. Raises ValueError where they are fewer than needed, with the largest microbatch_tokens that
  fits.
  """
  room = free() if room is None else room
  rows = next(x.shape[1] for x in jax.tree.leaves(batch) if x.ndim == 3)

  def fits(rows: int) -> bool:
    return needed(update, state, resized(batch, rows), used, *fixed) <= room

  need = needed(update, state, batch, used, *fixed)
  if need > room:
    best = largest(fits, rows, unit)
    advice = f"{best * row_tokens} fits" if best else "one row is too long: lower row_tokens"
    raise ValueError(
      f"microbatch_tokens={rows * row_tokens} needs {need / GIB:.2f} GiB on each device beside the "
      f"weights, there are {room / GIB:.2f}: {advice} (or take runtime.remat=layer)"
    )

  def run(state, batch, used):
    try:
      return update(state, batch, used, *fixed)
    except jax.errors.JaxRuntimeError as error:
      if cost.FULL not in str(error):
        raise
      half = max(rows // unit // 2, 1) * unit * row_tokens
      raise MemoryError(
        f"an update with microbatch_tokens={rows * row_tokens} ran out of memory, though "
        f"{need / GIB:.2f} GiB of {room / GIB:.2f} were foreseen; try {half} or runtime.remat=layer"
      ) from error

  return run


def free() -> int:
  """Bytes a device has left: of its own memory, or of its share of the machine's."""
  device = jax.local_devices()[0]
  stats = device.memory_stats()
  if stats and "bytes_limit" in stats:
    return stats["bytes_limit"] - stats["bytes_in_use"]
  shards = (shard for x in jax.live_arrays() for shard in x.addressable_shards)
  held = sum(shard.data.nbytes for shard in shards if shard.device == device)
  total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  return total // jax.local_device_count() - held


def needed(update, state, batch, used: int, *fixed) -> float:
  """Bytes an update takes on a device beside its donated state; infinite where XLA gave up."""
  try:
    compiled = update.lower(state, batch, used, *fixed).compile()
  except jax.errors.JaxRuntimeError as error:
    if cost.FULL not in str(error):
      raise
    return float("inf")
  given = sum(x.dtype.itemsize * x.size for x in jax.tree.leaves(batch)) // jax.device_count()
  memory = compiled.memory_analysis()
  results = memory.output_size_in_bytes - memory.alias_size_in_bytes
  return cost.temporary(compiled) + results + given


def resized(batch, rows: int):
  """The shapes of the same tokens in micro-batches of `rows` rows."""
  U, B = next(x.shape[:2] for x in jax.tree.leaves(batch) if x.ndim == 3)
  count = -(-U * B // rows)

  def shaped(x):
    shape = (count, rows, *x.shape[2:]) if x.ndim == 3 else (count, *x.shape[1:])
    home = x.sharding if isinstance(x, jax.Array) else None
    return jax.ShapeDtypeStruct(shape, x.dtype, sharding=home)

  return jax.tree.map(shaped, batch)


def largest(fits: Callable[[int], bool], below: int, unit: int) -> int:
  """The largest multiple of `unit` below `below` that fits, by halves; 0 if none does.

  fits: costs a compilation, and fewer rows always fit where more do.
  """
  low, high = 0, -(-below // unit)
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if fits(middle * unit) else (low, middle)
  return low * unit
