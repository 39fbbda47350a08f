"""Experts split over a mesh give the numbers of one device, forward and backward."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import sharding, spec
from r1.model import moe
from tests.model import sparse

RULES = sharding.FSDP_TENSOR
# Rows that are not split over the experts' axis: each of its devices holds all of them already.
WHOLE = sharding.Rules(
  weight=(("E", "expert"), ("X", "tensor"), ("Y", "tensor")),
  act=(("B", "data"), ("X", "tensor"), ("Y", "tensor")),
)
MESHES = {
  "data x expert": ({"data": 2, "expert": 4}, RULES),
  "expert": ({"expert": 8}, RULES),
  "fsdp x expert x tensor": ({"fsdp": 2, "expert": 2, "tensor": 2}, RULES),
  "data x fsdp": ({"data": 2, "fsdp": 4}, RULES),
  "whole rows": ({"data": 2, "expert": 2, "tensor": 2}, WHOLE),
}
LAYERS = 2


@functools.cache
def learned(mesh_name, dispatch="sorted", favoured=()):
  """(y_BLD, aux by layer, gradients) of two scanned layers, each recomputed in its backward."""
  sizes, rules = MESHES[mesh_name] if mesh_name else (None, None)
  mesh = None if sizes is None else sharding.make_mesh(sizes)
  cfg = sparse.config(sparse.V3 | {"dispatch": dispatch}, rules)
  layers = [sparse.params(cfg, seed) for seed in range(LAYERS)]
  params = jax.tree.map(lambda *w: jnp.stack(w), *layers)
  if favoured:
    one_E = jnp.zeros(cfg.E).at[jnp.array(favoured)].set(9.0)
    params["router_bias_E"] = jnp.broadcast_to(one_E, (LAYERS, cfg.E))
  rows = sparse.batch()
  with sharding.on(mesh):
    if mesh is not None:
      homes = sharding.shardings(spec.stack(moe.specs(cfg), LAYERS), mesh, rules)
      params = jax.device_put(params, homes)
      at_row = [sharding.pspec(axes, rules.act) for axes in ("BLD", "BL", "BLD")]
      rows = [jax.device_put(x, jax.NamedSharding(mesh, at)) for x, at in zip(rows, at_row)]
    return jax.jit(pulled, static_argnames="cfg")(params, *rows, cfg)


def pulled(params, x_BLD, real_BL, d_BLD, cfg):
  def loss(params, x_BLD):
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def layer(x_BLD, p):
      y_BLD, aux = moe.feed(p, x_BLD, real_BL, cfg)
      return sharding.shard(x_BLD + y_BLD, "BLD", cfg.rules), aux

    y_BLD, aux = jax.lax.scan(layer, x_BLD, params)
    seen_BLD = jnp.where(real_BL[..., None], y_BLD, 0)
    return jnp.sum(seen_BLD * d_BLD) + jnp.sum(aux["balance"]), (y_BLD, aux)

  (_, out), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x_BLD)
  return *out, gradients


def agree(got, want):
  """2e-5 of the largest element of each array."""

  def near(a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * max(np.abs(b).max(), 1e-6))

  jax.tree.map(near, got, want)


SLOW = ("expert", "data x fsdp")


@pytest.mark.parametrize(
  "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MESHES]
)
def test_a_mesh_gives_the_numbers_of_one_device(name):
  agree(learned(name), learned(None))


def test_the_oracle_gives_them_too():
  agree(learned(None, "dense"), learned(None))
  agree(learned("fsdp x expert x tensor", "dense"), learned(None))


def test_one_device_may_receive_every_token():
  """Experts 0 .. 2 (of groups 0 and 1) win everywhere: on eight devices, five have no work."""
  got = learned("expert", favoured=(0, 1, 2))
  assert (got[1]["load_E"][:, 3:] == 0).all()
  agree(got, learned(None, favoured=(0, 1, 2)))


@pytest.mark.parametrize(
  ("name", "share", "of_router"),
  [("data x expert", 4, 4), ("expert", 8, 8), ("fsdp x expert x tensor", 8, 4)],
)
def test_a_device_holds_its_share_of_the_gradients(name, share, of_router):
  """As of the weights: its experts', cut along the width that fsdp cuts."""
  d_params, _ = learned(name)[2]
  for matrix in (*moe.MATRICES, "router_DE"):
    mine = d_params[matrix].addressable_shards[0].data.size
    assert mine * (of_router if "router" in matrix else share) == d_params[matrix].size, matrix


def test_tokens_are_routed_where_they_are():
  """No device is sent the scores of another's tokens, as XLA would do for a top_k of its own."""
  sizes, rules = MESHES["data x expert"]
  mesh, cfg = sharding.make_mesh(sizes), sparse.config(rules=RULES)
  with sharding.on(mesh):
    homes = sharding.shardings(moe.specs(cfg), mesh, rules)
    p = jax.tree.map(lambda s, home: s.update(sharding=home), spec.abstract(moe.specs(cfg)), homes)
    x_BLD, real_BL, _ = sparse.batch()
    feed = jax.jit(lambda p, x_BLD: moe.feed(p, x_BLD, real_BL, cfg)[0])
    row = jax.NamedSharding(mesh, sharding.pspec("BLD", rules.act))
    text = feed.lower(p, jax.ShapeDtypeStruct(x_BLD.shape, x_BLD.dtype, sharding=row)).compile()
  gathers = [line for line in text.as_text().splitlines() if re.search(r" all-gather\(", line)]
  assert any("shard_map/all_gather" in line for line in gathers)
  assert not any("top_k" in line for line in gathers)


def test_rules_without_a_mesh_are_refused():
  cfg = sparse.config(rules=RULES)
  x_BLD, real_BL, _ = sparse.batch()
  with pytest.raises((ValueError, RuntimeError), match="mesh"):
    moe.feed(sparse.params(dataclasses.replace(cfg, rules=None)), x_BLD, real_BL, cfg)
