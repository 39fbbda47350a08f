"""Multi-token prediction, one step deep (arXiv 2412.19437, section 2.2).

From the model's output at token i and the embedding of token i + 1, one more layer predicts token
i + 2 through the model's own embedding and head. Released weights join the two halves with the
embedding first, the reverse of the paper's eq. 21; as two matrices the order does not matter.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from r1 import spec
from r1.model import attention, block, layers, remat
from r1.model import cache as cache_lib


def specs(cfg) -> dict:
  """What the extra layer has of its own."""
  tree = spec.gain("embed_norm_D", cfg) | spec.gain("hidden_norm_D", cfg)
  tree |= spec.matrix("embed_DO", cfg, "D") | spec.matrix("hidden_DO", cfg, "D")
  last = cfg.stacks[-1][0]
  return tree | spec.gain("norm_D", cfg) | {"block": spec.stack(block.specs(cfg, last), 1)}


def empty(cfg, rows: int, slots: int) -> cache_lib.Cache:
  """A cache for the layer alone; the pair that starts with token i takes slot i."""
  return cache_lib.empty(dataclasses.replace(cfg, stacks=((cfg.stacks[-1][0], 1),)), rows, slots)


def hidden(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg):
  """Hidden states for the token after the next, and the layer's statistics.

  hidden_BLD: the model's output, after its final norm. next_BL: the token that follows each one in
  its segment; segment_BL: 0 where there is none, so a segment's last token predicts nothing here.
  """
  p, x_BLO = _joined(params, hidden_BLD, next_BL, cfg)
  position_BL = position_BL + 1
  places = attention.Places(position_BL, segment_BL, position_BL, segment_BL)
  layer = functools.partial(block.block, held=None, cfg=cfg, stack=cfg.stacks[-1][0])
  layer = remat.wrap(layer, cfg.remat, scanned=False)
  x_BLD, _, aux = layer(p["block"], x_BLO, block.rotary(position_BL, cfg), places)
  return layers.rms_norm(x_BLD, p["norm_D"], cfg.norm_eps), aux


def extend(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg, cache: cache_lib.Cache):
  """(hidden_BLD, cache): the same for tokens behind those that the layer's cache holds.

  As in `transformer.forward`, a row is one segment whose padding stands at its end.
  """
  p, x_BLO = _joined(params, hidden_BLD, next_BL, cfg)
  name, new_B = cfg.stacks[-1][0], jnp.sum(segment_BL > 0, axis=1, dtype=jnp.int32)
  places = attention.Places(position_BL, segment_BL, *cache_lib.seen(cache, new_B))
  held = cache_lib.Held(cache.stacks[name], 0, 0, name, cache)
  cos_sin = block.rotary(position_BL + 1, cfg)
  x_BLD, buffers, _ = block.block(p["block"], x_BLO, cos_sin, places, held, cfg, name)
  cache = cache.replace(stacks={name: buffers}, length_B=cache.length_B + new_B)
  return layers.rms_norm(x_BLD, p["norm_D"], cfg.norm_eps), cache


def _joined(params, hidden_BLD, next_BL, cfg):
  """(the layer's weights, its input x_BLO): both halves normed and brought together, eq. 21."""
  p = params["mtp"] | {"block": jax.tree.map(lambda w: w[0], params["mtp"]["block"])}
  p = block.cast(block.home(p, cfg), hidden_BLD.dtype)
  embedded_BLD = block.embed(params, next_BL, cfg)
  embedded_BLD = layers.rms_norm(embedded_BLD, p["embed_norm_D"], cfg.norm_eps)
  normed_BLD = layers.rms_norm(hidden_BLD, p["hidden_norm_D"], cfg.norm_eps)
  x_BLO = jnp.einsum("BLD,DO->BLO", embedded_BLD, p["embed_DO"])
  return p, x_BLO + jnp.einsum("BLD,DO->BLO", normed_BLD, p["hidden_DO"])
