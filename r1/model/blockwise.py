"""Blockwise attention in plain JAX: the oracle's numbers without an [L, M] array.

Online softmax over blocks of keys forward, scores recomputed per block backward (arXiv 2205.14135,
algorithms 1 and 4, extended by the gradient of the logsumexp). Where the keys are the queries' own
tokens, blocks of keys behind the block of queries are skipped. Rows that fork are unfolded: every
branch is a row of queries, over the trunk's keys and its own.
"""

import functools

import jax
import jax.numpy as jnp

from r1.model import attention, remat, splash


def body(cfg):
  """The attention body of rows without a cache, as the config picks it."""
  if cfg.attend == "einsum":
    return attention.einsum
  if cfg.attend == "splash":
    own = {"block": cfg.attention_block, "rules": cfg.rules, "interpret": False}
    return functools.partial(splash.splash, **own)
  return functools.partial(rows, block=cfg.attention_block)


def rows(query_BLHK, key_BLNK, value_BLNW, places: attention.Places, *, block: int):
  """`blockwise` of rows whose keys are their own tokens."""
  if places.fork:
    return forked(query_BLHK, key_BLNK, value_BLNW, places, block=block)
  return blockwise(query_BLHK, key_BLNK, value_BLNW, places, block=block, lead=0)


def forked(query_BLHK, key_BLNK, value_BLNW, places: attention.Places, *, block: int):
  """The same of rows that fork: no score between two branches is computed."""
  assert places.fork is not None
  trunk, branch = places.fork
  B, L = query_BLHK.shape[:2]
  count = (L - trunk) // branch  # branches of a row
  # One block of keys, or else the trunk in blocks of its own, behind which the branch's begin.
  lead = trunk if trunk + branch <= block else trunk + -trunk % block

  def branches(x):
    return x[:, trunk:].reshape(B * count, branch, *x.shape[2:])

  def keys(x):
    front = jnp.pad(x[:, :trunk], ((0, 0), (0, lead - trunk)) + ((0, 0),) * (x.ndim - 2))
    front = jnp.broadcast_to(front[:, None], (B, count, *front.shape[1:]))
    return jnp.concatenate([front.reshape(B * count, *front.shape[2:]), branches(x)], axis=1)

  position_BL, segment_BL = places.position_BL, places.segment_BL
  at = attention.Places(
    *(branches(position_BL), branches(segment_BL), keys(position_BL), keys(segment_BL)),
    *(places.window, jax.tree.map(branches, places.parent_BL)),
  )
  given = branches(query_BLHK), keys(key_BLNK), keys(value_BLNW), at
  parts = blockwise(*given, block=block, lead=lead)
  parts = tuple(x.reshape(B, count * branch, *x.shape[2:]) for x in parts)
  if trunk:
    position_BL, segment_BL = position_BL[:, :trunk], segment_BL[:, :trunk]
    at = attention.Places(position_BL, segment_BL, position_BL, segment_BL, places.window)
    front = (x[:, :trunk] for x in (query_BLHK, key_BLNK, value_BLNW))
    front = blockwise(*front, at, block=block, lead=0)
    parts = tuple(jnp.concatenate(pair, axis=1) for pair in zip(front, parts))
  return parts


