"""The paged cache: what decoding reads, in pages that rows share or own.

A pool holds pages of M tokens each. A row reads its prompt's pages, which it shares with the other
samples of its question, and pages of its own, one for every chunk of M steps that it has decoded;
the tokens of the running chunk stand in `fresh`, at the same column for all rows. A list of entries
says who reads which page, so a step costs what the rows hold and not what the longest of them could
hold, and a page that nobody reads costs nothing (cf. arXiv 2309.06180, arXiv 2402.05099).
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims
from r1.model import attention, quantise
from r1.model import cache as cache_lib

TURNED = {"key_ZBNKM": "key_ZBNMK"}  # buffers of a pool that may lie otherwise than in rows
LANES = 8  # readers of one entry of a shared page; a page with more of them is entered again


class Entries(struct.PyTreeNode):
  """Pages with their readers; the first `count` entries are in use.

  page_I: in the pool. start_I: position of the page's first token. fill_I: tokens that it holds.
  reader_IG: rows that see it, -1 where a lane is free.
  """

  page_I: dims.Array
  start_I: dims.Array
  fill_I: dims.Array
  reader_IG: dims.Array
  count: dims.Array


class Paged(struct.PyTreeNode):
  """A chunk's view of the cache.

  stacks: {stack: the chunk's own tokens, as the dense cache holds them}, `column` of them done.
  pool: {stack: pages}, read only. shared, own: who reads which of them.
  """

  stacks: dict
  column: jax.Array
  pool: dict
  shared: Entries
  own: Entries


class Prompt(struct.PyTreeNode):
  """Takes the keys and values of whole prompts in, which see nothing but themselves, as stored."""

  stacks: dict


def specs(cfg, count: int, width: int, codes: str) -> dict:
  """ShapeDtypeStructs of `count` pages of `width` tokens: the dense cache's, pages for rows.

  codes: a type of `quantise.DTYPES` to keep keys and values in; "": that of the computation.
  """
  plain = cache_lib.specs(cfg, count, width)
  return {name: quantise.specs(x, codes) for name, x in plain.items()} if codes else plain


def empty(cfg, count: int, width: int, platform: str, codes: str) -> dict:
  """A pool of such pages.

  A TPU holds the last axis in rows of 128, which a page of fewer tokens does not fill, and its
  compiler would copy all keys into a padded layout for every chunk. So keys have the head's numbers
  last there, as values have; elsewhere their slots, as in rows.
  """

  def lie(name: str, s):
    size = dict(zip(dims.suffix(name), s.shape))
    name = TURNED.get(name, name) if platform == "tpu" else name
    return name, s.update(shape=tuple(size[letter] for letter in dims.suffix(name)))

  found = specs(cfg, count, width, codes)
  found = {stack: dict(lie(*item) for item in x.items()) for stack, x in found.items()}
  return cache_lib.zeros(found, cfg)


def like(pool: dict, cfg, rows: int, slots: int) -> dict:
  """Empty buffers for rows, which keep keys and values in the pool's type."""
  return cache_lib.zeros(specs(cfg, rows, slots, quantise.codes_of(next(iter(pool.values())))), cfg)


def pick(name: str, buffers: dict):
  """The buffer of this name, from a record that may hold it turned, or the other way round."""
  if name in buffers:
    return buffers[name]
  other = TURNED | {turned: plain for plain, turned in TURNED.items()}
  return jnp.swapaxes(buffers[other[name]], -1, -2)


def seen(paged: Paged, position_BL):
  """(position_BM, segment_BM) of the chunk's own tokens, the present one included."""
  width = cache_lib.width(paged.stacks)
  at_1M = jnp.arange(width, dtype=jnp.int32)[None]
  position_BM = position_BL[:, :1] - paged.column + at_1M
  segment_BM = (at_1M <= paged.column).astype(jnp.int32)
  return position_BM, jnp.broadcast_to(segment_BM, position_BM.shape)


def insert(buffers: dict, z, column, **token) -> dict:
  """The chunk's buffers with one token more per row; `token` as each buffer lacks its slot axis."""
  new = {name: jnp.expand_dims(x, cache_lib.slot_axis(name) - 1) for name, x in token.items()}
  new = quantise.packed(new, buffers)

  def put(name, buffer):
    axis = cache_lib.slot_axis(name)
    one = new[name].astype(buffer.dtype)[None]
    start = [0] * buffer.ndim
    start[0], start[axis] = z, column
    return jax.lax.dynamic_update_slice(buffer, one, start)

  return {name: put(name, buffer) for name, buffer in buffers.items()}


def store(pool: dict, stacks: dict, page_B) -> dict:
  """The pool with every row's buffers as its page page_B; rows whose page is not in it are left."""

  def put(name, buffers):
    own = cache_lib.stacked(stacks[name])
    return {
      key: buffer.at[:, page_B].set(pick(key, own), mode="drop") for key, buffer in buffers.items()
    }

  return {name: put(name, buffers) for name, buffers in pool.items()}


def take(buffers: dict, z, **whole) -> tuple[dict, dict]:
  """(what a reader will find, the buffers with it): layer z of a prompt, in their layouts."""
  new = quantise.packed(whole, buffers)
  put = {key: buffer.at[z].set(new[key].astype(buffer.dtype)) for key, buffer in buffers.items()}
  return quantise.unpacked(new, next(iter(whole.values())).dtype), put


def cut(prompt: Prompt, width: int) -> dict:
  """A prompt's buffers as pages of `width` tokens: page i of row b is entry b * pages + i."""

  def one(name, buffer):
    axis = cache_lib.slot_axis(name)
    rows, slots = buffer.shape[1], buffer.shape[axis]
    shape = list(buffer.shape)
    shape[axis : axis + 1] = [slots // width, width]
    paged = jnp.moveaxis(buffer.reshape(shape), axis, 2)
    return paged.reshape(buffer.shape[0], rows * (slots // width), *paged.shape[3:])

  return {
    name: {key: one(key, buffer) for key, buffer in cache_lib.stacked(buffers).items()}
    for name, buffers in prompt.stacks.items()
  }


def together(room: int, rows: int, lanes: int) -> int:
  """Entries that one round reads: a power of two that divides the list's room, with as many lanes
  as there are rows, or up to half as many where these are no power of two."""
  return math.gcd(room, 2 ** int(math.log2(max(1, rows // lanes))))


def walk(part, begun, entries: Entries, buffers: dict, z, position_B, window):
  """Adds what the rows see in their pages to (out_BHW, logsumexp_BH), of the tokens seen so far.

  part(reader_IG, page's buffers, see_IGM) -> (out_IGHW, logsumexp_IGH), of one block of entries.
  """
  out_BHW, lse_BH = begun
  lanes = entries.reader_IG.shape[1]
  block = together(entries.page_I.shape[0], position_B.shape[0], lanes)
  width = cache_lib.width({"": buffers})

  def step(i, carry):
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, i * block, block)
    page_I, start_I, fill_I, reader_IG = map(
      cut, (entries.page_I, entries.start_I, entries.fill_I, entries.reader_IG)
    )
    at_1M = jnp.arange(width, dtype=jnp.int32)[None]
    see_IGM = (at_1M < fill_I[:, None])[:, None] & (reader_IG >= 0)[..., None]
    if window is not None:
      ago_IGM = position_B[reader_IG][..., None] - (start_I[:, None] + at_1M)[:, None]
      see_IGM &= ago_IGM < window
    pages = {key: x[z, page_I] for key, x in buffers.items()}
    out_IGHW, lse_IGH = part(jnp.maximum(reader_IG, 0), pages, see_IGM)
    return hand_out(carry, reader_IG.reshape(-1), out_IGHW, lse_IGH)

  begun = out_BHW.astype(jnp.float32), lse_BH, jnp.ones_like(lse_BH)
  count = (entries.count + block - 1) // block
  out_BHW, top_BH, total_BH = jax.lax.fori_loop(0, count, step, begun)
  return out_BHW / total_BH[..., None], top_BH + jnp.log(total_BH)


def hand_out(carry, reader_T, out_IGHW, lse_IGH):
  """Joins each entry's result to its reader's.

  carry: (out_BHW, top_BH, total_BH), the numerator and denominator of a softmax relative to top.
  Who reads what is a 0/1 matrix, so the sum over a row's pages is one matmul.
  """
  out_BHW, top_BH, total_BH = carry
  (B, H, W), T = out_BHW.shape, reader_T.shape[0]
  out_THW, lse_TH = out_IGHW.reshape(T, H, W), lse_IGH.reshape(T, H)
  reads_BT = reader_T[None] == jnp.arange(B)[:, None]
  most_BH = jnp.max(jnp.where(reads_BT[..., None], lse_TH[None], attention.NEVER), axis=1)
  new_BH = jnp.maximum(top_BH, most_BH)
  # A free lane has no row: it is given weight 0 before anything can overflow.
  weight_TH = jnp.exp(jnp.minimum(lse_TH - new_BH[jnp.maximum(reader_T, 0)], 0.0))
  weight_TH = jnp.where(reader_T[:, None] >= 0, weight_TH, 0.0)
  fade_BH = jnp.exp(top_BH - new_BH)
  exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
  reads_BT = reads_BT.astype(jnp.float32)
  add_BHW = exact("BT,THW->BHW", reads_BT, out_THW * weight_TH[..., None])
  add_BH = exact("BT,TH->BH", reads_BT, weight_TH)
  return out_BHW * fade_BH[..., None] + add_BHW, new_BH, total_BH * fade_BH + add_BH


def gqa(held, query_BLHK, key_BLNK, value_BLNK, places):
  """One new token per row of grouped-query attention: (out_BLHK, the chunk's buffers)."""
  buffers, z, paged = held.buffers, held.z, held.cache
  buffers = insert(buffers, z, paged.column, key_ZBNKM=key_BLNK[:, 0], value_ZBNMK=value_BLNK[:, 0])

  def read(found):
    found = quantise.unpacked(found, value_BLNK.dtype)
    return pick("key_ZBNKM", found), found["value_ZBNMK"]

  own = read({name: x[z] for name, x in buffers.items()})
  begun = attention.held(query_BLHK, *own, places)
  B, _, H, K = query_BLHK.shape
  N = key_BLNK.shape[2]

  def part(reader_IG, pages, see_IGM):
    I, G = reader_IG.shape
    query_IGNRK = query_BLHK[:, 0].reshape(B, N, H // N, K)[reader_IG]
    query_INLK = jnp.moveaxis(query_IGNRK, 1, 2).reshape(I, N, -1, K)  # a lane's heads, then lanes
    see_I1LM = jnp.repeat(see_IGM, H // N, axis=1)[:, None]
    found = attention.few(query_INLK, *read(pages), see_I1LM)
    lanes = lambda x: jnp.moveaxis(x.reshape(I, N, G, H // N, *x.shape[3:]), 2, 1)
    out_IGNRK, lse_IGNR = map(lanes, found)
    return out_IGNRK.reshape(I, G, H, K), lse_IGNR.reshape(I, G, H)

  out_BHK = _both(part, begun, held, places)
  return out_BHK[:, None].astype(value_BLNK.dtype), buffers


def latent(held, query_BLHC, rope_BLHP, latent_BLC, rotary_BLP, places, scale):
  """The same for latent attention with queries carried to the latents: (out_BLHC, buffers)."""
  buffers, z, paged = held.buffers, held.z, held.cache
  buffers = insert(
    buffers, z, paged.column, latent_ZBMC=latent_BLC[:, 0], rotary_ZBMP=rotary_BLP[:, 0]
  )

  def read(found):
    found = quantise.unpacked(found, latent_BLC.dtype)
    return found["latent_ZBMC"], found["rotary_ZBMP"]

  def weigh(query_BHC, rope_BHP, latent_BMC, rotary_BMP, see_BHM):
    kind = {"preferred_element_type": jnp.float32}
    score_BHM = jnp.einsum("BHC,BMC->BHM", query_BHC, latent_BMC, **kind)
    score_BHM += jnp.einsum("BHP,BMP->BHM", rope_BHP, rotary_BMP, **kind)
    prob_BHM, lse_BH = attention.weigh(score_BHM * scale, see_BHM)
    return jnp.einsum("BHM,BMC->BHC", prob_BHM.astype(latent_BMC.dtype), latent_BMC), lse_BH

  def part(reader_IG, pages, see_IGM):
    (I, G), H = reader_IG.shape, query_BLHC.shape[2]
    spread = lambda x_BLHC: x_BLHC[:, 0][reader_IG].reshape(I, G * H, -1)
    out, lse = weigh(
      spread(query_BLHC),
      spread(rope_BLHP),
      *read(pages),
      jnp.repeat(see_IGM, H, axis=1),
    )
    return out.reshape(I, G, H, -1), lse.reshape(I, G, H)

  own = read({name: x[z] for name, x in buffers.items()})
  out_BHC, lse_BH = weigh(query_BLHC[:, 0], rope_BLHP[:, 0], *own, attention.visible(places))
  begun = out_BHC[:, None], lse_BH[:, None]
  out_BHC = _both(part, begun, held, places)
  return out_BHC[:, None].astype(latent_BLC.dtype), buffers


def _both(part, begun, held, places):
  """out_BHW over the chunk's own tokens, the shared pages and the row's own pages."""
  out, pool = (begun[0][:, 0], begun[1][:, 0]), held.cache.pool[held.stack]
  for entries in (held.cache.shared, held.cache.own):
    out = walk(part, out, entries, pool, held.at, places.position_BL[:, 0], places.window)
  return out[0]
