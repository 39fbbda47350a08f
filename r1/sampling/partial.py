"""Partial rollouts: an answer stops at a budget of tokens and goes on in the next rollout.

An answer under way is a `Request` that holds what it has drawn, each token with its log-probability
under the policy that drew it; the rest is drawn by the policy of the day (arXiv 2501.12599 section
2.6). Nothing is dropped: an answer that goes on gets its budget in every rollout.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from r1.data import questions as records
from r1.sampling import decode, rollout
from r1.sampling import requests as requests_lib
from r1.text import tokenizer as tokenizers

Generate = Callable[[list[requests_lib.Request]], Iterable[requests_lib.Finished]]


def rollouts(limit: int, tokens: int) -> int:
  """Rollouts that an answer of at most `limit` tokens takes at `tokens` in each; 0 is no budget.

  One less is how many rollouts old its first token can be.
  """
  return math.ceil(limit / tokens) if tokens else 1


def check(tokens: int, sampler: decode.SamplerConfig, longest: int) -> None:
  """Raises ValueError where the cache could not hold an answer that goes on.

  longest: tokens of prompt and answer. Found here, since the first rollout asks for less.
  """
  # Both what was drawn earlier, with the prompt, and what is drawn now fill whole pages.
  need = math.ceil(longest / sampler.chunk) + 1
  if tokens and need > sampler.cache_tokens // sampler.in_flight // sampler.chunk:
    raise ValueError(
      f"partial_tokens={tokens}: prompt and answer may take {longest} tokens, {need} pages of "
      f"{sampler.chunk} in the cache of one batch; set sampler.cache_tokens to "
      f"{need * sampler.chunk * sampler.in_flight} or more"
    )


def advance(
  asked: Sequence[requests_lib.Request], generate: Generate, *, tokens: int, eos: tuple[int, ...]
) -> Iterator[requests_lib.Finished]:
  """What each answer has come to, as they stop; `request` is as asked, with what it had before.

  generate: the engine. tokens: most that an answer draws now, 0: as many as its limit leaves.
  Those that ended in an earlier rollout come first and as they were. See `goes_on`.
  """
  before = {_name(r): r for r in asked}
  yield from (_again(r, eos) for r in asked if _ended(r, eos))
  for answer in generate([_bounded(r, tokens) for r in asked if not _ended(r, eos)]):
    yield dataclasses.replace(answer, request=before[_name(answer.request)])


def goes_on(answer: requests_lib.Finished) -> bool:
  """Was it stopped by the budget, neither by its end nor by its limit?"""
  return answer.truncated and len(answer.tokens) < answer.request.limit


def put_aside(answer: requests_lib.Finished) -> requests_lib.Request:
  """The request that continues the answer."""
  drawn, logp = tuple(answer.tokens.tolist()), tuple(answer.logp.tolist())
  return dataclasses.replace(answer.request, drawn=drawn, logp=logp)


def pack(held: Sequence[requests_lib.Request]) -> dict[str, np.ndarray]:
  """Answers put aside as the arrays of a checkpoint, {} for none; `unpack` undoes it to the bit.

  question_B: `index` of each request. token_T, logp_T: what all of them drew, end to end.
  """
  if not held:
    return {}
  numbers_BN = [(r.index, r.sample, r.rollout, r.limit, len(r.drawn)) for r in held]
  names = ("question_B", "sample_B", "rollout_B", "limit_B", "length_B")
  return dict(zip(names, np.array(numbers_BN, np.int32).T.copy(), strict=True)) | {
    "token_T": np.array([token for r in held for token in r.drawn], np.int32),
    "logp_T": np.array([logp for r in held for logp in r.logp], np.float32),
  }


def unpack(
  held: Mapping[str, np.ndarray],
  questions: Sequence[records.Question],
  tokenizer: tokenizers.Tokenizer,
  template: str,
) -> list[requests_lib.Request]:
  """The requests that were packed. questions: those that their `index` counts."""
  if not held:
    return []
  ends_B = np.cumsum(held["length_B"])[:-1]
  numbers = (held[f"{name}_B"].tolist() for name in ("question", "sample", "rollout", "limit"))
  drawn = [tuple(x.tolist()) for x in np.split(held["token_T"], ends_B)]
  logp = [tuple(x.tolist()) for x in np.split(held["logp_T"], ends_B)]
  return [
    requests_lib.Request(
      question=questions[index].id,
      sample=sample,
      rollout=begun,
      prompt=rollout.prompt(questions[index], tokenizer, template),
      limit=limit,
      drawn=drawn[b],
      logp=logp[b],
      index=index,
    )
    for b, (index, sample, begun, limit) in enumerate(zip(*numbers, strict=True))
  ]


def metrics(
  samples: Sequence[rollout.Sample],
  held: Sequence[requests_lib.Request],
  eos: tuple[int, ...],
  *,
  number: int,
  updates: int,
) -> dict[str, float]:
  """partial/* of rollout `number`; ages count updates, of which a rollout has `updates`.

  carried: answers that go on in the next rollout. waiting: those that have ended, of the same
  groups. older: share of the trained tokens that earlier policies drew. age, age_max: updates
  between the policy that began an answer and the one that this rollout's updates start from.
  """
  waiting = sum(_ended(r, eos) for r in held)
  found = {"partial/carried": float(len(held) - waiting), "partial/waiting": float(waiting)}
  if not samples:
    return found
  age_B = [(number - s.rollout) * updates for s in samples]
  return found | {
    "partial/older": sum(s.carried for s in samples) / sum(s.length for s in samples),
    "partial/age": float(np.mean(age_B)),
    "partial/age_max": float(max(age_B)),
  }


def _name(request: requests_lib.Request) -> tuple[int, int, int]:
  return request.rollout, request.index, request.sample


def _ended(request: requests_lib.Request, eos: tuple[int, ...]) -> bool:
  drawn = request.drawn
  return bool(drawn) and (drawn[-1] in eos or len(drawn) >= request.limit)


def _again(request: requests_lib.Request, eos: tuple[int, ...]) -> requests_lib.Finished:
  tokens, logp = np.array(request.drawn, np.int32), np.array(request.logp, np.float32)
  return requests_lib.Finished(request, tokens, logp, truncated=request.drawn[-1] not in eos)


def _bounded(request: requests_lib.Request, tokens: int) -> requests_lib.Request:
  most = len(request.drawn) + tokens if tokens else request.limit
  return dataclasses.replace(request, limit=min(request.limit, most))
