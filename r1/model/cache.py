"""The key/value cache: one buffer per stack and a length per row.

Row b holds its tokens in slots 0 .. length_B[b] - 1, in the order of their positions; there is no
common cursor, so rows may be of any length and may be cut back (speculative rollback). Keys lie
with their slots last and values with their slots before the head's numbers: so both matmuls of a
decoding step read the buffers as they are, which on CPUs is worth more than half of the step.
"""

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims, sharding


class Cache(struct.PyTreeNode):
  """stacks: {stack name: {"key_ZBNKM", "value_ZBNMK"}}; length_B: tokens held by each row."""

  stacks: dict
  length_B: jax.Array


def specs(cfg, rows: int, slots: int) -> dict:
  """ShapeDtypeStructs of the buffers of every stack."""
  dtype = jnp.dtype(cfg.dtype)
  return {
    name: {
      "key_ZBNKM": jax.ShapeDtypeStruct((layers, rows, cfg.N, cfg.K, slots), dtype),
      "value_ZBNMK": jax.ShapeDtypeStruct((layers, rows, cfg.N, slots, cfg.K), dtype),
    }
    for name, layers in cfg.stacks
  }


def empty(cfg, rows: int, slots: int) -> Cache:
  """A cache that holds nothing yet; `slots` tokens a row at most."""
  stacks = {
    name: {
      buffer: sharding.shard(jnp.zeros(s.shape, s.dtype), dims.suffix(buffer), cfg.rules)
      for buffer, s in buffers.items()
    }
    for name, buffers in specs(cfg, rows, slots).items()
  }
  return Cache(stacks, jnp.zeros(rows, jnp.int32))


def extend(buffers, z, start_B, key_BLNK, value_BLNK):
  """Stores layer z's new keys and values behind each row's own.

  Returns (key_BNKM, value_BNMK, buffers), the first two being all that the layer holds now.
  Padding behind a row's real tokens is stored too: it lies beyond the row's length, is never seen
  and is overwritten by the row's next tokens.
  """
  key_ZBNKM, value_ZBNMK = buffers["key_ZBNKM"], buffers["value_ZBNMK"]
  row_B1 = jnp.arange(start_B.shape[0])[:, None]
  slot_BL = start_B[:, None] + jnp.arange(key_BLNK.shape[1])[None]
  key_BLNK, value_BLNK = (x.astype(key_ZBNKM.dtype) for x in (key_BLNK, value_BLNK))
  key_ZBNKM = key_ZBNKM.at[z, row_B1, :, :, slot_BL].set(key_BLNK, mode="drop")
  value_ZBNMK = value_ZBNMK.at[z, row_B1, :, slot_BL].set(value_BLNK, mode="drop")
  return key_ZBNKM[z], value_ZBNMK[z], {"key_ZBNKM": key_ZBNKM, "value_ZBNMK": value_ZBNMK}


def seen(cache: Cache, new_B):
  """(position_BM, segment_BM) of the slots once `new_B` tokens have been added to each row."""
  slots = next(iter(cache.stacks.values()))["key_ZBNKM"].shape[-1]
  slot_1M = jnp.arange(slots, dtype=jnp.int32)[None]
  held_B1 = (cache.length_B + new_B)[:, None]
  segment_BM = (slot_1M < held_B1).astype(jnp.int32)
  return jnp.broadcast_to(slot_1M, segment_BM.shape), segment_BM
