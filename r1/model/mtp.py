"""Multi-token prediction, one step deep (arXiv 2412.19437, section 2.2).

From the model's output at token i and the embedding of token i + 1, one more layer predicts token
i + 2 through the model's own embedding and head. Released weights join the two halves with the
embedding first, the reverse of the paper's eq. 21; as two matrices the order does not matter.
"""

import functools

import jax
import jax.numpy as jnp

from r1 import spec
from r1.model import attention, block, layers, remat


def specs(cfg) -> dict:
  """What the extra layer has of its own."""
  tree = spec.gain("embed_norm_D", cfg) | spec.gain("hidden_norm_D", cfg)
  tree |= spec.matrix("embed_DO", cfg, "D") | spec.matrix("hidden_DO", cfg, "D")
  last = cfg.stacks[-1][0]
  return tree | spec.gain("norm_D", cfg) | {"block": spec.stack(block.specs(cfg, last), 1)}


def hidden(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg):
  """Hidden states for the token after the next, and the layer's statistics.

  hidden_BLD: the model's output, after its final norm. next_BL: the token that follows each one in
  its segment; segment_BL: 0 where there is none, so a segment's last token predicts nothing here.
  """
  p = params["mtp"] | {"block": jax.tree.map(lambda w: w[0], params["mtp"]["block"])}
  p = block.cast(block.home(p, cfg), hidden_BLD.dtype)
  embedded_BLD = block.embed(params, next_BL, cfg)
  embedded_BLD = layers.rms_norm(embedded_BLD, p["embed_norm_D"], cfg.norm_eps)
  normed_BLD = layers.rms_norm(hidden_BLD, p["hidden_norm_D"], cfg.norm_eps)
  x_BLO = jnp.einsum("BLD,DO->BLO", embedded_BLD, p["embed_DO"])
  x_BLO += jnp.einsum("BLD,DO->BLO", normed_BLD, p["hidden_DO"])
  position_BL = position_BL + 1
  places = attention.Places(position_BL, segment_BL, position_BL, segment_BL)
  layer = functools.partial(block.block, held=None, cfg=cfg, stack=cfg.stacks[-1][0])
  layer = remat.wrap(layer, cfg.remat, scanned=False)
  x_BLD, _, aux = layer(p["block"], x_BLO, block.rotary(position_BL, cfg), places)
  return layers.rms_norm(x_BLD, p["norm_D"], cfg.norm_eps), aux
