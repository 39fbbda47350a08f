"""The compiled part of sampling: prefill a batch of prompts, decode until every row is done."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1.model import cache as cache_lib
from r1.model import heads, quantise, transformer
from r1.sampling import choose

LAYOUTS = ("auto", "stacked", "unrolled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerConfig:
  """How answers are drawn.

  top_k: how many of the likeliest ids may be drawn, 0 is every one. top_p: nucleus mass, 1 keeps
  every id. min_p: least probability as a share of the likeliest id's, 0 keeps every id. draft:
  who guesses tokens ahead, none or a drafter of `speculate`, in the plain loop. draft_tokens: how
  many at a time. ngram: of how many tokens lookup wants to find an earlier place. slots: rows
  decoded together. prompt_bucket: prompts are
  padded to this many tokens, or twice, four times, ... as many. chunk: decoding steps between two
  looks at what has finished, and the tokens of a page. cache_tokens: room of the paged cache.
  cache_dtype: the type that it keeps keys and values in, int8 or float8_e4m3fn with their scales
  (see `quantise`), "" is that of the computation.
  layout: of the weights: stacked, unrolled (see `unroll`), or auto: unrolled on a single CPU.
  in_flight: batches that the slots are divided into; the device is at one while the host sees to
  another, and on CPUs two run side by side.
  """

  top_k: int
  top_p: float
  min_p: float
  draft: str
  draft_tokens: int
  ngram: int
  slots: int
  prompt_bucket: int
  chunk: int
  cache_tokens: int
  cache_dtype: str
  layout: str
  in_flight: int

  def __post_init__(self):
    if self.top_k < 0:
      raise ValueError(f"top_k={self.top_k} must be >= 0; 0 keeps every id")
    if not 0 < self.top_p <= 1:
      raise ValueError(f"top_p={self.top_p} must be in (0, 1]")
    if not 0 <= self.min_p <= 1:
      raise ValueError(f"min_p={self.min_p} must be in [0, 1]; 0 keeps every id")
    if self.draft not in ("none", "lookup", "mtp"):
      raise ValueError(f"draft={self.draft!r}: choose one of none, lookup, mtp")
    if self.draft_tokens < 1 or self.ngram < 1:
      raise ValueError(f"draft_tokens={self.draft_tokens} and ngram={self.ngram} must be >= 1")
    for name in ("slots", "prompt_bucket", "chunk"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if self.cache_dtype not in ("", *quantise.DTYPES):
      raise ValueError(
        f"cache_dtype={self.cache_dtype!r}: choose one of {', '.join(quantise.DTYPES)}, or '' for "
        "the type of the computation"
      )
    if self.cache_dtype and self.draft != "none":
      raise ValueError(
        f"cache_dtype={self.cache_dtype!r} is for the paged cache, draft={self.draft!r} decodes "
        "with the dense one; set cache_dtype to '' or draft to none"
      )
    if self.layout not in LAYOUTS:
      raise ValueError(f"layout={self.layout!r}: choose one of {', '.join(LAYOUTS)}")
    if self.in_flight < 1 or self.slots % self.in_flight:
      raise ValueError(f"slots={self.slots} do not divide into in_flight={self.in_flight} batches")
    if self.cache_tokens // self.in_flight < self.chunk:
      raise ValueError(
        f"cache_tokens={self.cache_tokens} must hold a page of {self.chunk} tokens in each of "
        f"the in_flight={self.in_flight} batches"
      )

  @property
  def pages(self) -> int:
    """Of each batch in flight."""
    return self.cache_tokens // self.in_flight // self.chunk


# What a sampler without filters and drafts leaves out.
PLAIN = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "draft": "none", "draft_tokens": 1, "ngram": 1}
# What the plain loop does not read.
UNPAGED = {"chunk": 1, "cache_tokens": 1, "cache_dtype": "", "layout": "stacked", "in_flight": 1}


class Drawn(struct.PyTreeNode):
  """token_BM, logp_BM: what was drawn, the end token included. length_B: how many of them count.

  ended_B: False where the limit cut the row. drafted_B: tokens that were guessed ahead;
  accepted_B: how many of them were drawn.
  """

  token_BM: jax.Array
  logp_BM: jax.Array
  length_B: jax.Array
  ended_B: jax.Array
  drafted_B: jax.Array
  accepted_B: jax.Array


def check(temperature: float, eos: tuple[int, ...]) -> None:
  """Raises ValueError where answers could not be drawn so."""
  if temperature < 0:
    raise ValueError(f"temperature={temperature} must be >= 0; 0 is greedy")
  if not eos:
    raise ValueError(
      "eos=(): wanted one end token at least; an id beyond the vocabulary is never drawn"
    )


def nothing(rows: int, room: int) -> Drawn:
  """No row has drawn anything yet."""
  none_B = jnp.zeros(rows, jnp.int32)
  return Drawn(
    token_BM=jnp.zeros((rows, room), jnp.int32),
    logp_BM=jnp.zeros((rows, room), jnp.float32),
    length_B=none_B,
    ended_B=jnp.zeros(rows, bool),
    drafted_B=none_B,
    accepted_B=none_B,
  )


def ends(id_B, eos: tuple[int, ...]):
  """bool_B: is this one of the end tokens? A model may have several."""
  return functools.reduce(jnp.logical_or, [id_B == e for e in eos])


def extend(drawn: Drawn, t, live_B, id_B, logp_B, eos: tuple[int, ...]) -> Drawn:
  """One token more, in column t, for the rows that are live."""
  return drawn.replace(
    token_BM=drawn.token_BM.at[:, t].set(jnp.where(live_B, id_B, 0)),
    logp_BM=drawn.logp_BM.at[:, t].set(jnp.where(live_B, logp_B, 0.0)),
    length_B=drawn.length_B + live_B,
    ended_B=drawn.ended_B | (live_B & ends(id_B, eos)),
  )


def draw(
  params, prompt_BL, length_B, limit_B, key_B, temperature, *, cfg, sampler, eos, room: int
) -> Drawn:
  """Prefills the prompts and decodes at most `room` tokens per row, compiled as one program.

  prompt_BL: right-padded, length_B of it real. limit_B: most tokens a row may draw; 0 leaves a slot
  empty. key_B: the row's own stream, folded with each token's position. temperature: 0 is greedy.
  Weights are an argument, so
  there is no copy of them that could go stale.
  """
  B, L = prompt_BL.shape
  at_1L = jnp.arange(L, dtype=jnp.int32)[None]
  real_BL = (at_1L < length_B[:, None]).astype(jnp.int32)
  cache = cache_lib.empty(cfg, B, L + room)
  position_BL = jnp.broadcast_to(at_1L, (B, L))
  out = transformer.forward(params, prompt_BL, position_BL, real_BL, cfg, cache)
  last_B11 = jnp.maximum(length_B - 1, 0)[:, None, None]
  last_B1D = jnp.take_along_axis(out.hidden_BLD, last_B11, axis=1)
  head_DV = heads.matrix(params, cfg)

  def live(drawn):
    return ~drawn.ended_B & (drawn.length_B < limit_B)

  def step(carry):
    t, hidden_B1D, cache, drawn = carry
    live_B = live(drawn)
    logits_BV = heads.logits(head_DV, hidden_B1D, cfg)[:, 0]
    draw_B = jax.vmap(jax.random.fold_in)(key_B, cache.length_B)
    id_B, logp_B = choose.sample(draw_B, logits_BV, temperature, sampler)
    drawn = extend(drawn, t, live_B, id_B, logp_B, eos)
    segment_B1 = live(drawn)[:, None].astype(jnp.int32)
    out = transformer.forward(
      params, id_B[:, None], cache.length_B[:, None], segment_B1, cfg, cache
    )
    return t + 1, out.hidden_BLD, out.cache, drawn

  def unfinished(carry):
    return (carry[0] < room) & jnp.any(live(carry[3]))

  return jax.lax.while_loop(
    unfinished, step, (jnp.int32(0), last_B1D, out.cache, nothing(B, room))
  )[3]


compiled = jax.jit(draw, static_argnames=("cfg", "sampler", "eos", "room"))
