"""A rollout: every question of a batch answered by a group of samples."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

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
  rollout: where it was begun. carried: tokens of the answer that policies of earlier rollouts drew.
  """

  question: records.Question
  number: int
  tokens: np.ndarray
  prompt_length: int
  logp: np.ndarray
  response: responses.Response
  drafted: int = 0
  accepted: int = 0
  rollout: int = 0
  carried: int = 0

  @property
  def length(self) -> int:
    """Tokens of the answer."""
    return len(self.tokens) - self.prompt_length


def prompt(
  question: records.Question, tokenizer: tokenizers.Tokenizer, template: str
) -> tuple[int, ...]:
  """The ids that a question is asked in."""
  return tuple(templates.encode(tokenizer, template, question.prompt))


def requests(
  chosen: Iterable[int],
  questions: Sequence[records.Question],
  tokenizer: tokenizers.Tokenizer,
  template: str,
  *,
  group: int,
  rollout: int,
  limit: int,
) -> list[requests_lib.Request]:
  """`group` requests per chosen question, one after the other; `index` is the question's place."""
  asked = []
  for i in chosen:
    ids = prompt(questions[i], tokenizer, template)
    first = requests_lib.Request(questions[i].id, 0, rollout, ids, limit, index=i)
    asked += [dataclasses.replace(first, sample=number) for number in range(group)]
  return asked


def whole_groups(
  answers: Iterable[requests_lib.Finished], group: int
) -> Iterator[list[requests_lib.Finished]]:
  """The answers to one question begun in one rollout, in order, as soon as the last has come."""
  groups: dict[tuple[int, int], list[requests_lib.Finished]] = {}
  for answer in answers:
    key = answer.request.rollout, answer.request.index
    found = groups.setdefault(key, [])
    found.append(answer)
    if len(found) == group:
      yield sorted(groups.pop(key), key=lambda a: a.request.sample)


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
  every, numbers = range(len(questions)), {"group": group, "rollout": rollout, "limit": limit}
  finished = engine.generate(
    params,
    requests(every, questions, tokenizer, template, **numbers),
    cfg=cfg,
    sampler=sampler,
    temperature=temperature,
    eos=tokenizer.eos,
    seed=seed,
    stop=stopper(tokenizer, stop) if stop else None,
    stats=stats,
  )
  for answers in whole_groups(finished, group):
    index = answers[0].request.index
    yield index, samples(questions[index], answers, tokenizer, template)


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


def samples(
  question: records.Question,
  answers: Sequence[requests_lib.Finished],
  tokenizer: tokenizers.Tokenizer,
  template: str,
) -> list[Sample]:
  """The answers to one question with their texts."""
  opened = templates.opened(template)
  return [_sample(question, a, opened + tokenizer.decode(a.tokens.tolist())) for a in answers]


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
    rollout=answer.request.rollout,
    carried=len(answer.request.drawn),
  )
