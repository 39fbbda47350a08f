"""Policies of rematerialisation: the same gradients, and what each computes again."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import remat, transformer
from tests.model import tiny

KINDS = {
  "gqa": {"qk_norm": True},
  "mla": {"attention": "mla", "C": 8, "P": 4, "W": 8, "A": 8},
}


def learn(name, kind):
  """(the function of the weights that is differentiated, the weights)."""
  cfg = tiny.config(remat=name, **KINDS[kind])
  packed = tiny.packed(tiny.documents([9, 5, 7], cfg), tiny.ROW, rows=2)

  def loss(params):
    where = packed.token_BL, packed.position_BL, packed.segment_BL
    return jnp.sum(jnp.sin(transformer.forward(params, *where, cfg).hidden_BLD))

  return loss, tiny.params(cfg)


@functools.cache
def gradient(name, kind):
  loss, params = learn(name, kind)
  return tiny.jit(jax.grad(loss))(params)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", remat.NAMES[1:])
def test_every_policy_has_the_gradients_of_none(name, kind):
  near = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(near, gradient(name, kind), gradient("none", kind))


def counted(name, kind):
  """(matrix products, walks over blocks of queries) in the program of the gradient."""
  loss, params = learn(name, kind)
  made = [str(e.primitive) for e in tiny.equations(jax.grad(loss), params)]
  return made.count("dot_general"), made.count("while")


@pytest.mark.parametrize("kind", KINDS)
def test_dots_computes_neither_matmuls_nor_attention_again(kind):
  """As many of both as where everything is kept; a whole layer is more."""
  nothing, dots, layer = (counted(name, kind) for name in ("none", "dots", "layer"))
  assert dots == nothing
  assert layer[0] > nothing[0]
  assert layer[1] > nothing[1]


def test_a_layer_that_keeps_less_reserves_less():
  """Bytes of temporaries of the compiled gradient: none > dots > layer."""

  def reserved(name):
    cfg = tiny.config(remat=name, stacks=(("dense", 8),), context=512, D=64, F=256)
    row = jax.ShapeDtypeStruct((4, 512), jnp.int32)

    def loss(params, row_BL):
      return jnp.sum(transformer.forward(params, row_BL, row_BL, row_BL, cfg).hidden_BLD)

    lowered = jax.jit(jax.grad(loss)).lower(tiny.params(cfg), row)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  none, dots, layer = (reserved(name) for name in ("none", "dots", "layer"))
  assert none > 1.2 * dots
  assert dots > 1.2 * layer
