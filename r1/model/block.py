"""One layer: attention and a feed-forward, each behind a norm and beside the residual stream."""

import jax
import jax.numpy as jnp

from r1 import dims, sharding
from r1.model import gqa, layers, mla, moe

ATTENTION = {"gqa": gqa, "mla": mla}


def specs(cfg, stack: str) -> dict:
  """The weights of one layer of this stack; a stack named "moe" has experts."""
  feed = moe.specs(cfg) if stack == "moe" else layers.specs(cfg)
  return {"attn": ATTENTION[cfg.attention].specs(cfg), "feed": feed}


def home(tree, cfg):
  """Constrains one layer's weights or adapters, and so their gradients, to where they live.

  Left to itself the compiler keeps the gradients of some whole stacks on every device.
  """
  if cfg.rules is None:
    return tree

  def one(path, w):
    at = sharding.pspec(dims.suffix(path[-1].key), cfg.rules.weight)
    return jax.lax.with_sharding_constraint(w, at)

  return jax.tree_util.tree_map_with_path(one, tree)


def cast(p, dtype):
  """One layer's weights in the type of the computation; the router keeps its own precision."""

  def one(path, w):
    return w if path[-1].key.startswith("router") else w.astype(dtype)

  return jax.tree_util.tree_map_with_path(one, p)


def embed(params, token_BL, cfg):
  """The tokens' vectors x_BLD, in the type of the computation."""
  table_VD = home({"embed_VD": params["embed_VD"]}, cfg)["embed_VD"]
  # The width is gathered once, before the lookup; behind it every token's vector would be.
  table_VD = sharding.shard(table_VD, "VD", cfg.rules)
  return sharding.shard(table_VD[token_BL].astype(jnp.dtype(cfg.dtype)), "BLD", cfg.rules)


def rotary(position_BL, cfg):
  """cos and sin for this model's attention."""
  return ATTENTION[cfg.attention].rotary(position_BL, cfg)


def block(p, x_BLD, cos_sin, places, held, cfg, stack: str):
  """(x_BLD, the cache's buffers or None, the feed-forward's statistics)."""
  attend = ATTENTION[cfg.attention].attend
  feed = moe.feed if stack == "moe" else layers.mlp
  h_BLD = layers.rms_norm(x_BLD, p["attn"]["norm_D"], cfg.norm_eps)
  h_BLD, buffers = attend(p["attn"], h_BLD, cos_sin, places, held, cfg)
  x_BLD = sharding.shard(x_BLD + h_BLD, "BLD", cfg.rules)
  h_BLD = layers.rms_norm(x_BLD, p["feed"]["norm_D"], cfg.norm_eps)
  h_BLD, aux = feed(p["feed"], h_BLD, places.segment_BL > 0, cfg)
  return sharding.shard(x_BLD + h_BLD, "BLD", cfg.rules), buffers, aux