def blockwise(
  query_BLHK, key_BMNK, value_BMNW, places: attention.Places, *, block: int, lead: int | None
):
  """Same contract as `attention.einsum`.

  block: tokens of a block; lengths are padded up to a multiple of it.
  lead: the keys are so many others and then the queries' own tokens, in the same order; a multiple
  of `block`, unless all keys fit in one. None: the keys may be any.
  """
  B, L, H, K = query_BLHK.shape
  N, W = value_BMNW.shape[2:]
  narrow, wide = min(block, L), min(block, key_BMNK.shape[1])
  skip = None if lead is None else lead // wide  # blocks of keys in front of the queries' own
  query_BLNRK = query_BLHK.reshape(B, L, N, H // N, K) * K**-0.5
  own = places.position_BL, places.segment_BL, places.parent_BL
  at_query = jax.tree.map(lambda x: _blocks(x, narrow), own)  # leaves None alone
  at_key = tuple(_blocks(x, wide) for x in (places.position_BM, places.segment_BM))
  # Heads in front of tokens: then no matmul below has to turn a block of scores over.
  query = jnp.moveaxis(_blocks(query_BLNRK, narrow), 2, 4)
  key, value = (jnp.moveaxis(_blocks(x, wide), 2, 3) for x in (key_BMNK, value_BMNW))
  out, lse = _flash(skip, query, key, value, at_query, at_key, places.window)
  out_BLHW = _rows(jnp.moveaxis(out, 4, 2), L).reshape(B, L, H, W)
  return out_BLHW, _rows(jnp.moveaxis(lse, 4, 2), L).reshape(B, L, H)


def _blocks(x, width: int):
  """[B, L, ...] to [blocks, B, width, ...], zero padded: segment 0 is seen by nobody."""
  B, L, *rest = x.shape
  x = jnp.pad(x, ((0, 0), (0, -L % width)) + ((0, 0),) * len(rest))
  return jnp.moveaxis(x.reshape(B, -1, width, *rest), 1, 0)


def _rows(x, length: int):
  """The inverse of `_blocks`, cut to the real length."""
  x = jnp.moveaxis(x, 0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _see(at_query, at_key, window, i, j):
  """bool [B, 1, 1, L, M] of block i of the queries against block j of the keys."""
  position_BL, segment_BL, parent_BL = jax.tree.map(lambda x: x[i], at_query)
  position_BM, segment_BM = (x[j] for x in at_key)
  places = attention.Places(position_BL, segment_BL, position_BM, segment_BM, window, parent_BL)
  return attention.visible(places)[:, None, None]


def _scores(query_BNRLK, key_BNMK, see_B11LM):
  score_BNRLM = jnp.einsum(
    "BNRLK,BNMK->BNRLM", query_BNRLK, key_BNMK, preferred_element_type=jnp.float32
  )
  return jnp.where(see_B11LM, score_BNRLM, attention.NEVER)


def _walk(skip, query, key, value, at_query, at_key, window):
  """Blocks in, blocks out: (out [I, B, N, R, L, W], logsumexp [I, B, N, R, L])."""

  def query_block(i):
    def key_block(j, carry):
      out_BNRLW, top_BNRL, total_BNRL = carry
      see_B11LM = _see(at_query, at_key, window, i, j)
      score_BNRLM = _scores(query[i], key[j], see_B11LM)
      new_BNRL = jnp.maximum(top_BNRL, jnp.max(score_BNRLM, axis=-1))
      weight_BNRLM = jnp.where(see_B11LM, jnp.exp(score_BNRLM - new_BNRL[..., None]), 0.0)
      fade_BNRL = jnp.exp(top_BNRL - new_BNRL)
      part_BNRLW = jnp.einsum("BNRLM,BNMW->BNRLW", weight_BNRLM.astype(value.dtype), value[j])
      out_BNRLW = out_BNRLW * fade_BNRL[..., None] + part_BNRLW.astype(jnp.float32)
      return out_BNRLW, new_BNRL, total_BNRL * fade_BNRL + jnp.sum(weight_BNRLM, axis=-1)

    shape = query.shape[1:-1]
    zeros, never = jnp.zeros(shape), jnp.full(shape, attention.NEVER)
    last = key.shape[0] if skip is None else jnp.minimum(skip + i + 1, key.shape[0])
    empty = jnp.zeros((*shape, value.shape[-1]), jnp.float32), never, zeros
    out_BNRLW, top_BNRL, total_BNRL = jax.lax.fori_loop(0, last, key_block, empty)
    safe_BNRL = jnp.where(total_BNRL > 0, total_BNRL, 1.0)
    lse_BNRL = jnp.where(total_BNRL > 0, top_BNRL + jnp.log(safe_BNRL), attention.NEVER)
    return (out_BNRLW / safe_BNRL[..., None]).astype(value.dtype), lse_BNRL

  return jax.lax.map(query_block, jnp.arange(query.shape[0]))


_flash = jax.custom_vjp(_walk, nondiff_argnums=(0,))  # a partial decorator would hide its type


def _flash_forward(skip, query, key, value, at_query, at_key, window):
  out, lse = map(remat.kept, _flash(skip, query, key, value, at_query, at_key, window))
  return (out, lse), (query, key, value, at_query, at_key, window, out, lse)


def _flash_backward(skip, residuals, cotangents):
  query, key, value, at_query, at_key, window, out, lse = residuals
  d_out, d_lse = cotangents
  # softmax's own term and the logsumexp's gradient share one number per query
  shift = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1) - d_lse

  def key_block(d_query, j):
    def query_block(i, carry):
      d_query, d_key_BNMK, d_value_BNMW = carry
      score_BNRLM = _scores(query[i], key[j], _see(at_query, at_key, window, i, j))
      # A score of NEVER is far below every logsumexp; a row that sees nothing has no gradient.
      prob_BNRLM = jnp.exp(jnp.minimum(score_BNRLM - lse[i][..., None], 0.0))
      prob_BNRLM = jnp.where(score_BNRLM > attention.NEVER, prob_BNRLM, 0.0)
      d_out_BNRLW = d_out[i]
      d_prob_BNRLM = jnp.einsum("BNRLW,BNMW->BNRLM", d_out_BNRLW, value[j]).astype(jnp.float32)
      d_score_BNRLM = (prob_BNRLM * (d_prob_BNRLM - shift[i][..., None])).astype(key.dtype)
      prob_BNRLM = prob_BNRLM.astype(value.dtype)
      prob_BNRLM, d_score_BNRLM = jax.lax.optimization_barrier((prob_BNRLM, d_score_BNRLM))
      d_value_BNMW += jnp.einsum("BNRLM,BNRLW->BNMW", prob_BNRLM, d_out_BNRLW).astype(jnp.float32)
      d_key_BNMK += jnp.einsum("BNRLM,BNRLK->BNMK", d_score_BNRLM, query[i]).astype(jnp.float32)
      d_query_BNRLK = jnp.einsum("BNRLM,BNMK->BNRLK", d_score_BNRLM, key[j]).astype(jnp.float32)
      return d_query.at[i].add(d_query_BNRLK), d_key_BNMK, d_value_BNMW

    empty = jnp.zeros(key.shape[1:], jnp.float32), jnp.zeros(value.shape[1:], jnp.float32)
    first = 0 if skip is None else jnp.maximum(j - skip, 0)
    d_query, d_key_BNMK, d_value_BNMW = jax.lax.fori_loop(
      first, query.shape[0], query_block, (d_query, *empty)
    )
    return d_query, (d_key_BNMK.astype(key.dtype), d_value_BNMW.astype(value.dtype))

  d_query = jnp.zeros(query.shape, jnp.float32)
  d_query, (d_key, d_value) = jax.lax.scan(key_block, d_query, jnp.arange(key.shape[0]))
  return d_query.astype(query.dtype), d_key, d_value, None, None, None


_flash.defvjp(_flash_forward, _flash_backward)
