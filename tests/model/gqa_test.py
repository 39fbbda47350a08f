"""Grouped-query attention: one layer against float64, without a cache and over one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention, cache, gqa
from tests.model import reference, tiny

L = 9
VARIANTS = {
  "qwen2": {"qkv_bias": True},
  "qwen3": {"qkv_bias": False, "qk_norm": True},
  "every bias, one key head": {"qkv_bias": True, "o_bias": True, "qk_norm": True, "N": 1},
  "a key head each": {"qkv_bias": False, "N": 4},
}


def weights(cfg):
  return {name: jnp.asarray(w[0]) for name, w in tiny.params(cfg)["dense"]["attn"].items()}


def inputs(cfg):
  return np.random.default_rng(3).standard_normal((1, L, cfg.D)).astype(np.float32)


@functools.cache
def attended(variant, window):
  """y_LD of one row: without a cache, and over one that is filled by 4, by 4 and by 1."""
  cfg = tiny.config(**VARIANTS[variant])
  x_BLD, limit = inputs(cfg), jnp.int32(window) if window else None

  def at(start, end):
    position_BL = jnp.arange(start, end, dtype=jnp.int32)[None]
    key_BM = jnp.arange(L, dtype=jnp.int32)[None]
    held_BM = (key_BM < end).astype(jnp.int32)
    places = attention.Places(position_BL, jnp.ones_like(position_BL), key_BM, held_BM, limit)
    return gqa.rotary(position_BL, cfg), places

  @tiny.jit
  def ways(p):
    whole, buffers = gqa.attend(p, x_BLD, *at(0, L), None, cfg)
    assert buffers is None
    buffers, pieces = cache.empty(cfg, 1, L).stacks["dense"], []
    for start, end in ((0, 4), (4, 8), (8, 9)):
      grown = cache.Cache({}, jnp.array([start]), L)
      held = cache.Held(buffers, 1, 1, "dense", grown)
      y_BLD, buffers = gqa.attend(p, x_BLD[:, start:end], *at(start, end), held, cfg)
      pieces.append(y_BLD)
    return {"whole": whole[0], "in pieces": jnp.concatenate(pieces, axis=1)[0]}

  return ways(weights(cfg))


@pytest.mark.parametrize("way", ["whole", "in pieces"])
@pytest.mark.parametrize(
  ("variant", "window"),
  [("qwen2", 0), ("qwen3", 4), ("every bias, one key head", 3), ("a key head each", 1)],
)
def test_attention_equals_the_float64_reference(variant, window, way):
  cfg = tiny.config(**VARIANTS[variant])
  p = {name: np.asarray(w, np.float64) for name, w in weights(cfg).items()}
  want_LD = reference.attend(p, inputs(cfg)[0].astype(np.float64), cfg, window)
  np.testing.assert_allclose(attended(variant, window)[way], want_LD, rtol=1e-4, atol=1e-5)
  assert np.abs(want_LD).max() > 1


def test_each_variant_has_its_own_weights():
  common = {"norm_D", "q_DHK", "k_DNK", "v_DNK", "o_HKD"}
  biases, norms = {"q_bias_HK", "k_bias_NK", "v_bias_NK"}, {"q_norm_K", "k_norm_K"}
  names = {variant: set(gqa.specs(tiny.config(**VARIANTS[variant]))) for variant in VARIANTS}
  assert names["qwen2"] == common | biases
  assert names["qwen3"] == common | norms
  assert names["every bias, one key head"] == common | biases | norms | {"o_bias_D"}
  assert names["a key head each"] == common


def test_keys_and_queries_are_normed_before_they_are_turned_and_values_are_left_alone():
  """At position 0 nothing turns, so a query of any length has the root mean square of its gain."""
  cfg = tiny.config(**VARIANTS["qwen3"])
  p = weights(cfg) | {"q_norm_K": jnp.full(8, 2.0), "k_norm_K": jnp.full(8, 3.0)}
  x_BLD = 50 * inputs(cfg)[:, :2]
  cos_sin = gqa.rotary(jnp.array([[0, 5]]), cfg)
  query, key, value = jax.jit(gqa.project, static_argnums=3)(p, x_BLD, cos_sin, cfg)
  size = lambda x: np.sqrt(np.mean(np.square(x), axis=-1))
  np.testing.assert_allclose(size(query), np.full((1, 2, 4), 2.0), rtol=1e-5)
  np.testing.assert_allclose(size(key), np.full((1, 2, 2), 3.0), rtol=1e-5)
  assert size(value).min() > 10
  np.testing.assert_allclose(value[0], np.tensordot(x_BLD[0], p["v_DNK"], 1), rtol=1e-5, atol=1e-4)
