"""What goes into an engine and what comes out of it."""

import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Request:
  """One answer wanted.

  stream: (question, sample number, rollout number), from which alone the row's randomness comes.
  limit: most tokens to draw. drawn, logp: tokens drawn earlier, which the answer goes on from, and
  their log-probabilities; they count towards the limit. index: the caller's own, not read here.
  """

  question: str
  sample: int
  rollout: int
  prompt: tuple[int, ...]
  limit: int
  drawn: tuple[int, ...] = ()
  logp: tuple[float, ...] = ()
  index: int = 0

  def __post_init__(self):
    if len(self.drawn) != len(self.logp):
      raise ValueError(
        f"question {self.question!r}: {len(self.drawn)} tokens drawn earlier come with "
        f"{len(self.logp)} log-probabilities; give one each"
      )
    if not (0 <= self.sample < 2**32 and 0 <= self.rollout < 2**32):
      raise ValueError(
        f"question {self.question!r}: sample={self.sample} and rollout={self.rollout} must be in "
        "0 .. 2**32 - 1; a row's randomness is counted by them"
      )


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


def check(request: Request, cfg) -> None:
  """Raises ValueError where a prompt and its limit do not fit the model's context, or its ids."""
  if request.limit < 1:
    raise ValueError(
      f"question {request.question!r}: limit={request.limit}; an answer needs room for one token"
    )
  if not 0 < len(request.prompt) <= cfg.context - request.limit:
    raise ValueError(
      f"question {request.question!r}: a prompt of {len(request.prompt)} tokens and "
      f"{request.limit} new ones do not fit the context of {cfg.context}; shorten it or lower the "
      "limit"
    )
  for name, ids in (("prompt", request.prompt), ("drawn", request.drawn)):
    if ids and not 0 <= min(ids) <= max(ids) < cfg.ids:
      wrong = min(ids) if min(ids) < 0 else max(ids)
      raise ValueError(
        f"question {request.question!r}: id {wrong} in {name}, the model's tokenizer has 0 .. "
        f"{cfg.ids - 1}; was it encoded with another one?"
      )
  if len(request.drawn) >= request.limit:
    raise ValueError(
      f"question {request.question!r}: {len(request.drawn)} tokens were drawn earlier, the limit "
      f"of {request.limit} is reached; there is nothing to continue"
    )


def stream(request: Request) -> tuple[int, int, int]:
  """The three numbers that a row's randomness comes from."""
  return zlib.crc32(request.question.encode()), request.sample, request.rollout


def keys(key, stream_B3):
  """A key per row, from the run's key and the rows' streams."""

  def one(numbers):
    return functools.reduce(jax.random.fold_in, numbers, key)

  return jax.vmap(one)(jnp.asarray(stream_B3))
