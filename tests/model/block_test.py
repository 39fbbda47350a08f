"""One layer: two branches beside the stream, of the kind that its stack's name asks for."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from r1 import sharding
from r1.model import attention, block, gqa, layers, mla, moe, presets
from tests.model import latent, reference, tiny

L = 7
EXPERTS = presets.config("tiny-deepseek-v3", tiny.RUNTIME)
CONFIGS = {"gqa": tiny.config(o_bias=True), "mla": latent.config("query latent")}


def inputs(cfg):
  """(x_BLD, cos_sin, places) of one row of five tokens and two of padding."""
  x_BLD = np.random.default_rng(3).standard_normal((1, L, cfg.D)).astype(np.float32)
  position_BL = np.arange(L, dtype=np.int32)[None]
  own = position_BL, (position_BL < 5).astype(np.int32)
  return x_BLD, block.rotary(position_BL, cfg), attention.Places(*own, *own)


def one(tree, z=0):
  """Layer z of a stack."""
  return jax.tree.map(lambda w: jnp.asarray(w[z]), tree)


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_layer_equals_the_float64_reference(kind):
  cfg = CONFIGS[kind]
  stack, (x_BLD, cos_sin, places) = tiny.params(cfg)["dense"], inputs(cfg)
  run = tiny.jit(functools.partial(block.block, held=None, cfg=cfg, stack="dense"))
  y_BLD, buffers, aux = run(one(stack), x_BLD, cos_sin, places)
  assert buffers is None
  assert aux == {}
  want_LD = reference.layer(reference.slice_of(stack, 0), x_BLD[0, :5].astype(np.float64), cfg)
  np.testing.assert_allclose(y_BLD[0, :5], want_LD, rtol=1e-4, atol=2e-5)


def test_a_layer_with_experts_adds_their_output_and_returns_their_statistics():
  """Beside the stream, of the normed sum of input and attention; padding is not routed."""
  cfg = EXPERTS
  p, (x_BLD, cos_sin, places) = one(tiny.params(cfg)["moe"]), inputs(cfg)

  @tiny.jit
  def both(p):
    y_BLD, _, aux = block.block(p, x_BLD, cos_sin, places, None, cfg, "moe")
    h_BLD = layers.rms_norm(x_BLD, p["attn"]["norm_D"], cfg.norm_eps)
    middle_BLD = x_BLD + mla.attend(p["attn"], h_BLD, cos_sin, places, None, cfg)[0]
    h_BLD = layers.rms_norm(middle_BLD, p["feed"]["norm_D"], cfg.norm_eps)
    fed_BLD, want = moe.feed(p["feed"], h_BLD, jnp.arange(L)[None] < 5, cfg)
    return (y_BLD, aux), (middle_BLD + fed_BLD, want)

  got, want = both(p)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
  assert got[1]["load_E"].sum() == 5 * cfg.S


def test_a_stack_has_the_weights_of_its_attention_and_of_its_feed():
  """A model with experts has dense layers too; only the stack called "moe" has a router."""
  cases = (
    (CONFIGS["gqa"], "dense", gqa, layers),
    (CONFIGS["mla"], "dense", mla, layers),
    (EXPERTS, "dense", mla, layers),
    (EXPERTS, "moe", mla, moe),
  )
  for cfg, stack, attn, feed in cases:
    found = block.specs(cfg, stack)
    assert found.keys() == {"attn", "feed"}
    assert found["attn"].keys() == attn.specs(cfg).keys()
    assert found["feed"].keys() == feed.specs(cfg).keys()
    assert ("router_DE" in found["feed"]) == (stack == "moe")


def test_angles_have_the_width_that_is_turned():
  position_BL = jnp.array([[0, 1]])
  assert block.rotary(position_BL, CONFIGS["gqa"])[0].shape == (1, 2, 8 // 2)
  assert block.rotary(position_BL, CONFIGS["mla"])[0].shape == (1, 2, 6 // 2)


def test_the_router_keeps_its_precision_when_a_layer_is_cast():
  """Rounded router weights choose other experts."""
  p = block.cast(one(tiny.params(EXPERTS)["moe"]), jnp.bfloat16)
  kept = {name: w.dtype for name, w in p["feed"].items() if name.startswith("router")}
  assert kept == {"router_DE": jnp.float32, "router_bias_E": jnp.float32}
  others = [w for name, w in p["feed"].items() if name not in kept]
  assert {w.dtype for w in (*others, *p["attn"].values())} == {jnp.dtype("bfloat16")}


def test_a_weight_and_its_gradient_come_back_to_their_shards():
  """Of one layer's slice, whose name has no Z; without rules nothing is touched."""
  cfg = dataclasses.replace(CONFIGS["gqa"], rules=sharding.FSDP_TENSOR)
  with sharding.on(sharding.make_mesh({"fsdp": 4, "tensor": 2})):
    whole = jax.device_put({"feed": {"gate_DF": jnp.ones((16, 24))}}, P())

    def double(p):
      return 2 * block.home(p, cfg)["feed"]["gate_DF"]

    _, pull = jax.vjp(jax.jit(double), whole)
    gradient = jax.jit(lambda w: pull(w)[0])(whole["feed"]["gate_DF"])["feed"]["gate_DF"]
    for x in (jax.jit(double)(whole), gradient):
      assert x.addressable_shards[0].data.shape == (4, 12)
      np.testing.assert_array_equal(x, np.full((16, 24), 2.0))
  assert block.home(whole, CONFIGS["gqa"]) is whole
  assert block.home(None, cfg) is None  # a layer without adapters


def test_tokens_become_rows_of_the_table_in_the_type_of_the_computation():
  table_VD = np.arange(32 * 16, dtype=np.float32).reshape(32, 16) / 512
  token_BL = jnp.array([[3, 0], [31, 3]])
  cfg = tiny.config(dtype="bfloat16")
  x_BLD = block.embed({"embed_VD": jnp.asarray(table_VD)}, token_BL, cfg)
  assert x_BLD.dtype == jnp.bfloat16
  np.testing.assert_allclose(x_BLD.astype(np.float32), table_VD[np.asarray(token_BL)], rtol=2**-8)
