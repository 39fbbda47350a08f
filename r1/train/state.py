"""What a run carries from step to step."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from r1 import sharding, spec


class TrainState(struct.PyTreeNode):
  """step: updates applied. skipped: updates refused for NaN in all; in_row: since the last good."""

  step: jax.Array
  skipped: jax.Array
  in_row: jax.Array
  params: dict
  opt: optax.OptState


def init(params, tx: optax.GradientTransformation) -> TrainState:
  """A fresh state in buffers of its own; moments take the shardings of their parameters.

  Not to be compiled: a compiled program may place zeros, which depend on nothing, as it likes.
  """

  def zero():
    return jnp.zeros((), jnp.int32)

  params = jax.tree.map(jnp.copy, params)
  return TrainState(zero(), zero(), zero(), params, tx.init(params))


def initial_params(key, specs, mesh, rules):
  """Initial parameters, made where they will live; without a mesh on the one device."""
  make = jax.jit(
    lambda key: spec.materialize(key, specs),
    out_shardings=None if mesh is None else sharding.shardings(specs, mesh, rules),
  )
  return make(key)
