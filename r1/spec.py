"""Parameters declared once: a tree of ParamSpec whose leaf names are their shapes.

`specs(cfg)` of a model is the only place where a weight is named. Everything else (initial values,
shardings, weight decay, counting) is a function of that tree.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from r1 import dims

Init = Callable[[jax.Array, tuple[int, ...]], jax.Array]


@dataclasses.dataclass(frozen=True)
class ParamSpec:
  """One array of the model.

  axes: one letter of `dims.LETTERS` per dimension.
  inputs: the letters that a matmul contracts; "" for tables, gains and biases.
  trained: False for an array that no gradient moves (the bias of a balanced router).
  """

  shape: tuple[int, ...]
  axes: str
  inputs: str
  init: Init
  trained: bool = True


def _fan_in(key, shape, *, contracted: int):
  return jax.random.normal(key, shape, jnp.float32) * contracted**-0.5


def _table(key, shape):
  return 0.02 * jax.random.normal(key, shape, jnp.float32)


def _ones(_, shape):
  return jnp.ones(shape, jnp.float32)


def zeros(_, shape):
  """An initial value."""
  return jnp.zeros(shape, jnp.float32)


def _shape(name: str, cfg) -> tuple[str, tuple[int, ...]]:
  axes = dims.suffix(name)
  return axes, tuple(getattr(cfg, letter) for letter in axes)


def matrix(name: str, cfg, inputs: str) -> dict[str, ParamSpec]:
  """A matmul weight; normal with variance 1 / (product of the contracted sizes)."""
  axes, shape = _shape(name, cfg)
  contracted = math.prod(size for letter, size in zip(axes, shape) if letter in inputs)
  return {name: ParamSpec(shape, axes, inputs, partial(_fan_in, contracted=contracted))}


def table(name: str, cfg) -> dict[str, ParamSpec]:
  """An embedding table; normal with standard deviation 0.02."""
  axes, shape = _shape(name, cfg)
  return {name: ParamSpec(shape, axes, "", _table)}


def gain(name: str, cfg) -> dict[str, ParamSpec]:
  """The gain of a norm; ones."""
  axes, shape = _shape(name, cfg)
  return {name: ParamSpec(shape, axes, "", _ones)}


def bias(name: str, cfg, trained: bool = True) -> dict[str, ParamSpec]:
  """An additive bias; zeros."""
  axes, shape = _shape(name, cfg)
  return {name: ParamSpec(shape, axes, "", zeros, trained)}


def stack(tree, layers: int):
  """The same specs with a leading layer axis Z; Z is never contracted."""

  def lift(s: ParamSpec) -> ParamSpec:
    def init(key, shape):
      return jax.vmap(lambda k: s.init(k, shape[1:]))(jax.random.split(key, shape[0]))

    return dataclasses.replace(s, shape=(layers, *s.shape), axes="Z" + s.axes, init=init)

  return tree_map(lift, tree)


def tree_map(f, tree, *rest):
  """jax.tree.map with ParamSpec as the leaf."""
  return jax.tree.map(f, tree, *rest, is_leaf=lambda x: isinstance(x, ParamSpec))


def flatten(tree) -> dict[str, Any]:
  """Nested dicts to {"blocks/attn/q_DHK": leaf}, in sorted order of the path."""
  flat = {}
  for name in sorted(tree):
    value = tree[name]
    children = flatten(value) if isinstance(value, dict) else {None: value}
    flat |= {name if path is None else f"{name}/{path}": leaf for path, leaf in children.items()}
  return flat


def materialize(key, specs):
  """Initial values; each array draws from a key of its own path, so adding one moves no other."""
  flat = flatten(specs)
  values = {}
  for path, s in flat.items():
    values[path] = s.init(jax.random.fold_in(key, path_number(path)), s.shape)
  return unflatten(values)


def path_number(path: str) -> int:
  """A stable 31-bit number of a path (Python's own hash changes from process to process)."""
  number = 5381
  for byte in path.encode():
    number = (number * 33 + byte) % 2**31
  return number


def unflatten(flat: dict[str, Any]):
  """The inverse of `flatten`."""
  tree: dict[str, Any] = {}
  for path, value in flat.items():
    *parents, name = path.split("/")
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree


def abstract(specs, dtype=jnp.float32):
  """ShapeDtypeStructs: the parameters without memory."""
  return tree_map(lambda s: jax.ShapeDtypeStruct(s.shape, dtype), specs)


def count(specs) -> int:
  """Number of parameters."""
  return sum(math.prod(s.shape) for s in flatten(specs).values())
