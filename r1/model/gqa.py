"""Grouped-query attention (arXiv 2305.13245): Qwen2, Qwen3, Llama 3."""

import jax.numpy as jnp

from r1 import sharding, spec
from r1.model import attention, blockwise, layers, pages, rope
from r1.model import cache as cache_lib


def specs(cfg) -> dict:
  """The weights of one layer."""
  tree = spec.gain("norm_D", cfg)
  tree |= spec.matrix("q_DHK", cfg, "D") | spec.matrix("k_DNK", cfg, "D")
  tree |= spec.matrix("v_DNK", cfg, "D") | spec.matrix("o_HKD", cfg, "HK")
  if cfg.qkv_bias:
    tree |= spec.bias("q_bias_HK", cfg) | spec.bias("k_bias_NK", cfg) | spec.bias("v_bias_NK", cfg)
  if cfg.o_bias:
    tree |= spec.bias("o_bias_D", cfg)
  if cfg.qk_norm:
    tree |= spec.gain("q_norm_K", cfg) | spec.gain("k_norm_K", cfg)
  return tree


def rotary(position_BL, cfg):
  """cos and sin for the heads."""
  return rope.rotary(position_BL, cfg.K, cfg.rope_base, cfg.rope_scaling)


def project(p, x_BLD, cos_sin, cfg):
  """Queries, keys and values of one layer, biased, normed and rotated as the config asks."""
  if "qkv" in p:  # joined by `unroll`
    joint = layers.product("BLD,DHK->BLHK", x_BLD, p["qkv"])
    query_BLHK, key_BLNK, value_BLNK = jnp.split(joint, (cfg.H, cfg.H + cfg.N), axis=2)
  else:
    query_BLHK = jnp.einsum("BLD,DHK->BLHK", x_BLD, p["q_DHK"])
    key_BLNK = jnp.einsum("BLD,DNK->BLNK", x_BLD, p["k_DNK"])
    value_BLNK = jnp.einsum("BLD,DNK->BLNK", x_BLD, p["v_DNK"])
  if cfg.qkv_bias:
    query_BLHK += p["q_bias_HK"][None, None]
    key_BLNK += p["k_bias_NK"][None, None]
    value_BLNK += p["v_bias_NK"][None, None]
  if cfg.qk_norm:
    query_BLHK = layers.rms_norm(query_BLHK, p["q_norm_K"], cfg.norm_eps)
    key_BLNK = layers.rms_norm(key_BLNK, p["k_norm_K"], cfg.norm_eps)
  return rope.halves(query_BLHK, cos_sin), rope.halves(key_BLNK, cos_sin), value_BLNK


def attend(p, x_BLD, cos_sin, places, held, cfg):
  """One layer's attention over its own tokens, or over the cache that it extends.

  held: None, or the layer's place in the cache. Returns (y_BLD, the cache's buffers or None).
  """
  query_BLHK, key_BLNK, value_BLNK = project(p, x_BLD, cos_sin, cfg)
  buffers = None
  if held is None:
    out_BLHK, _ = blockwise.body(cfg)(query_BLHK, key_BLNK, value_BLNK, places)
  elif isinstance(held.cache, pages.Paged):
    out_BLHK, buffers = pages.gqa(held, query_BLHK, key_BLNK, value_BLNK, places)
  elif isinstance(held.cache, pages.Prompt):
    key_BNKL, value_BNLK = jnp.moveaxis(key_BLNK, 1, 3), jnp.moveaxis(value_BLNK, 1, 2)
    whole = {"key_ZBNKM": key_BNKL, "value_ZBNMK": value_BNLK}
    found, buffers = pages.take(held.buffers, held.z, **whole)
    key_BLNK = jnp.moveaxis(found["key_ZBNKM"], 3, 1)
    value_BLNK = jnp.moveaxis(found["value_ZBNMK"], 2, 1)
    out_BLHK, _ = blockwise.body(cfg)(query_BLHK, key_BLNK, value_BLNK, places)
  else:
    at = held.buffers, held.z, held.cache.length_B
    key_BNKM, value_BNMK, buffers = cache_lib.extend(*at, key_BLNK, value_BLNK)
    out_BLHK, _ = attention.held(query_BLHK, key_BNKM, value_BNMK, places)
  out_BLHK = sharding.shard(out_BLHK, "BLHK", cfg.rules)
  y_BLD = layers.product("BLHK,HKD->BLD", out_BLHK, p["o_HKD"])
  return y_BLD + p["o_bias_D"][None, None] if cfg.o_bias else y_BLD, buffers
