"""The engine's face: an iterator of requests in, an iterator of finished answers out.

This engine is a plain batch loop: `slots` requests are prefilled and decoded together, then the
next ones. A row draws from its own key, so batch size, slot and order change nothing but rounding.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from r1.sampling import decode, speculate


@dataclasses.dataclass(frozen=True)
class Request:
  """One answer wanted.

  stream: (question, sample number, rollout number), from which alone the row's randomness comes.
  limit: most tokens to draw.
  """

  question: str
  sample: int
  rollout: int
  prompt: tuple[int, ...]
  limit: int


@dataclasses.dataclass(frozen=True)
class Finished:
  """tokens: the end token included. logp: nats, under what was sampled from. truncated: cut.

  drafted, accepted: how many tokens were guessed ahead, and how many of these were drawn.
  """

  request: Request
  tokens: np.ndarray
  logp: np.ndarray
  truncated: bool
  drafted: int = 0
  accepted: int = 0


_stream_keys = jax.jit(
  jax.vmap(
    lambda key, numbers: jax.random.fold_in(
      jax.random.fold_in(jax.random.fold_in(key, numbers[0]), numbers[1]), numbers[2]
    ),
    in_axes=(None, 0),
  )
)


def generate(
  params,
  requests: Iterable[Request],
  *,
  cfg,
  sampler: decode.SamplerConfig,
  temperature: float,
  eos: tuple[int, ...],
  seed: int,
) -> Iterator[Finished]:
  """Answers every request, in order, at a temperature (0: greedy).

  Raises ValueError where a prompt and its limit do not fit the model's context.
  """
  if temperature < 0:
    raise ValueError(f"temperature={temperature} must be >= 0; 0 is greedy")
  key = jax.random.key(seed)
  requests = iter(requests)
  while batch := list(itertools.islice(requests, sampler.slots)):
    yield from _batch(params, batch, key, cfg, sampler, temperature, eos)


def _batch(params, batch, key, cfg, sampler, temperature, eos):
  for r in batch:
    if not 0 < len(r.prompt) <= cfg.context - r.limit:
      raise ValueError(
        f"question {r.question!r}: a prompt of {len(r.prompt)} tokens and {r.limit} new ones do "
        f"not fit the context of {cfg.context}; shorten it or lower the limit"
      )
  rows = sampler.slots
  width = max(len(r.prompt) for r in batch)
  width += -width % sampler.prompt_bucket
  prompt_BL = np.zeros((rows, width), np.int32)
  length_B, limit_B = np.ones(rows, np.int32), np.zeros(rows, np.int32)
  streams = np.zeros((rows, 3), np.uint32)
  for b, r in enumerate(batch):
    prompt_BL[b, : len(r.prompt)] = r.prompt
    length_B[b], limit_B[b] = len(r.prompt), r.limit
    streams[b] = zlib.crc32(r.question.encode()), r.sample, r.rollout
  room = max(r.limit for r in batch)
  draw = decode.compiled if sampler.draft == "none" else speculate.compiled
  drawn = draw(
    params,
    jnp.asarray(prompt_BL),
    jnp.asarray(length_B),
    jnp.asarray(limit_B),
    _stream_keys(key, jnp.asarray(streams)),
    jnp.float32(temperature),
    cfg=cfg,
    sampler=sampler,
    eos=tuple(eos),
    room=room,
  )
  drawn = jax.device_get(drawn)
  for b, r in enumerate(batch):
    n = int(drawn.length_B[b])
    yield Finished(
      request=r,
      tokens=drawn.token_BM[b, :n],
      logp=drawn.logp_BM[b, :n],
      truncated=not bool(drawn.ended_B[b]),
      drafted=int(drawn.drafted_B[b]),
      accepted=int(drawn.accepted_B[b]),
    )
