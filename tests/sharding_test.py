"""Eight virtual devices give one device's numbers, and each holds its share of the weights."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1 import sharding, spec
from r1.algorithms import experts, grpo
from r1.model import heads, transformer
from r1.sampling import engine
from r1.sampling import requests as requests_lib
from r1.train import optimizer, rl
from r1.train import state as states
from r1.train import step as steps
from tests.algorithms import rows
from tests.model import tiny
from tests.sampling import settings

MESHES = ({"fsdp": 4, "tensor": 2}, {"data": 2, "fsdp": 2, "tensor": 2})
RATE = {
  "learning_rate": 1e-2,
  "warmup": 0,
  "steps": 10,
  "final": 1.0,
  "b1": 0.0,  # so that the first moment is the gradient itself
  "b2": 0.95,
  "eps": 1e-2,  # so that Adam's first step does not turn rounding into a sign
  "weight_decay": 0.1,
  "clip": 1e6,
}
CFG = tiny.config(D=32, F=32, V=64, ids=60, tied=False, attention_block=8, logit_chunk=32)


def microbatches(cfg, U=2, B=8, L=16):
  """Two packed micro-batches of random documents with every number of the loss set."""
  rng = np.random.default_rng(4)
  shape = U, B, L
  packed = tiny.packed(tiny.documents([11, 5] * (U * B - 2), cfg), L, rows=U * B)
  packed = jax.tree.map(lambda x: x.reshape(shape), packed)
  noise = lambda: rng.standard_normal(shape).astype(np.float32)
  return grpo.GrpoBatch(
    token_BL=packed.token_BL,
    position_BL=packed.position_BL,
    segment_BL=packed.segment_BL,
    target_BL=packed.target_BL,
    weight_BL=np.where(packed.scored_BL, 1 / packed.scored_BL.sum(), 0).astype(np.float32),
    advantage_BL=noise(),
    old_logp_BL=-3 + 0.1 * noise(),
    ref_logp_BL=-3 + 0.1 * noise(),
    sampler_logp_BL=-3 + 0.1 * noise(),
  ), np.full(U, 0.8, np.float32)


@functools.cache
def learned(sizes):
  """(state after an update, its metrics) on a mesh, or on one device with None."""
  mesh = None if sizes is None else sharding.make_mesh(dict(sizes))
  cfg = dataclasses.replace(CFG, rules=None if mesh is None else sharding.FSDP_TENSOR)
  specs = transformer.specs(cfg)
  tx = optimizer.make(optimizer.OptimizerConfig(**RATE), specs)
  loss = rl.make_loss(cfg, rows.config(kl=0.1), experts.OFF)
  with sharding.on(mesh):
    homes = jax.tree.map(lambda s: s.sharding, sharding.placed(specs, mesh, cfg.rules))
    params = jax.device_put(tiny.params(cfg), homes)
    batch = sharding.place(microbatches(cfg), mesh=mesh, rules=cfg.rules)
    state = jax.jit(states.init, static_argnums=1)(params, tx)
    return jax.jit(steps.make_update(loss, tx))(state, batch, 2)


def adam(state):
  """The moments of the optimiser's state."""
  has_moments = lambda node: hasattr(node, "mu")
  return next(filter(has_moments, jax.tree.leaves(state.opt, is_leaf=has_moments)))


def near(a, b):
  np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [pytest.param(MESHES[0], marks=pytest.mark.slow), MESHES[1]])
def test_a_mesh_gives_the_numbers_of_one_device(sizes):
  """Loss (so forward and log-probabilities), gradients, updated weights and moments, metrics."""
  want, got = learned(None), learned(tuple(sizes.items()))
  jax.tree.map(near, want, got)
  for path, gradient in spec.flatten(adam(want[0]).mu).items():
    assert np.abs(gradient).max() > 1e-4, path


def shards(s, sizes) -> int:
  """Into how many pieces the table of letters cuts a parameter on a mesh of these sizes."""
  table = dict(sharding.FSDP_TENSOR.weight)
  return math.prod(sizes[table[letter]] for letter in s.axes if letter in table)


@pytest.mark.parametrize("sizes", MESHES)
def test_a_device_holds_its_share_of_every_parameter_and_no_copy(sizes):
  """After an update, so the next step starts as the first did; and the moments likewise."""
  state, _ = learned(tuple(sizes.items()))
  specs = spec.flatten(transformer.specs(CFG))
  for tree in (state.params, adam(state).mu, adam(state).nu):
    held = total = 0
    for path, x in spec.flatten(tree).items():
      mine = x.addressable_shards[0].data.nbytes
      assert mine * shards(specs[path], sizes) <= x.nbytes * 1.1, path
      held, total = held + mine, total + x.nbytes
    assert held * sizes["fsdp"] * sizes["tensor"] <= total * 1.1


