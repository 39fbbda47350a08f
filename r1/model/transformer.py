"""The one forward: training, scoring, prefill and decoding call it."""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims, sharding, spec
from r1.model import attention, blockwise, layers
from r1.model import cache as cache_lib


class Output(struct.PyTreeNode):
  """hidden_BLD: after the final norm. cache: grown by these tokens, or None. aux: statistics."""

  hidden_BLD: jax.Array
  cache: cache_lib.Cache | None
  aux: dict


def specs(cfg):
  """Every parameter of the model: its name is its shape, its axes and its sharding."""
  attn = spec.gain("norm_D", cfg)
  attn |= spec.matrix("q_DHK", cfg, "D") | spec.matrix("k_DNK", cfg, "D")
  attn |= spec.matrix("v_DNK", cfg, "D") | spec.matrix("o_HKD", cfg, "HK")
  if cfg.qkv_bias:
    attn |= spec.bias("q_bias_HK", cfg) | spec.bias("k_bias_NK", cfg) | spec.bias("v_bias_NK", cfg)
  if cfg.qk_norm:
    attn |= spec.gain("q_norm_K", cfg) | spec.gain("k_norm_K", cfg)
  feed = spec.gain("norm_D", cfg)
  feed |= spec.matrix("gate_DF", cfg, "D") | spec.matrix("up_DF", cfg, "D")
  feed |= spec.matrix("down_FD", cfg, "F")
  tree = spec.table("embed_VD", cfg) | spec.gain("norm_D", cfg)
  if not cfg.tied:
    tree |= spec.matrix("head_DV", cfg, "D")
  return tree | {
    name: spec.stack({"attn": attn, "feed": feed}, count) for name, count in cfg.stacks
  }


def project(p, x_BLD, cos_sin, cfg):
  """Queries, keys and values of one layer, biased, normed and rotated as the config asks."""
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
  return layers.rotate(query_BLHK, cos_sin), layers.rotate(key_BLNK, cos_sin), value_BLNK


def body(cfg):
  """The attention body of rows without a cache, as the config picks it."""
  if cfg.attend == "einsum":
    return attention.einsum
  return functools.partial(blockwise.blockwise, block=cfg.attention_block, causal=True)


def attend(p, x_BLD, cos_sin, places, buffers, z, start_B, cfg):
  """Grouped-query attention (arXiv 2305.13245); layer z reads and extends the cache, if any."""
  query_BLHK, key_BLNK, value_BLNK = project(p, x_BLD, cos_sin, cfg)
  if buffers is None:
    out_BLHK, _ = body(cfg)(query_BLHK, key_BLNK, value_BLNK, places)
  else:
    key_BNKM, value_BNMK, buffers = cache_lib.extend(buffers, z, start_B, key_BLNK, value_BLNK)
    out_BLHK, _ = attention.held(query_BLHK, key_BNKM, value_BNMK, places)
  out_BLHK = sharding.shard(out_BLHK, "BLHK", cfg.rules)
  return jnp.einsum("BLHK,HKD->BLD", out_BLHK, p["o_HKD"]), buffers


def forward(params, token_BL, position_BL, segment_BL, cfg, cache=None) -> Output:
  """Hidden states of a batch of rows.

  position_BL: of each token in its segment. segment_BL: 0 on padding; a token sees the earlier
  positions of its own segment and nothing else. With a cache a row is one segment (1) whose first
  `cache.length_B` tokens are held already; the row's padding stands at its end.
  """
  dims.check(token_BL=token_BL, position_BL=position_BL, segment_BL=segment_BL)
  start_B, at_key = None, (position_BL, segment_BL)
  if cache is not None:
    start_B, new_B = cache.length_B, jnp.sum(segment_BL > 0, axis=1, dtype=jnp.int32)
    at_key = cache_lib.seen(cache, new_B)
  places = attention.Places(position_BL, segment_BL, *at_key)
  cos_sin = layers.rotary(position_BL, cfg.K, cfg.rope_base)
  dtype = jnp.dtype(cfg.dtype)
  table_VD = sharding.shard(params["embed_VD"], "VD", cfg.rules)
  x_BLD = sharding.shard(table_VD[token_BL].astype(dtype), "BLD", cfg.rules)

  def layer(carry, p_z):
    x_BLD, buffers = carry
    p, z = jax.tree.map(lambda w: w.astype(dtype), p_z[0]), p_z[1]
    h_BLD = layers.rms_norm(x_BLD, p["attn"]["norm_D"], cfg.norm_eps)
    h_BLD, buffers = attend(p["attn"], h_BLD, cos_sin, places, buffers, z, start_B, cfg)
    x_BLD = sharding.shard(x_BLD + h_BLD, "BLD", cfg.rules)
    h_BLD = layers.mlp(p["feed"], layers.rms_norm(x_BLD, p["feed"]["norm_D"], cfg.norm_eps), cfg)
    return (sharding.shard(x_BLD + h_BLD, "BLD", cfg.rules), buffers), None

  if cfg.remat == "layer":
    layer = jax.checkpoint(layer, prevent_cse=False)
  stacks = {}
  for name, count in cfg.stacks:
    buffers = None if cache is None else cache.stacks[name]
    (x_BLD, stacks[name]), _ = jax.lax.scan(
      layer, (x_BLD, buffers), (params[name], jnp.arange(count))
    )
  hidden_BLD = layers.rms_norm(x_BLD, params["norm_D"], cfg.norm_eps)
  cache = None if cache is None else cache_lib.Cache(stacks, cache.length_B + new_B)
  return Output(hidden_BLD, cache, {})
