"""Latent attention: the paper's equations in float64, and two ways to read its cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention, cache, mla
from tests.model import cached, latent, reference, tiny

L, WINDOW = 9, 4  # the window is of the last variant alone


def window_of(variant: str) -> int:
  return WINDOW if variant == "biases" else 0


def weights(cfg):
  """One layer's."""
  return {name: jnp.asarray(w[0]) for name, w in tiny.params(cfg)["dense"]["attn"].items()}


def inputs(cfg):
  """x_BLD of two rows; the second has 5 tokens and padding."""
  x_BLD = np.random.default_rng(3).standard_normal((2, L, cfg.D)).astype(np.float32)
  return x_BLD, np.arange(L)[None] < np.array([[L], [5]])


def places(real_BL, window):
  position_BL = np.broadcast_to(np.arange(L, dtype=np.int32), real_BL.shape)
  segment_BL = real_BL.astype(np.int32)
  limit = jnp.int32(window) if window else None
  return attention.Places(position_BL, segment_BL, position_BL, segment_BL, limit)


@functools.cache
def attended(variant):
  """y_BLD by rows without a cache, by either way over a cache, and blockwise."""
  cfg = latent.config(variant, attend="einsum")
  x_BLD, real_BL = inputs(cfg)
  at = places(real_BL, window_of(variant))
  cos_sin = mla.rotary(at.position_BL, cfg)
  buffers = cache.empty(cfg, 2, L).stacks["dense"]

  @tiny.jit
  def ways(p):
    run = lambda held, **changes: mla.attend(
      p, x_BLD, cos_sin, at, held, latent.config(variant, **changes)
    )[0]
    held = cache.Held(buffers, 0, 0, "dense", cache.Cache({}, jnp.zeros(2, jnp.int32), L))
    return {
      "einsum": run(None, attend="einsum"),
      "blockwise": run(None, attend="blockwise"),
      "absorbed": run(held, absorb=True),
      "expanded": run(held, absorb=False),
    }

  return jax.device_get(ways(weights(cfg)))


@pytest.mark.parametrize("variant", latent.VARIANTS)
@pytest.mark.parametrize("way", ["einsum", "blockwise", "absorbed", "expanded"])
def test_every_way_equals_the_papers_equations_in_float64(variant, way):
  cfg = latent.config(variant)
  p = {name: np.asarray(w, np.float64) for name, w in weights(cfg).items()}
  x_BLD, real_BL = inputs(cfg)
  for b, n in enumerate(real_BL.sum(axis=1)):
    want_LD = reference.attend_latent(p, x_BLD[b, :n].astype(np.float64), cfg, window_of(variant))
    got_LD = attended(variant)[way][b, :n]
    np.testing.assert_allclose(got_LD, want_LD, rtol=1e-4, atol=1e-5)
    assert np.abs(want_LD).max() > 1


@pytest.mark.parametrize("variant", latent.VARIANTS)
def test_queries_carried_to_the_latents_give_the_same_numbers(variant):
  real_BL = inputs(latent.config(variant))[1]
  got, want = (attended(variant)[way][real_BL] for way in ("absorbed", "expanded"))
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", latent.VARIANTS)
def test_each_variant_has_its_own_weights(variant):
  cfg = latent.config(variant)
  common = {"norm_D", "kv_a_DC", "k_rope_DP", "kv_a_norm_C", "k_b_CHK", "v_b_CHW", "o_HWD"}
  own = {"q_nope_DHK", "q_rope_DHP"}
  if cfg.A:
    own = {"q_a_DA", "q_a_norm_A", "q_nope_AHK", "q_rope_AHP"}
  if cfg.qkv_bias:
    own |= {"q_a_bias_A", "kv_a_bias_C", "k_rope_bias_P", "o_bias_D"}
  assert set(mla.specs(cfg)) == common | own


def test_biases_without_a_query_latent_leave_the_queries_without_one():
  cfg = latent.config("biases", A=0)
  assert {name for name in mla.specs(cfg) if "bias" in name} == {
    "kv_a_bias_C",
    "k_rope_bias_P",
    "o_bias_D",
  }


@pytest.mark.parametrize("absorb", [True, False])
def test_prefill_in_pieces_and_decoding_equal_the_full_forward(absorb):
  """Every bias, a stretched context and windows, by either way of reading the cache."""
  cached.check(latent.config("biases", absorb=absorb, windows=(WINDOW,), ids=29))


def test_the_cache_holds_c_plus_p_numbers_of_a_token_and_layer():
  cfg = latent.config("query latent", stacks=(("dense", 1), ("rest", 2)))
  buffers = cache.specs(cfg, rows=2, slots=7)
  assert buffers["rest"] == {
    "latent_ZBMC": jax.ShapeDtypeStruct((2, 2, 7, 10), jnp.float32),
    "rotary_ZBMP": jax.ShapeDtypeStruct((2, 2, 7, 6), jnp.float32),
  }
  held = jax.tree.leaves(cache.empty(cfg, 2, 7).stacks)
  assert sum(x.nbytes for x in held) == 4 * 3 * 2 * 7 * (10 + 6)


def test_the_gradient_is_that_of_finite_differences():
  """One number of each weight, moved by 1e-4 either way in float64; no weight is left out."""
  cfg = latent.config("biases")
  p, (x_BLD, real_BL) = weights(cfg), inputs(cfg)
  d_BLD = np.random.default_rng(4).standard_normal(x_BLD.shape) * real_BL[..., None]

  def total(p):
    at = places(real_BL, WINDOW)
    y_BLD, _ = mla.attend(p, x_BLD, mla.rotary(at.position_BL, cfg), at, None, cfg)
    return jnp.sum(y_BLD * d_BLD)

  def exact(p):
    rows = [
      np.sum(reference.attend_latent(p, x_BLD[b, :n], cfg, WINDOW) * d_BLD[b, :n])
      for b, n in enumerate(real_BL.sum(axis=1))
    ]
    return sum(rows)

  gradients, rng = jax.device_get(tiny.jit(jax.grad(total))(p)), np.random.default_rng(5)
  exactly = {name: np.asarray(w, np.float64) for name, w in p.items()}
  x_BLD = x_BLD.astype(np.float64)
  assert not gradients.pop("norm_D").any()  # the block's, before attention
  for name, gradient in gradients.items():
    at = tuple(rng.integers(0, gradient.shape))
    step = np.zeros(gradient.shape)
    step[at] = 1e-4
    sides = [exact(exactly | {name: exactly[name] + sign * step}) for sign in (1, -1)]
    want = (sides[0] - sides[1]) / 2e-4
    np.testing.assert_allclose(gradient[at], want, rtol=1e-3, atol=1e-3, err_msg=name)
    assert np.abs(gradient).max() > 1e-2, name
