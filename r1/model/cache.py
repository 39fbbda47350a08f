"""The key/value cache: one buffer per stack and a length per row.

Row b holds its tokens in slots 0 .. length_B[b] - 1, in the order of their positions; there is no
common cursor, so rows may be of any length and may be cut back (speculative rollback).
"""

import jax
import jax.numpy as jnp
from flax import struct


class Cache(struct.PyTreeNode):
  """stacks: {stack name: {"key_ZBMNK", "value_ZBMNK"}}; length_B: tokens held by each row."""

  stacks: dict
  length_B: jax.Array


def specs(cfg, rows: int, slots: int) -> dict:
  """ShapeDtypeStructs of the buffers of every stack."""
  dtype = jnp.dtype(cfg.dtype)
  return {
    name: {
      buffer: jax.ShapeDtypeStruct((layers, rows, slots, cfg.N, cfg.K), dtype)
      for buffer in ("key_ZBMNK", "value_ZBMNK")
    }
    for name, layers in cfg.stacks
  }


def empty(cfg, rows: int, slots: int) -> Cache:
  """A cache that holds nothing yet; `slots` tokens a row at most."""
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), specs(cfg, rows, slots))
  return Cache(zeros, jnp.zeros(rows, jnp.int32))


def extend(buffers, z, start_B, key_BLNK, value_BLNK):
  """Stores layer z's new keys and values behind each row's own.

  Returns (key_BMNK, value_BMNK, buffers), the first two being all that the layer holds now.

  Padding behind a row's real tokens is stored too: it lies beyond the row's length, is never seen
  and is overwritten by the row's next tokens.
  """
  row_B1 = jnp.arange(start_B.shape[0])[:, None]
  slot_BL = start_B[:, None] + jnp.arange(key_BLNK.shape[1])[None]

  def put(old_ZBMNK, new_BLNK):
    return old_ZBMNK.at[z, row_B1, slot_BL].set(new_BLNK.astype(old_ZBMNK.dtype), mode="drop")

  key_ZBMNK = put(buffers["key_ZBMNK"], key_BLNK)
  value_ZBMNK = put(buffers["value_ZBMNK"], value_BLNK)
  return key_ZBMNK[z], value_ZBMNK[z], {"key_ZBMNK": key_ZBMNK, "value_ZBMNK": value_ZBMNK}


def seen(cache: Cache, new_B):
  """(position_BM, segment_BM) of the slots once `new_B` tokens have been added to each row."""
  slots = next(iter(cache.stacks.values()))["key_ZBMNK"].shape[2]
  slot_1M = jnp.arange(slots, dtype=jnp.int32)[None]
  held_B1 = (cache.length_B + new_B)[:, None]
  segment_BM = (slot_1M < held_B1).astype(jnp.int32)
  return jnp.broadcast_to(slot_1M, segment_BM.shape), segment_BM
