"""What a run carries from step to step."""

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import core

from r1 import sharding, spec


class TrainState(struct.PyTreeNode):
  """step: updates applied. skipped: updates refused for NaN in all; in_row: since the last good.

  params: what is trained; frozen: the other part of the same tree, {} where all is trained.
  """

  step: jax.Array
  skipped: jax.Array
  in_row: jax.Array
  params: dict
  opt: optax.OptState
  frozen: dict

  @property
  def policy(self) -> dict:
    """The whole model: what samples and scores."""
    return self.frozen | self.params


def init(params, tx: optax.GradientTransformation, frozen: dict | None = None) -> TrainState:
  """A fresh state in buffers of its own; moments take the shardings of their parameters.

  frozen: taken as it is, to be donated with the rest. Not to be compiled: a compiled program may
  place zeros, which depend on nothing, as it likes.
  """

  def zero():
    return jnp.zeros((), jnp.int32)

  params = jax.tree.map(jnp.copy, params)
  return _settle(TrainState(zero(), zero(), zero(), params, tx.init(params), frozen or {}))


def _settle(state: TrainState) -> TrainState:
  """Counters live where the weights do: left to JAX, the first update would compile twice."""
  home = jax.tree.leaves(state.params)[0]
  if isinstance(home, core.Tracer):
    return state
  home = home.sharding
  if isinstance(home, jax.sharding.NamedSharding):
    home = jax.sharding.NamedSharding(home.mesh, jax.sharding.PartitionSpec())
  return jax.tree.map(lambda x: x if x.committed else jax.device_put(x, home), state)


def initial_params(key, specs, mesh, rules):
  """Initial parameters, made where they will live; without a mesh on the one device."""
  make = jax.jit(
    lambda key: spec.materialize(key, specs),
    out_shardings=None if mesh is None else sharding.shardings(specs, mesh, rules),
  )
  return make(key)