def test_sampling_on_a_mesh_draws_the_tokens_of_one_device():
  sampler = settings.sampler(
    slots=4, prompt_bucket=4, chunk=4, cache_tokens=4096, layout="auto", in_flight=1
  )
  asked = [requests_lib.Request(f"q{i}", 0, 0, (i, 5, 7)[: 1 + i % 3], 6) for i in range(4)]

  def answers(mesh, rules):
    cfg = dataclasses.replace(CFG, rules=rules)
    specs = transformer.specs(cfg)
    with sharding.on(mesh):
      homes = jax.tree.map(lambda s: s.sharding, sharding.placed(specs, mesh, rules))
      params = jax.device_put(tiny.params(cfg), homes)
      return list(
        engine.generate(params, asked, cfg=cfg, sampler=sampler, temperature=1.0, eos=(1,), seed=0)
      )

  mesh = sharding.make_mesh(MESHES[0])
  for got, want in zip(answers(mesh, sharding.FSDP_TENSOR), answers(None, None), strict=True):
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_allclose(got.logp, want.logp, atol=1e-5)


def test_first_values_are_made_in_their_shards():
  mesh = sharding.make_mesh(MESHES[0])
  specs = {name: transformer.specs(CFG)[name] for name in ("embed_VD", "head_DV")}
  params = states.initial_params(jax.random.key(0), specs, mesh, sharding.FSDP_TENSOR)
  want = states.initial_params(jax.random.key(0), specs, None, None)
  jax.tree.map(near, params, want)
  table_VD = params["embed_VD"]
  assert table_VD.sharding.spec == P("tensor", "fsdp")
  assert table_VD.addressable_shards[0].data.shape == (64 // 2, 32 // 4)


def test_letters_become_mesh_axes():
  weight, act = sharding.FSDP_TENSOR.weight, sharding.FSDP_TENSOR.act
  assert sharding.pspec("ZDHK", weight) == P(None, "fsdp", "tensor", None)
  assert sharding.pspec("UBL", act) == P(None, ("data", "fsdp", "expert"), None)
  assert sharding.pspec("ZEDX", weight) == P(None, "expert", "fsdp", "tensor")
  assert sharding.pspec("EXD", weight) == P("expert", "tensor", "fsdp")
  assert sharding.pspec("DY", weight) == P("fsdp", "tensor")
  with pytest.raises(ValueError, match=r"'HF' maps to .* one mesh axis would split two dimensions"):
    sharding.pspec("HF", weight)
  with pytest.raises(ValueError, match="one mesh axis would split two"):
    sharding.pspec("BD", (("B", ("data", "fsdp")), ("D", "fsdp")))


def test_a_letter_says_which_mesh_axes_split_it():
  weight, act = sharding.FSDP_TENSOR.weight, sharding.FSDP_TENSOR.act
  assert sharding.split_over("E", weight) == ("expert",)
  assert sharding.split_over("B", act) == ("data", "fsdp", "expert")
  assert sharding.split_over("T", act) == sharding.split_over("B", act)
  assert sharding.split_over("K", weight) == ()


def test_home_brings_a_weight_and_its_gradient_back_to_its_shards():
  rules = sharding.FSDP_TENSOR
  with sharding.on(sharding.make_mesh(MESHES[0])):
    whole_DF = jax.device_put(jnp.ones((8, 4)), P())

    def double(w_DF):
      return 2 * sharding.home(w_DF, "DF", rules)

    gradient = jax.jit(lambda w_DF: jax.vjp(double, w_DF)[1](w_DF)[0])(whole_DF)
    for x in (jax.jit(double)(whole_DF), gradient):
      assert x.addressable_shards[0].data.shape == (2, 2)
      np.testing.assert_array_equal(x, np.full((8, 4), 2.0))
  x = jnp.ones((2, 3))
  assert sharding.home(x, "DF", None) is x


def test_vary_types_an_array_for_loops_and_sums_its_gradient():
  """Each of two rows of devices sees the weight; its gradient is what both say of it."""

  def loop(w_D, x_BD):
    w_D = sharding.vary(w_D, (), ("data",))
    return jax.lax.fori_loop(0, 3, lambda _, x: x * w_D[None], x_BD)

  with sharding.on(sharding.make_mesh({"data": 2, "fsdp": 4})):
    on_each = jax.shard_map(loop, in_specs=(P(), P("data")), out_specs=P("data"))
    w_D, x_BD = jnp.array([2.0, 1.0]), jnp.array([[1.0, 2.0], [3.0, 4.0]])
    y_BD, pull = jax.vjp(jax.jit(on_each), w_D, x_BD)
    np.testing.assert_array_equal(y_BD, [[8, 2], [24, 4]])  # w^3 x
    np.testing.assert_array_equal(pull(jnp.ones((2, 2)))[0], [12 * 4, 3 * 6])  # 3 w^2 sum(x)


def test_in_the_loss_ids_take_the_place_of_rows_on_the_axis_that_holds_the_weights():
  rules = sharding.by_ids(sharding.FSDP_TENSOR)
  assert sharding.pspec("DV", rules.weight) == P(None, ("fsdp", "tensor"))
  assert sharding.pspec("BLV", rules.act) == P(("data", "expert"), None, ("fsdp", "tensor"))
  assert sharding.pspec("DF", rules.act) == P(None, "tensor")


def test_the_loss_never_sums_the_whole_heads_gradient_over_the_devices():
  """Each chunk of tokens would, were the logits split over rows (here four chunks in a loop)."""
  cfg = dataclasses.replace(CFG, rules=sharding.FSDP_TENSOR)
  mesh = sharding.make_mesh({"fsdp": 8})
  at = NamedSharding(mesh, P("fsdp"))
  hidden_BLD = jax.ShapeDtypeStruct((8, 16, cfg.D), jnp.float32, sharding=at)
  target_BL = jax.ShapeDtypeStruct((8, 16), jnp.int32, sharding=at)
  with sharding.on(mesh):
    params = sharding.placed(transformer.specs(cfg), mesh, cfg.rules)
    loss = lambda params, *rest: jnp.sum(heads.logp(params, *rest, cfg, 1.0)[0])
    text = jax.jit(jax.grad(loss)).lower(params, hidden_BLD, target_BL).compile().as_text()
  summed = re.findall(r"f32\[([\d,]+)\]\S* all-reduce\(", text)
  assert summed
  assert max(math.prod(map(int, shape.split(","))) for shape in summed) < cfg.D * cfg.V


def test_rows_that_do_not_divide_are_refused():
  assert sharding.row_shards({"fsdp": 4, "expert": 2, "tensor": 8}) == 8
  sharding.check_rows({"fsdp": 4, "expert": 2}, 16, 8)
  with pytest.raises(ValueError, match=r"batches of \[12\] rows .* data x fsdp x expert = 8"):
    sharding.check_rows({"data": 8}, 16, 12)


def test_a_mesh_that_does_not_fit_the_devices_is_refused():
  with pytest.raises(ValueError, match=r"mesh \{'fsdp': 3\} needs 3 devices; there are 8"):
    sharding.make_mesh({"fsdp": 3})
  with pytest.raises(ValueError, match=r"unknown mesh axes \['model'\]; there are \('data'"):
    sharding.make_mesh({"model": 8})


def test_a_run_on_one_device_has_neither_mesh_nor_rules():
  ones = dict.fromkeys(sharding.AXES, 1)
  assert sharding.layout(ones, 3) == (None, None)
  mesh, rules = sharding.layout(ones | {"fsdp": 4, "tensor": 2}, 8)
  assert mesh is not None
  assert (mesh.shape["fsdp"], mesh.shape["tensor"], mesh.size) == (4, 2, 8)
  assert rules is sharding.FSDP_TENSOR
  with pytest.raises(ValueError, match=r"batches of \[6\] rows"):
    sharding.layout(ones | {"fsdp": 4, "tensor": 2}, 8, 6)


def test_without_a_mesh_everything_stays_on_one_device():
  x = jnp.ones((2, 3))
  assert sharding.shard(x, "BD", None) is x
  assert sharding.place(x, mesh=None, rules=None) is x
  homes = spec.flatten(sharding.placed(transformer.specs(CFG), None, None))
  assert {s.sharding.device_set == {jax.devices()[0]} for s in homes.values()} == {True}
  with sharding.on(None):
    assert jax.sharding.get_abstract_mesh().empty


def test_a_batch_is_split_over_data_and_fsdp():
  mesh = sharding.make_mesh(MESHES[1])
  x, heat = sharding.place(
    (np.zeros((2, 8, 5)), np.zeros(2)), mesh=mesh, rules=sharding.FSDP_TENSOR
  )
  assert x.addressable_shards[0].data.shape == (2, 2, 5)
  assert heat.addressable_shards[0].data.shape == (2,)
