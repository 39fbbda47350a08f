"""Self-speculative decoding: a cheap drafter guesses tokens, one forward judges them all.

A row draws its token at every position from its own key folded with the position, so logits and
key alone decide what stands there. A draft is accepted where it is that very token. Everything
drawn, greedy or sampled, is therefore what `decode.draw` draws, up to the float32 rounding of a
wider forward, and no draft, good or bad, can move the distribution.

Nothing is lost against the general rule (arXiv 2211.17192, algorithm 1), which accepts a token x
of a drafter's Q under the model's P with probability min(1, P(x) / Q(x)), 1 - D in all, D being
their total variation distance. A drafter that names one token has Q = 1 there, and both rules
accept it with probability P(x). See `ahead` for one that draws with the row's own noise.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1.model import cache as cache_lib
from r1.model import heads, transformer
from r1.sampling import ahead, choose, decode, lookup

DRAFTERS = {"lookup": lookup, "mtp": ahead}


class Ahead(struct.PyTreeNode):
  """token_B1: drawn, and not in the cache yet. draft_BL: guesses of what follows it, if real_BL.

  cache: the model's, of the tokens before. memory: the drafter's own.
  """

  token_B1: jax.Array
  draft_BL: jax.Array
  real_BL: jax.Array
  cache: cache_lib.Cache
  memory: cache_lib.Cache | jax.Array
  drawn: decode.Drawn


def check(cfg, sampler: decode.SamplerConfig) -> None:
  """Raises ValueError where the model lacks what the drafter needs."""
  if sampler.draft == "mtp" and not cfg.mtp:
    raise ValueError(
      "draft='mtp' needs a layer of multi-token prediction, which this model does not have or was "
      "loaded without; draft='lookup' works with every model"
    )


def draw(
  params, prompt_BL, length_B, limit_B, key_B, temperature, *, cfg, sampler, eos, room: int
) -> decode.Drawn:
  """What `decode.draw` draws, in fewer forwards where the drafter guesses well.

  A drafter `sampler.draft` is a module of two functions. `start(prompt_BL, room, cfg)` makes its
  memory. `draft(params, memory, hidden_BLD, next_BL, position_BL, segment_BL, *, pick, cfg,
  sampler)` is told of the tokens that became certain: the model's output there, the token drawn
  after each, the position, and 1 where the slot is one of them; `pick(hidden_BLD, position_BL)` is
  (id_BL, logp_BL) as the row would draw them to stand at these positions. It returns (draft_BL,
  real_BL, memory).
  """
  check(cfg, sampler)
  pick = functools.partial(_pick, params, key_B, temperature, cfg, sampler)
  draft = functools.partial(DRAFTERS[sampler.draft].draft, pick=pick, cfg=cfg, sampler=sampler)

  def judge(state: Ahead) -> Ahead:
    """One forward over the newest token and its drafts."""
    start_B, live_B = state.cache.length_B, _live(state.drawn, limit_B)
    token_BL = jnp.concatenate([state.token_B1, state.draft_BL], axis=1)
    given_BL = jnp.pad(state.real_BL, ((0, 0), (1, 0)), constant_values=True) & live_B[:, None]
    position_BL = start_B[:, None] + jnp.arange(token_BL.shape[1], dtype=jnp.int32)[None]
    segment_BL = given_BL.astype(jnp.int32)
    out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg, state.cache)
    assert isinstance(out.cache, cache_lib.Cache)
    id_BL, logp_BL = pick(out.hidden_BLD, position_BL + 1)
    agreed_B = agreement(state.draft_BL, state.real_BL, id_BL)
    drawn, kept_BL = commit(state.drawn, id_BL, logp_BL, agreed_B, limit_B, eos)
    new_B = jnp.sum(kept_BL, axis=1)
    drawn = drawn.replace(
      drafted_B=drawn.drafted_B + jnp.sum(given_BL[:, 1:], axis=1),
      accepted_B=drawn.accepted_B + jnp.maximum(new_B - 1, 0),
    )
    newest_B1 = jnp.take_along_axis(id_BL, jnp.maximum(new_B - 1, 0)[:, None], axis=1)
    cache = out.cache.replace(length_B=start_B + new_B)  # the rest of the drafts is forgotten
    given = out.hidden_BLD, id_BL, position_BL, kept_BL
    draft_BL, real_BL, memory = draft(params, state.memory, *given)
    return Ahead(newest_B1, draft_BL, real_BL, cache, memory, drawn)

  state = _prefill(params, prompt_BL, length_B, limit_B, pick, draft, cfg, sampler, eos, room)
  unfinished = lambda state: jnp.any(_live(state.drawn, limit_B))
  return jax.lax.while_loop(unfinished, judge, state).drawn


compiled = jax.jit(draw, static_argnames=("cfg", "sampler", "eos", "room"))


def _prefill(params, prompt_BL, length_B, limit_B, pick, draft, cfg, sampler, eos, room) -> Ahead:
  """The prompts read, the first token of each drawn, and the drafter's first guesses."""
  B, L = prompt_BL.shape
  at_1L, last_B1 = jnp.arange(L, dtype=jnp.int32)[None], jnp.maximum(length_B - 1, 0)[:, None]
  position_BL = jnp.broadcast_to(at_1L, (B, L))
  segment_BL = (at_1L < length_B[:, None]).astype(jnp.int32)
  memory = DRAFTERS[sampler.draft].start(prompt_BL, room, cfg)
  cache = cache_lib.empty(cfg, B, L + room)
  out = transformer.forward(params, prompt_BL, position_BL, segment_BL, cfg, cache)
  hidden_B1D = jnp.take_along_axis(out.hidden_BLD, last_B1[..., None], axis=1)
  id_B1, logp_B1 = pick(hidden_B1D, length_B[:, None])
  none_B = jnp.zeros(B, jnp.int32)
  drawn, _ = commit(decode.nothing(B, room), id_B1, logp_B1, none_B, limit_B, eos)
  next_BL = jnp.where(at_1L == last_B1, id_B1, jnp.roll(prompt_BL, -1, axis=1))
  given = out.hidden_BLD, next_BL, position_BL, segment_BL
  draft_BL, real_BL, memory = draft(params, memory, *given)
  assert isinstance(out.cache, cache_lib.Cache)
  return Ahead(id_B1, draft_BL, real_BL, out.cache, memory, drawn)


