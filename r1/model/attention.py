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
  B, L, H, K = query_BLHK.shape
  N = key_BMNK.shape[2]
  query_BLNRK = query_BLHK.reshape(B, L, N, H // N, K)
  score_BLNRM = jnp.einsum("BLNRK,BMNK->BLNRM", query_BLNRK, key_BMNK).astype(jnp.float32)
  see_BL11M = visible(places)[:, :, None, None]
  score_BLNRM = jnp.where(see_BL11M, score_BLNRM * K**-0.5, NEVER)
  top_BLNR1 = jnp.max(score_BLNRM, axis=-1, keepdims=True)
  weight_BLNRM = jnp.where(see_BL11M, jnp.exp(score_BLNRM - top_BLNR1), 0.0)
  total_BLNR = jnp.sum(weight_BLNRM, axis=-1)
  inverse_BLNR1 = 1 / jnp.where(total_BLNR > 0, total_BLNR, 1.0)[..., None]
  prob_BLNRM = (weight_BLNRM * inverse_BLNR1).astype(value_BMNK.dtype)
  out_BLNRK = jnp.einsum("BLNRM,BMNK->BLNRK", prob_BLNRM, value_BMNK)
  lse_BLNR = jnp.where(
    total_BLNR > 0, top_BLNR1[..., 0] + jnp.log(jnp.maximum(total_BLNR, 1e-37)), NEVER
  )
  return out_BLNRK.reshape(B, L, H, K), lse_BLNR.reshape(B, L, H)


def one_token(query_BLHK, key_BMNK, value_BMNK, places: Places):
  """The oracle's numbers for L = 1 by multiply-and-sum: tiny batched matmuls are slow on CPUs."""
  B, L, H, K = query_BLHK.shape
  N = key_BMNK.shape[2]
  query_BNRK = query_BLHK.reshape(B, N, H // N, K)
  see_B11M = visible(places)[:, 0][:, None, None]
  key_BNMK, value_BNMK = jnp.swapaxes(key_BMNK, 1, 2), jnp.swapaxes(value_BMNK, 1, 2)
  score_BNRM = jnp.sum(query_BNRK[:, :, :, None] * key_BNMK[:, :, None], axis=-1)
  score_BNRM = jnp.where(see_B11M, score_BNRM.astype(jnp.float32) * K**-0.5, NEVER)
  top_BNR1 = jnp.max(score_BNRM, axis=-1, keepdims=True)
  weight_BNRM = jnp.exp(score_BNRM - top_BNR1)
  total_BNR1 = jnp.sum(weight_BNRM, axis=-1, keepdims=True)
  prob_BNRM = (weight_BNRM / total_BNR1).astype(value_BMNK.dtype)
  out_BNRK = jnp.sum(prob_BNRM[..., None] * value_BNMK[:, :, None], axis=3)
  lse_BNR = (top_BNR1 + jnp.log(total_BNR1))[..., 0]
  return out_BNRK.reshape(B, L, H, K), lse_BNR.reshape(B, L, H)


def join(parts):
  """Joins [(out, logsumexp), ...] over disjoint sets of keys into one (out, logsumexp)."""
  lse = functools.reduce(jnp.logaddexp, [lse for _, lse in parts])
  out = sum(out * jnp.exp(part - lse)[..., None].astype(out.dtype) for out, part in parts)
  return out, lse
