"""Letters to mesh axes, in one table for weights and one for activations.

Only this file and configs know the names of mesh axes. The mesh is Auto: XLA propagates shardings
from the constraints below (jax.jit is the successor of pjit).
"""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence

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


TENSOR = tuple((letter, "tensor") for letter in "HNFVXY")
# Rows are split over "expert" too: outside of the routed experts it is one more axis of data.
ROWS = ("data", "fsdp", "expert")
FSDP_TENSOR = Rules(
  weight=(("D", "fsdp"), ("E", "expert"), *TENSOR),
  act=(("B", ROWS), ("T", ROWS), *TENSOR),
)


def by_ids(rules: Rules) -> Rules:
  """The same with ids in the place of rows and widths on the mesh axis "fsdp"; for the loss."""
  weight = {letter: axes for letter, axes in rules.weight if letter != "D"}
  act = dict(rules.act) | {"B": tuple(axis for axis in ROWS if axis != "fsdp")}
  ids = {"V": ("fsdp", "tensor")}
  return Rules(tuple((weight | ids).items()), tuple((act | ids).items()))


def split_over(letter: str, table: Table) -> tuple[str, ...]:
  """The mesh axes that split a letter; none where it is whole."""
  entry = dict(table).get(letter, ())
  return (entry,) if isinstance(entry, str) else entry


def divides(size: int, letter: str, table: Table) -> bool:
  """Does an axis of this size split evenly over its part of the mesh in use (see `on`)?"""
  mesh = jax.sharding.get_abstract_mesh().shape
  return size % math.prod(mesh.get(axis, 1) for axis in split_over(letter, table)) == 0


def pspec(axes: str, table: Table) -> P:
  """The PartitionSpec of an array with these letters; refuses one mesh axis used twice."""
  entries = [dict(table).get(letter) for letter in axes]
  used = [m for letter in axes for m in split_over(letter, table)]
  if len(set(used)) < len(used):
    raise ValueError(f"{axes!r} maps to {entries}: one mesh axis would split two dimensions")
  return P(*entries)


def make_mesh(sizes: dict[str, int], devices: Sequence | None = None) -> jax.sharding.Mesh:
  """A mesh over all devices; sizes by axis name, axes left out are 1.

  devices: of another machine, to compile for it; None for this one's.

  Raises ValueError where the product is not the number of devices.
  """
  if unknown := set(sizes) - set(AXES):
    raise ValueError(f"unknown mesh axes {sorted(unknown)}; there are {AXES}")
  shape = tuple(sizes.get(axis, 1) for axis in AXES)
  devices = jax.devices() if devices is None else devices
  if (total := math.prod(shape)) != len(devices):
    raise ValueError(f"mesh {sizes} needs {total} devices; there are {len(devices)}")
  return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def row_shards(sizes: Mapping[str, int]) -> int:
  """Into how many pieces a mesh of these sizes splits the rows of a batch."""
  return math.prod(sizes.get(axis, 1) for axis in ROWS)


def check_rows(sizes: dict[str, int], *rows: int) -> None:
  """Raises ValueError unless batches of these many rows divide evenly over the mesh's row axes."""
  shards = row_shards(sizes)
  if uneven := [n for n in rows if n % shards]:
    raise ValueError(
      f"batches of {uneven} rows do not divide over {' x '.join(ROWS)} = {shards}; the rows of a "
      "micro-batch are microbatch_tokens / row_tokens, those of a decoding batch sampler.slots"
    )


def layout(sizes: dict[str, int], *rows: int) -> tuple[jax.sharding.Mesh | None, Rules | None]:
  """(mesh, rules) of a run over meshes of these sizes; (None, None) for one device.

  rows: of the run's batches, as for `check_rows`.
  """
  mesh = make_mesh(sizes) if max(sizes.values()) > 1 else None
  check_rows(sizes, *rows)
  return mesh, None if mesh is None else FSDP_TENSOR


def shard(x, axes: str, rules: Rules | None):
  """Constrains an activation; without rules (one device) it is left alone."""
  if rules is None:
    return x
  return jax.lax.with_sharding_constraint(x, pspec(axes, rules.act))


def home(weight, axes: str, rules: Rules | None):
  """Constrains a parameter, and so its gradient, to where the parameter lives."""
  if rules is None:
    return weight
  return jax.lax.with_sharding_constraint(weight, pspec(axes, rules.weight))


def shardings(specs, mesh, rules: Rules):
  """A NamedSharding per parameter."""
  return spec.tree_map(lambda s: NamedSharding(mesh, pspec(s.axes, rules.weight)), specs)


def placed(specs, mesh, rules: Rules | None):
  """ShapeDtypeStructs that say where each parameter lives: on the mesh, or on the one device."""
  if mesh is None:
    homes = spec.tree_map(lambda s: SingleDeviceSharding(jax.devices()[0]), specs)
  else:
    assert rules is not None, "a mesh comes with its rules"
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


def vary(tree, own: tuple[str, ...], axes: tuple[str, ...]):
  """Inside `jax.shard_map`: arrays that differ over the axes `own`, typed to differ over all axes.

  What a loop carries and a hand-written gradient returns must have one such type throughout; the
  gradient of the cast is the sum over the axes that it adds.
  """
  missing = tuple(axis for axis in axes if axis not in own)
  return jax.lax.pcast(tree, missing, to="varying")
