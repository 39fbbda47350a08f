"""The plain batch loop: `slots` requests are prefilled and decoded together, then the next ones.

What the engine is held against. It pays for the longest answer of a batch in every row.
"""

import itertools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from r1.sampling import decode, speculate
from r1.sampling import requests as requests_lib

_stream_keys = jax.jit(requests_lib.keys)


def generate(
  params,
  requests: Iterable[requests_lib.Request],
  *,
  cfg,
  sampler: decode.SamplerConfig,
  temperature: float,
  eos: tuple[int, ...],
  seed: int,
) -> Iterator[requests_lib.Finished]:
  """Answers every request, in order, at a temperature (0: greedy).

  Raises ValueError where a prompt and its limit do not fit the model.
  """
  decode.check(temperature, eos)
  if sampler.cache_dtype:
    raise ValueError(
      f"cache_dtype={sampler.cache_dtype!r}: the plain loop keeps keys and values in the type of "
      "the computation; set sampler.cache_dtype to '', or sample by the engine"
    )
  key = jax.random.key(seed)
  requests = iter(requests)
  while batch := list(itertools.islice(requests, sampler.slots)):
    yield from _batch(params, batch, key, cfg, sampler, temperature, eos)


def _batch(params, batch, key, cfg, sampler, temperature, eos):
  for r in batch:
    requests_lib.check(r, cfg)
    if r.drawn:
      raise ValueError(f"question {r.question!r}: the plain loop continues no answer")
  rows = sampler.slots
  width = max(len(r.prompt) for r in batch)
  width += -width % sampler.prompt_bucket
  prompt_BL = np.zeros((rows, width), np.int32)
  length_B, limit_B = np.ones(rows, np.int32), np.zeros(rows, np.int32)
  streams = np.zeros((rows, 3), np.uint32)
  for b, r in enumerate(batch):
    prompt_BL[b, : len(r.prompt)] = r.prompt
    length_B[b], limit_B[b] = len(r.prompt), r.limit
    streams[b] = requests_lib.stream(r)
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
    yield requests_lib.Finished(
      request=r,
      tokens=drawn.token_BM[b, :n],
      logp=drawn.logp_BM[b, :n],
      truncated=not bool(drawn.ended_B[b]),
      drafted=int(drawn.drafted_B[b]),
      accepted=int(drawn.accepted_B[b]),
    )
