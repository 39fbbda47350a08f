"""Attention bodies: (queries, keys, values, positions, segments) -> (out, logsumexp).

A query sees the keys of its own, non-zero segment at positions up to its own. No body is given a
mask array; each returns the logsumexp of its scores beside its output, so results over disjoint
sets of keys can be joined. Within a segment the position rises with the index.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

NEVER = -1e30  # a score that loses against every real one and stays finite


class Places(struct.PyTreeNode):
  """Where the queries and the keys stand."""

  position_BL: jax.Array
  segment_BL: jax.Array
  position_BM: jax.Array
  segment_BM: jax.Array


def visible(places: Places):
  """bool [B, L, M]: may query l see key m?"""
  position_BL1, segment_BL1 = places.position_BL[..., None], places.segment_BL[..., None]
  position_B1M, segment_B1M = places.position_BM[:, None], places.segment_BM[:, None]
  return (position_BL1 >= position_B1M) & (segment_BL1 == segment_B1M) & (segment_B1M > 0)


def einsum(query_BLHK, key_BMNK, value_BMNK, places: Places):
  """The oracle: every score at once. Returns (out_BLHK, logsumexp_BLH in float32)."""
  key_BNKM, value_BNMK = jnp.moveaxis(key_BMNK, 1, 3), jnp.moveaxis(value_BMNK, 1, 2)
  return held(query_BLHK, key_BNKM, value_BNMK, places)


def held(query_BLHK, key_BNKM, value_BNMK, places: Places):
  """The same with keys and values in the cache's layout, which decoding reads as it is."""
  B, L, H, K = query_BLHK.shape
  N = key_BNKM.shape[1]
  query_BNRLK = jnp.moveaxis(query_BLHK.reshape(B, L, N, H // N, K), 1, 3)
  score_BNRLM = jnp.einsum(
    "BNRLK,BNKM->BNRLM", query_BNRLK, key_BNKM, preferred_element_type=jnp.float32
  )
  see_B11LM = visible(places)[:, None, None]
  score_BNRLM = jnp.where(see_B11LM, score_BNRLM * K**-0.5, NEVER)
  top_BNRL1 = jnp.max(score_BNRLM, axis=-1, keepdims=True)
  weight_BNRLM = jnp.where(see_B11LM, jnp.exp(score_BNRLM - top_BNRL1), 0.0)
  total_BNRL1 = jnp.sum(weight_BNRLM, axis=-1, keepdims=True)
  safe_BNRL1 = jnp.where(total_BNRL1 > 0, total_BNRL1, 1.0)
  prob_BNRLM = (weight_BNRLM / safe_BNRL1).astype(value_BNMK.dtype)
  out_BNRLK = jnp.einsum("BNRLM,BNMK->BNRLK", prob_BNRLM, value_BNMK)
  lse_BNRL1 = jnp.where(total_BNRL1 > 0, top_BNRL1 + jnp.log(safe_BNRL1), NEVER)
  out_BLHK = jnp.moveaxis(out_BNRLK, 3, 1).reshape(B, L, H, K)
  return out_BLHK, jnp.moveaxis(lse_BNRL1[..., 0], 3, 1).reshape(B, L, H)


def join(parts):
  """Joins [(out, logsumexp), ...] over disjoint sets of keys into one (out, logsumexp)."""
  lse = functools.reduce(jnp.logaddexp, [lse for _, lse in parts])
  out = sum(out * jnp.exp(part - lse)[..., None].astype(out.dtype) for out, part in parts)
  return out, lse