def _pick(params, key_B, temperature, cfg, sampler, hidden_BLD, position_BL):
  """(id_BL, logp_BL): the token of each row at these positions, given the output before each."""
  logits_BLV = heads.logits(heads.matrix(params, cfg), hidden_BLD, cfg)
  B, L, V = logits_BLV.shape
  key_BL = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)))(key_B, position_BL)
  flat = key_BL.reshape(B * L), logits_BLV.reshape(B * L, V)
  id_T, logp_T = choose.sample(*flat, temperature, sampler)
  return id_T.reshape(B, L), logp_T.reshape(B, L)


def agreement(draft_BL, real_BL, id_BL):
  """agreed_B: how many drafts, from the first on, are what the row draws there itself.

  id_BL is one longer: behind the last draft that agrees, the row's own token stands.
  """
  same_BL = real_BL & (draft_BL == id_BL[:, :-1])
  return jnp.sum(jnp.cumprod(same_BL.astype(jnp.int32), axis=1), axis=1)


def commit(drawn: decode.Drawn, id_BL, logp_BL, agreed_B, limit_B, eos):
  """(drawn, kept_BL): the row's tokens up to the first behind its agreed drafts, 1 where kept.

  Fewer where an end token comes first or the row's limit, none where it was finished before.
  """
  at_1L = jnp.arange(id_BL.shape[1], dtype=jnp.int32)[None]
  slot_BL = drawn.length_B[:, None] + at_1L
  end_BL = decode.ends(id_BL, eos)
  open_BL = jnp.cumsum(end_BL, axis=1) - end_BL == 0
  open_BL &= ~drawn.ended_B[:, None] & (slot_BL < limit_B[:, None])
  kept_BL = open_BL & (at_1L <= agreed_B[:, None])
  row_B1 = jnp.arange(id_BL.shape[0])[:, None]
  slot_BL = jnp.where(kept_BL, slot_BL, drawn.token_BM.shape[1])  # beyond the end: dropped
  drawn = drawn.replace(
    token_BM=drawn.token_BM.at[row_B1, slot_BL].set(id_BL, mode="drop"),
    logp_BM=drawn.logp_BM.at[row_B1, slot_BL].set(logp_BL, mode="drop"),
    length_B=drawn.length_B + jnp.sum(kept_BL, axis=1),
    ended_B=drawn.ended_B | jnp.any(kept_BL & end_BL, axis=1),
  )
  return drawn, kept_BL.astype(jnp.int32)


def _live(drawn: decode.Drawn, limit_B):
  return ~drawn.ended_B & (drawn.length_B < limit_B)
