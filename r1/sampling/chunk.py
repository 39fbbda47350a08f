"""The compiled parts of the engine: prompts into pages, and a chunk of decoding steps."""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims
from r1.model import cache as cache_lib
from r1.model import heads, pages, transformer
from r1.sampling import choose, decode, requests


class Rows(struct.PyTreeNode):
  """The rows of a chunk.

  token_B: each row's last token, whose keys and values are not held yet; position_B: of it.
  budget_B: tokens that the row may draw now, 0 in a slot that is empty. stream_B3: see
  `requests.stream`. page_B: the page that takes this chunk's keys and values, or one beyond the
  pool where none is needed.
  """

  token_B: dims.Array
  position_B: dims.Array
  budget_B: dims.Array
  stream_B3: dims.Array
  page_B: dims.Array


def _empty(params, pool, cfg, rows: int, slots: int) -> dict:
  """Empty buffers of the pool's type, of each layer apart where the weights are."""
  stacks = pages.like(pool, cfg, rows, slots)
  if any(isinstance(params[name], tuple) for name in stacks):
    return {name: cache_lib.unstacked(buffers) for name, buffers in stacks.items()}
  return stacks


@functools.partial(jax.jit, static_argnames=("cfg", "width"), donate_argnames="pool")
def prefill(params, pool, token_BL, length_B, page_I, *, cfg, width: int):
  """The pool with the keys and values of these tokens: page i of row b goes to page_I[b, i].

  token_BL: right-padded, L a multiple of the page's width. Indices beyond the pool are dropped.
  """
  B, L = token_BL.shape
  at_BL = jnp.broadcast_to(jnp.arange(L, dtype=jnp.int32)[None], (B, L))
  real_BL = (at_BL < length_B[:, None]).astype(jnp.int32)
  prompt = pages.Prompt(_empty(params, pool, cfg, B, L))
  out = transformer.forward(params, token_BL, at_BL, real_BL, cfg, prompt)
  assert isinstance(out.cache, pages.Prompt)
  return pages.store(pool, pages.cut(out.cache, width), page_I.reshape(-1))


@functools.partial(jax.jit, static_argnames=("cfg", "sampler", "eos"), donate_argnames="pool")
def run(params, pool, rows: Rows, shared, own, key, temperature, *, cfg, sampler, eos):
  """(pool, what was drawn, steps run): at most `sampler.chunk` tokens for every row.

  shared, own: who reads which page of the pool, which grows by the chunk's own pages at the end.
  temperature: 0 is greedy; traced, so a schedule compiles nothing anew.
  """
  B, M = rows.token_B.shape[0], sampler.chunk
  key_B = requests.keys(key, rows.stream_B3)
  head_DV = heads.matrix(params, cfg)
  stacks = _empty(params, pool, cfg, B, M)
  none = decode.nothing(B, M)

  def live(drawn):
    return ~drawn.ended_B & (drawn.length_B < rows.budget_B)

  def step(carry):
    t, token_B, stacks, drawn = carry
    live_B = live(drawn)
    paged = pages.Paged(stacks, t, pool, shared, own)
    position_B1 = (rows.position_B + t)[:, None]
    out = transformer.forward(
      params, token_B[:, None], position_B1, live_B[:, None].astype(jnp.int32), cfg, paged
    )
    assert isinstance(out.cache, pages.Paged)
    logits_BV = heads.logits(head_DV, out.hidden_BLD, cfg)[:, 0]
    draw_B = jax.vmap(jax.random.fold_in)(key_B, position_B1[:, 0] + 1)
    id_B, logp_B = choose.sample(draw_B, logits_BV, temperature, sampler)
    drawn = decode.extend(drawn, t, live_B, id_B, logp_B, eos)
    return t + 1, id_B, out.cache.stacks, drawn

  def unfinished(carry):
    return (carry[0] < M) & jnp.any(live(carry[3]))

  start = jnp.int32(0), rows.token_B, stacks, none
  t, _, stacks, drawn = jax.lax.while_loop(unfinished, step, start)
  return pages.store(pool, stacks, rows.page_B), drawn, t
