"""Attention bodies: (queries, keys, values, positions, segments) -> (out, logsumexp).

A query sees the keys of its own, non-zero segment at positions up to its own, and so those of its
parent's segment where it has one: a prompt that several answers of a row continue. No body is given
a mask array; each returns the logsumexp of its scores beside its output, so results over disjoint
sets of keys can be joined. Within a segment the position rises with the index, and a parent stands
before its children. Scores are divided by the root of the head size; values may have a width of
their own.
"""

import jax
import jax.numpy as jnp
from flax import struct

NEVER = -1e30  # a score that loses against every real one and stays finite
FEW = 8  # queries per key head up to which multiplying and summing wins on CPUs


class Places(struct.PyTreeNode):
  """Where the queries and the keys stand.

  window: how many positions back a query sees, its own included, an int32 number; None: no limit.
  parent_BL: the segment that each query's own one continues, 0 for none; None: there are none.
  fork: (trunk, branch) where each row is a trunk of so many tokens and behind it branches of one
  width, whose tokens see the trunk and their own branch at most. The segments say the same; a body
  that knows need not look elsewhere.
  """

  position_BL: jax.Array
  segment_BL: jax.Array
  position_BM: jax.Array
  segment_BM: jax.Array
  window: jax.Array | None = None
  parent_BL: jax.Array | None = None
  fork: tuple[int, int] | None = struct.field(pytree_node=False, default=None)


def visible(places: Places):
  """bool [B, L, M]: may query l see key m?"""
  position_BL1, segment_BL1 = places.position_BL[..., None], places.segment_BL[..., None]
  position_B1M, segment_B1M = places.position_BM[:, None], places.segment_BM[:, None]
  own_BLM = segment_BL1 == segment_B1M
  if places.parent_BL is not None:
    own_BLM |= places.parent_BL[..., None] == segment_B1M
  see_BLM = (position_BL1 >= position_B1M) & own_BLM & (segment_B1M > 0)
  if places.window is None:
    return see_BLM
  return see_BLM & (position_BL1 - position_B1M < places.window)


def einsum(query_BLHK, key_BMNK, value_BMNW, places: Places):
  """The oracle: every score at once. Returns (out_BLHW, logsumexp_BLH in float32)."""
  key_BNKM, value_BNMW = jnp.moveaxis(key_BMNK, 1, 3), jnp.moveaxis(value_BMNW, 1, 2)
  return held(query_BLHK, key_BNKM, value_BNMW, places)


def held(query_BLHK, key_BNKM, value_BNMW, places: Places):
  """The same with keys and values in the cache's layout, which decoding reads as it is."""
  B, L, H, K = query_BLHK.shape
  N = key_BNKM.shape[1]
  if L == 1:
    query_BNRK = query_BLHK.reshape(B, N, H // N, K)
    out_BNRW, lse_BNR = few(query_BNRK, key_BNKM, value_BNMW, visible(places)[:, None])
    return out_BNRW.reshape(B, 1, H, -1), lse_BNR.reshape(B, 1, H)
  query_BNRLK = jnp.moveaxis(query_BLHK.reshape(B, L, N, H // N, K), 1, 3)
  score_BNRLM = jnp.einsum(
    "BNRLK,BNKM->BNRLM", query_BNRLK, key_BNKM, preferred_element_type=jnp.float32
  )
  prob_BNRLM, lse_BNRL = weigh(score_BNRLM * K**-0.5, visible(places)[:, None, None])
  out_BNRLW = jnp.einsum("BNRLM,BNMW->BNRLW", prob_BNRLM.astype(value_BNMW.dtype), value_BNMW)
  out_BLHW = jnp.moveaxis(out_BNRLW, 3, 1).reshape(B, L, H, -1)
  return out_BLHW, jnp.moveaxis(lse_BNRL, 3, 1).reshape(B, L, H)


def few(query_BNLK, key_BNKM, value_BNMK, see):
  """The same for a few queries per key head: (out_BNLK, logsumexp_BNL).

  On CPUs as multiplications and sums, which XLA fuses with what reads the cache; its batched matmul
  copies each operand first, and is no faster for so few queries.
  """
  K, many = query_BNLK.shape[-1], query_BNLK.shape[2] > FEW

  def fused(query, key, value):
    score = jnp.sum(query[..., None] * key[:, :, None], axis=3, dtype=jnp.float32)
    prob, lse = weigh(score * K**-0.5, see)
    return jnp.sum(prob.astype(value.dtype)[..., None] * value[:, :, None], axis=3), lse

  def matmul(query, key, value):
    score = jnp.einsum("BNLK,BNKM->BNLM", query, key, preferred_element_type=jnp.float32)
    prob, lse = weigh(score * K**-0.5, see)
    return jnp.einsum("BNLM,BNMK->BNLK", prob.astype(value.dtype), value), lse

  given = query_BNLK, key_BNKM, value_BNMK
  return jax.lax.platform_dependent(*given, cpu=matmul if many else fused, default=matmul)


def weigh(score, see):
  """(probabilities, logsumexp) of float32 scores over the last axis; nothing seen: 0 and NEVER."""
  score = jnp.where(see, score, NEVER)
  top = jnp.max(score, axis=-1, keepdims=True)
  weight = jnp.where(see, jnp.exp(score - top), 0.0)
  total = jnp.sum(weight, axis=-1, keepdims=True)
  safe = jnp.where(total > 0, total, 1.0)
  return weight / safe, jnp.where(total > 0, top + jnp.log(safe), NEVER)[..., 0]
