"""A rollout: every question of a batch answered by a group of samples."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from r1.data import questions as records
from r1.data import responses
from r1.sampling import engine
from r1.sampling import requests as requests_lib
from r1.text import templates
from r1.text import tokenizer as tokenizers


@dataclasses.dataclass(frozen=True)
class Sample:
  """One answer to one question, token for token as it was drawn.

  tokens: prompt and answer, the end token included; never re-encoded from text. logp: the
  sampler's own, of the answer's tokens, in nats. drafted, accepted: as in `requests.Finished`.
  """

  question: records.Question
  number: int
  tokens: np.ndarray
  prompt_length: int
  logp: np.ndarray
  response: responses.Response
  drafted: int = 0
  accepted: int = 0

  @property
  def length(self) -> int:
    """Tokens of the answer."""
    return len(self.tokens) - self.prompt_length


def requests(
  questions: Sequence[records.Question],
  tokenizer: tokenizers.Tokenizer,
  template: str,
  *,
  group: int,
  rollout: int,
  limit: int,
) -> Iterator[requests_lib.Request]:
  """`group` requests per question, question by question."""
  for question in questions:
    prompt = tuple(templates.encode(tokenizer, template, question.prompt))
    for number in range(group):
      yield requests_lib.Request(question.id, number, rollout, prompt, limit)


def stream_groups(
  params,
  questions: Sequence[records.Question],
  tokenizer: tokenizers.Tokenizer,
  template: str,
  *,
  group: int,
  rollout: int,
  limit: int,
  cfg,
  sampler,
  temperature: float,
  seed: int,
  stop: tuple[str, ...] = (),
  stats: engine.Stats | None = None,
) -> Iterator[tuple[int, list[Sample]]]:
  """(index of the question, its samples in order), each group as soon as it is whole.

  stop: strings that end an answer; it is cut behind the token that completes the first one.
  """
  asked = requests(questions, tokenizer, template, group=group, rollout=rollout, limit=limit)
  numbered = [dataclasses.replace(r, index=i // group) for i, r in enumerate(asked)]
  finished = engine.generate(
    params,
    numbered,
    cfg=cfg,
    sampler=sampler,
    temperature=temperature,
    eos=tokenizer.eos,
    seed=seed,
    stop=stopper(tokenizer, stop) if stop else None,
    stats=stats,
  )
  opened = templates.opened(template)
  groups: dict[int, list[Sample]] = {}
  for answer in finished:
    index = answer.request.index
    sample = _sample(questions[index], answer, opened + tokenizer.decode(answer.tokens.tolist()))
    whole = groups.setdefault(index, [])
    whole.append(sample)
    if len(whole) == group:
      yield index, sorted(groups.pop(index), key=lambda s: s.number)


def sample_groups(params, questions: Sequence[records.Question], *given, **settings):
  """len(questions) * group samples, taking what `stream_groups` takes; in order."""
  groups = dict(stream_groups(params, questions, *given, **settings))
  return [one for i in range(len(questions)) for one in groups[i]]


def stopper(tokenizer: tokenizers.Tokenizer, stop: tuple[str, ...]):
  """A row's tokens -> how many to keep, None where none of the strings has come up yet."""
  if not all(stop):
    raise ValueError(f"stop={stop}: an empty string would end every answer before it began")

  def found(tokens: list[int]) -> bool:
    text = tokenizer.decode(tokens)
    return any(string in text for string in stop)

  def keep(tokens: list[int]) -> int | None:
    if not found(tokens):
      return None
    low, high = 1, len(tokens)  # the fewest tokens whose text has one of them
    while low < high:
      middle = (low + high) // 2
      low, high = (low, middle) if found(tokens[:middle]) else (middle + 1, high)
    return low

  return keep


def _sample(question: records.Question, answer: requests_lib.Finished, text: str) -> Sample:
  return Sample(
    question=question,
    number=answer.request.sample,
    tokens=np.concatenate([np.asarray(answer.request.prompt, np.int32), answer.tokens]),
    prompt_length=len(answer.request.prompt),
    logp=answer.logp,
    response=responses.Response(text=text, tokens=len(answer.tokens), truncated=answer.truncated),
    drafted=answer.drafted,
    accepted=answer.accepted,
  )
