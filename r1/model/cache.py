"""The cache: what attention keeps of the tokens so far, one set of buffers per stack.

Row b holds its tokens in slots 0 .. length_B[b] - 1, in the order of their positions; there is no
common cursor, so rows may be of any length and may be cut back (speculative rollback). Keys lie
with their slots last and values with their slots before the head's numbers: so both matmuls of a
decoding step read the buffers as they are, which on CPUs is worth more than half of the step.
Latent attention keeps C + P numbers per token instead, for all heads together.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims, sharding


class Cache(struct.PyTreeNode):
  """stacks: {stack name: buffers}; length_B: tokens held by each row; slots: room of a row."""

  stacks: dict
  length_B: jax.Array
  slots: int = struct.field(pytree_node=False)


class Held(NamedTuple):
  """One layer's place in a cache.

  buffers: of the stack; z: the layer's index there. at: its index in the model's stack `stack`,
  which is another where the layers are held one by one.
  """

  buffers: dict
  z: jax.Array | int
  at: jax.Array | int
  stack: str
  cache: Any


def specs(cfg, rows: int, slots: int) -> dict:
  """ShapeDtypeStructs of the buffers of every stack."""
  dtype = jnp.dtype(cfg.dtype)
  if cfg.attention == "mla":
    shapes = {"latent_ZBMC": (rows, slots, cfg.C), "rotary_ZBMP": (rows, slots, cfg.P)}
  else:
    key, value = (rows, cfg.N, cfg.K, slots), (rows, cfg.N, slots, cfg.K)
    shapes = {"key_ZBNKM": key, "value_ZBNMK": value}
  return {
    name: {
      buffer: jax.ShapeDtypeStruct((layers, *shape), dtype) for buffer, shape in shapes.items()
    }
    for name, layers in cfg.stacks
  }


def slot_axis(name: str) -> int:
  """Which axis of this buffer counts tokens."""
  return dims.suffix(name).index("M")


def width(stacks: dict) -> int:
  """Room for tokens in a row of these buffers."""
  buffers = next(iter(stacks.values()))
  name, buffer = next(iter((buffers[0] if isinstance(buffers, tuple) else buffers).items()))
  return buffer.shape[slot_axis(name)]


def unstacked(buffers: dict) -> tuple[dict, ...]:
  """One layer's buffers at a time, each still a stack of one."""
  count = next(iter(buffers.values())).shape[0]
  return tuple({name: x[z : z + 1] for name, x in buffers.items()} for z in range(count))


def stacked(buffers) -> dict:
  """The inverse of `unstacked`; whole stacks are left alone."""
  if isinstance(buffers, dict):
    return buffers
  return {name: jnp.concatenate([layer[name] for layer in buffers]) for name in buffers[0]}


def zeros(specs: dict, cfg) -> dict:
  """The buffers that these ShapeDtypeStructs describe."""
  return {
    name: {
      buffer: sharding.shard(jnp.zeros(s.shape, s.dtype), dims.suffix(buffer), cfg.rules)
      for buffer, s in buffers.items()
    }
    for name, buffers in specs.items()
  }


def empty(cfg, rows: int, slots: int) -> Cache:
  """A cache that holds nothing yet; `slots` tokens a row at most."""
  return Cache(zeros(specs(cfg, rows, slots), cfg), jnp.zeros(rows, jnp.int32), slots)


def extend(buffers, z, start_B, key_BLNK, value_BLNK):
  """Stores layer z's new keys and values behind each row's own.

  Returns (key_BNKM, value_BNMK, buffers), the first two being all that the layer holds now.
  Padding behind a row's real tokens is stored too: it lies beyond the row's length, is never seen
  and is overwritten by the row's next tokens.
  """
  key_ZBNKM, value_ZBNMK = buffers["key_ZBNKM"], buffers["value_ZBNMK"]
  row_B1, slot_BL = _slots(start_B, key_BLNK.shape[1])
  key_BLNK, value_BLNK = (x.astype(key_ZBNKM.dtype) for x in (key_BLNK, value_BLNK))
  key_ZBNKM = key_ZBNKM.at[z, row_B1, :, :, slot_BL].set(key_BLNK, mode="drop")
  value_ZBNMK = value_ZBNMK.at[z, row_B1, :, slot_BL].set(value_BLNK, mode="drop")
  return key_ZBNKM[z], value_ZBNMK[z], {"key_ZBNKM": key_ZBNKM, "value_ZBNMK": value_ZBNMK}


def extend_latent(buffers, z, start_B, latent_BLC, rotary_BLP):
  """The same for latent attention: (latent_BMC, rotary_BMP, buffers)."""
  latent_ZBMC, rotary_ZBMP = buffers["latent_ZBMC"], buffers["rotary_ZBMP"]
  row_B1, slot_BL = _slots(start_B, latent_BLC.shape[1])
  latent_BLC, rotary_BLP = (x.astype(latent_ZBMC.dtype) for x in (latent_BLC, rotary_BLP))
  latent_ZBMC = latent_ZBMC.at[z, row_B1, slot_BL].set(latent_BLC, mode="drop")
  rotary_ZBMP = rotary_ZBMP.at[z, row_B1, slot_BL].set(rotary_BLP, mode="drop")
  return latent_ZBMC[z], rotary_ZBMP[z], {"latent_ZBMC": latent_ZBMC, "rotary_ZBMP": rotary_ZBMP}


def _slots(start_B, new: int):
  """(row_B1, slot_BL): where `new` tokens a row go."""
  return jnp.arange(start_B.shape[0])[:, None], start_B[:, None] + jnp.arange(new)[None]


def seen(cache: Cache, new_B):
  """(position_BM, segment_BM) of the slots once `new_B` tokens have been added to each row."""
  slot_1M = jnp.arange(cache.slots, dtype=jnp.int32)[None]
  held_B1 = (cache.length_B + new_B)[:, None]
  segment_BM = (slot_1M < held_B1).astype(jnp.int32)
  return jnp.broadcast_to(slot_1M, segment_BM.shape), segment_BM
