"""Attention of packed rows by jax's splash kernel, whose scores never leave a TPU's cores.

The kernel is causal over a row's slots and compares segments, which is what `attention.visible`
says where the keys are the queries' own tokens; it reads grouped keys and values as they are.
"""

import functools

import jax
import jax.numpy as jnp

from r1 import sharding
from r1.model import attention

LANES = 128  # of a TPU's vector registers; blocks are multiples of it


def splash(
  query_BLHK,
  key_BMNK,
  value_BMNW,
  places: attention.Places,
  *,
  block: int,
  rules: sharding.Rules | None,
  interpret: bool,
):
  """Same contract as `attention.einsum` for keys that are the queries' own tokens, in their order.

  block: tokens of a block of queries and of keys, a multiple of 128; rows are padded up to a
  multiple of it. rules: None on one device. interpret: run the kernel as plain operations, on any
  platform and slowly. The logsumexp can be read and not differentiated: raises
  NotImplementedError. Raises ValueError on a window.
  """
  if places.window is not None:
    raise ValueError("attend='splash' has no windows; take attend='blockwise' for this model")
  if places.parent_BL is not None:
    raise ValueError(
      "attend='splash' cannot see a shared prompt: parent_BL is given, wanted None; pack each "
      "answer behind its own prompt (batch.share_prompts=False), or take attend='blockwise'"
    )
  if block % LANES:
    raise ValueError(f"attention_block={block}: attend='splash' needs a multiple of {LANES}")
  local = functools.partial(_local, block=block, interpret=interpret)
  if rules is not None:
    split = lambda axes: sharding.pspec(axes, rules.act)
    local = jax.shard_map(
      local,
      in_specs=(split("BLHK"), split("BMNK"), split("BMNW"), split("BL")),
      out_specs=(split("BLHW"), split("BLH")),
      check_vma=False,  # the kernel does not say over which axes its results differ
    )
  return local(query_BLHK, key_BMNK, value_BMNW, places.segment_BL)


def _local(query_BLHK, key_BMNK, value_BMNW, segment_BL, *, block: int, interpret: bool):
  """One device's rows and heads."""
  L, H, K = query_BLHK.shape[1:]
  width = min(block, L + -L % LANES)
  pad = ((0, 0), (0, -L % width), (0, 0), (0, 0))
  arrays = query_BLHK * K**-0.5, key_BMNK, value_BMNW
  arrays = tuple(jnp.moveaxis(jnp.pad(x, pad), 1, 2) for x in arrays)
  held_BL = jnp.pad(segment_BL, pad[:2])
  kernel = functools.partial(_kernel, H, held_BL.shape[1], width, interpret=interpret)
  out_BHLW = kernel(residuals=False)(*arrays, held_BL)
  # A call of its own, which is dropped where nobody reads the logsumexp, as in training.
  frozen = jax.lax.stop_gradient(arrays)
  _, (lse_BHL,) = kernel(residuals=True)(*frozen, held_BL)
  lse_BLH = _read_only(jnp.moveaxis(lse_BHL, 1, 2)[:, :L], query_BLHK)
  out_BLHW = jnp.moveaxis(out_BHLW, 1, 2)[:, :L]
  # The kernel lets padding see padding.
  real_BL1 = segment_BL[..., None] > 0
  out_BLHW = jnp.where(real_BL1[..., None], out_BLHW, 0)
  return out_BLHW, jnp.where(real_BL1, lse_BLH, attention.NEVER)


def _kernel(heads: int, length: int, width: int, *, residuals: bool, interpret: bool):
  """The kernel over a batch of rows; with residuals it returns (out, (logsumexp,))."""
  # Slow to load, and of no use elsewhere.
  from jax.experimental.pallas.ops.tpu import splash_attention as kernels

  names = ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv")
  names += ("block_kv_dkv_compute", "block_q_dq", "block_kv_dq")
  one_row = kernels.make_splash_mha(
    kernels.MultiHeadMask([kernels.CausalMask((length, length))] * heads),
    block_sizes=kernels.BlockSizes(**dict.fromkeys(names, width)),
    head_shards=1,
    q_seq_shards=1,
    save_residuals=residuals,
    interpret=interpret,
  )

  def row(query_HLK, key_NMK, value_NMW, segment_L):
    return one_row(query_HLK, key_NMK, value_NMW, kernels.SegmentIds(segment_L, segment_L))

  return jax.vmap(row)


@jax.custom_vjp
def _read_only(lse_BLH, query_BLHK):
  """The logsumexp, refusing to be differentiated with respect to the queries."""
  del query_BLHK
  return lse_BLH


def _read_only_backward(_, d_lse_BLH):
  raise NotImplementedError(
    "attend='splash': the logsumexp has no gradient here; take attend='blockwise'"
  )


_read_only.defvjp(lambda lse_BLH, query_BLHK: (lse_BLH, None), _read_only_backward)
