"""Letters to mesh axes, in one table for weights and one for activations.

Only this file and configs know the names of mesh axes. The mesh is Auto: XLA propagates shardings
from the constraints below (jax.jit is the successor of pjit).
"""

import contextlib
import dataclasses

import jax
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from r1 import spec

AXES = ("data", "fsdp", "tensor", "expert", "context")

Table = tuple[tuple[str, str | tuple[str, ...]], ...]


@dataclasses.dataclass(frozen=True)
class Rules:
  """letter -> mesh axis (or axes), for weights and for activations; a letter left out is whole."""

  weight: Table
  act: Table


TENSOR = (("H", "tensor"), ("N", "tensor"), ("F", "tensor"), ("V", "tensor"))
FSDP_TENSOR = Rules(
  weight=(("D", "fsdp"), *TENSOR),
  act=(("B", ("data", "fsdp")), *TENSOR),
)


def pspec(axes: str, table: Table) -> P:
  """The PartitionSpec of an array with these letters; refuses one mesh axis used twice."""
  entries = [dict(table).get(letter) for letter in axes]
  used = [m for e in entries if e for m in ((e,) if isinstance(e, str) else e)]
  if len(set(used)) < len(used):
    raise ValueError(f"{axes!r} maps to {entries}: one mesh axis would split two dimensions")
  return P(*entries)


def make_mesh(sizes: dict[str, int]) -> jax.sharding.Mesh:
  """A mesh over all devices; sizes by axis name, axes left out are 1.

  Raises ValueError where the product is not the number of devices.
  """
  if unknown := set(sizes) - set(AXES):
    raise ValueError(f"unknown mesh axes {sorted(unknown)}; there are {AXES}")
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  total = 1
  for size in shape:
    total *= size
  if total != jax.device_count():
    raise ValueError(f"mesh {sizes} needs {total} devices; there are {jax.device_count()}")
  return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def check_rows(shards: int, *rows: int) -> None:
  """Raises ValueError unless batches of these many rows divide evenly over data x fsdp."""
  if uneven := [n for n in rows if n % shards]:
    raise ValueError(
      f"batches of {uneven} rows do not divide over data x fsdp = {shards}; the rows of a "
      "micro-batch are microbatch_tokens / row_tokens, those of a decoding batch sampler.slots"
    )


def shard(x, axes: str, rules: Rules | None):
  """Constrains an activation; without rules (one device) it is left alone."""
  if rules is None:
    return x
  return jax.lax.with_sharding_constraint(x, pspec(axes, rules.act))


def shardings(specs, mesh, rules: Rules):
  """A NamedSharding per parameter."""
  return spec.tree_map(lambda s: NamedSharding(mesh, pspec(s.axes, rules.weight)), specs)


def placed(specs, mesh, rules: Rules | None):
  """ShapeDtypeStructs that say where each parameter lives: on the mesh, or on the one device."""
  if mesh is None:
    homes = spec.tree_map(lambda s: SingleDeviceSharding(jax.devices()[0]), specs)
  else:
    homes = shardings(specs, mesh, rules)
  return jax.tree.map(lambda s, home: s.update(sharding=home), spec.abstract(specs), homes)


def place(tree, *, mesh, rules):
  """Puts host arrays [micro-batch, row, token] or [micro-batch] where the step wants them."""
  if mesh is None:
    return tree

  def put(x):
    return jax.device_put(x, NamedSharding(mesh, pspec("UBL"[: x.ndim], rules.act)))

  return jax.tree.map(put, tree)


def on(mesh):
  """A context in which PartitionSpecs mean this mesh; nothing happens without one."""
  return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)
