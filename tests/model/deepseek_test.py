"""A whole small DeepSeek-V3 with its extra layer: every gradient, on one device and on a mesh."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import sharding, spec
from r1.model import cache, heads, mtp, presets, transformer
from tests.model import cached, tiny

CFG = presets.config("tiny-deepseek-v3", tiny.RUNTIME | {"attention_block": 8, "logit_chunk": 64})
RULES = sharding.FSDP_TENSOR
MESHES = (
  {"fsdp": 2, "tensor": 2, "expert": 2},
  {"data": 2, "fsdp": 2, "tensor": 2},
  {"expert": 8},
  {"fsdp": 8},
)
PARAMS = tiny.params(CFG)
for feed in (PARAMS["moe"]["feed"], PARAMS["mtp"]["block"]["feed"]):
  feed["router_bias_E"] *= 0.1  # so that every expert is chosen
ROWS = tiny.packed(tiny.documents([11, 5] * 8, CFG), tiny.ROW, rows=8)


def loss(params, rows, cfg):
  """Of the next tokens, of those after them and of the balance; and (output, aux, extra's aux)."""
  out = transformer.forward(params, rows.token_BL, rows.position_BL, rows.segment_BL, cfg)
  more_BL = rows.segment_BL * rows.scored_BL
  further_BLD, aux = mtp.hidden(
    params, out.hidden_BLD, rows.target_BL, rows.position_BL, more_BL, cfg
  )
  after_BL = jnp.pad(rows.target_BL[:, 1:], ((0, 0), (0, 1)))
  next_BL, _ = heads.logp(params, out.hidden_BLD, rows.target_BL, cfg, 1.0)
  after_BL, _ = heads.logp(params, further_BLD, after_BL, cfg, 1.0)
  total = jnp.sum(jnp.where(rows.scored_BL, next_BL, 0.0))
  total += 0.3 * jnp.sum(jnp.where(more_BL > 0, after_BL, 0.0))
  real_BL1 = rows.segment_BL[..., None] > 0
  hidden_BLD = jnp.where(real_BL1, out.hidden_BLD, 0.0)
  return -total + 0.1 * jnp.sum(out.aux["moe"]["balance"]), (hidden_BLD, out.aux, aux)


@functools.cache
def learned(sizes=(), dispatch="dense", remat="none"):
  """((loss, what it returns), gradients); sizes: of a mesh, as items."""
  mesh = sharding.make_mesh(dict(sizes)) if sizes else None
  routing = dataclasses.replace(CFG.moe, dispatch=dispatch, block=8)
  cfg = dataclasses.replace(CFG, rules=RULES if sizes else None, moe=routing, remat=remat)
  with sharding.on(mesh):
    placed = sharding.placed(transformer.specs(cfg), mesh, cfg.rules)
    params = jax.device_put(PARAMS, jax.tree.map(lambda s: s.sharding, placed))
    rows = ROWS
    if sizes:
      rows = jax.device_put(rows, jax.NamedSharding(mesh, sharding.pspec("BL", RULES.act)))
    step = tiny.jit(jax.value_and_grad(loss, has_aux=True), static_argnames="cfg")
    return step(params, rows, cfg=cfg)


def near(got, want):
  """Each array to 2e-5 of its largest number."""

  def one(path, a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(
      a, b, rtol=0, atol=2e-5 * np.abs(b).max(), err_msg=jax.tree_util.keystr(path)
    )

  jax.tree_util.tree_map_with_path(one, got, want)


def test_every_weight_has_a_finite_gradient_that_is_not_zero_but_the_routers_bias():
  _, gradients = learned()
  assert "mtp/block/attn/k_b_CHK" in spec.flatten(gradients)
  for path, gradient in spec.flatten(gradients).items():
    assert np.isfinite(gradient).all(), path
    assert np.abs(gradient).max() > 0 or path.endswith("router_bias_E"), path
    if path.endswith("router_bias_E"):
      assert not gradient.any()
  of_experts = gradients["moe"]["feed"]["gate_EDX"][0]
  assert (np.abs(of_experts).max(axis=(1, 2)) > 0).all()


def test_padding_and_the_ends_of_segments_are_not_routed():
  (_, (_, aux, extra)), _ = learned()
  real, ends = int((ROWS.segment_BL > 0).sum()), 16
  assert aux.keys() == {"moe"}
  np.testing.assert_array_equal(aux["moe"]["load_E"].sum(axis=-1), [real * CFG.S])
  assert extra["load_E"].sum() == (real - ends) * CFG.S


MESH_CASES = [
  pytest.param(sizes, dispatch, remat, marks=[pytest.mark.slow] if i else [])
  for i, (sizes, dispatch, remat) in enumerate(
    [(MESHES[0], "sorted", "layer"), *((sizes, "sorted", "none") for sizes in MESHES)]
    + [(sizes, "dense", "none") for sizes in MESHES[:2]]
  )
]


@pytest.mark.parametrize(("sizes", "dispatch", "remat"), MESH_CASES)
def test_a_mesh_gives_the_numbers_of_one_device(sizes, dispatch, remat):
  """Loss, hidden states, choices of the router and gradients; layers recomputed in one case."""
  near(learned(tuple(sizes.items()), dispatch, remat), learned())


@pytest.mark.slow
def test_recomputed_layers_and_sorted_tokens_have_the_same_gradients():
  near(learned(dispatch="sorted", remat="layer"), learned())


def test_every_matrix_lives_and_has_its_gradient_in_shards():
  """As the table of letters cuts it; on this mesh no matrix is whole on any device."""
  sizes = MESHES[0]
  table, specs = dict(RULES.weight), spec.flatten(transformer.specs(CFG))
  _, gradients = learned(tuple(sizes.items()), "sorted", "layer")
  placed = spec.flatten(sharding.placed(transformer.specs(CFG), sharding.make_mesh(sizes), RULES))
  for path, gradient in spec.flatten(gradients).items():
    s = specs[path]
    cut = math.prod(sizes[table[letter]] for letter in s.axes if letter in table)
    assert math.prod(placed[path].sharding.shard_shape(s.shape)) * cut == math.prod(s.shape), path
    if (s.inputs or path == "embed_VD") and path != "head_DV":  # that one is summed at the logits
      assert gradient.addressable_shards[0].data.size * cut == math.prod(s.shape), path
    assert cut > 1 or not s.inputs, path


@pytest.mark.slow
@pytest.mark.parametrize("sizes", MESHES[:3])
def test_decoding_on_a_mesh_equals_one_device(sizes):
  """Prefill of 8 rows of several lengths, then two steps; the latent cache is split over rows."""
  prompts = tiny.documents([4, 1, 3, 4, 2, 4, 1, 2], CFG)
  rows = [np.concatenate([p, [5, 7]]) for p in prompts]

  def run(mesh, rules):
    cfg = dataclasses.replace(CFG, rules=rules)
    with sharding.on(mesh):
      placed = sharding.placed(transformer.specs(cfg), mesh, rules)
      params = jax.device_put(PARAMS, jax.tree.map(lambda s: s.sharding, placed))
      held, found = jax.jit(lambda: cache.empty(cfg, 8, 8))(), []
      for given, width in ((prompts, 4), (rows, 1), (rows, 1)):
        batch = cached.chunk(given, np.asarray(held.length_B), width)
        out = tiny.forward(params, *batch, cfg, held)
        held = out.cache
        found.append(np.asarray(out.hidden_BLD)[batch[2] > 0])
      return found, held

  found, held = run(sharding.make_mesh(sizes), RULES)
  near(found, run(None, None)[0])
  latent_ZBMC = held.stacks["moe"]["latent_ZBMC"]
  ways = math.prod(n for axis, n in sizes.items() if axis != "tensor")
  assert latent_ZBMC.addressable_shards[0].data.shape[1] == 8 // ways
