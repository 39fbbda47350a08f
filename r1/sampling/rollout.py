"""A rollout: every question of a batch answered by a group of samples."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from r1.data import questions as records
from r1.data import responses
from r1.sampling import engine
from r1.text import templates
from r1.text import tokenizer as tokenizers


@dataclasses.dataclass(frozen=True)
class Sample:
  """One answer to one question, token for token as it was drawn.

  tokens: prompt and answer, the end token included; never re-encoded from text. logp: the
  sampler's own, of the answer's tokens, in nats. drafted, accepted: tokens of the answer that were
  guessed ahead, and how many of these were drawn.
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
) -> Iterator[engine.Request]:
  """`group` requests per question, question by question."""
  for question in questions:
    prompt = tuple(templates.encode(tokenizer, template, question.prompt))
    for number in range(group):
      yield engine.Request(question.id, number, rollout, prompt, limit)


def sample_groups(
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
) -> list[Sample]:
  """len(questions) * group samples; those of a question stand together, in order."""
  asked = requests(questions, tokenizer, template, group=group, rollout=rollout, limit=limit)
  finished = engine.generate(
    params,
    asked,
    cfg=cfg,
    sampler=sampler,
    temperature=temperature,
    eos=tokenizer.eos,
    seed=seed,
  )
  opened = templates.opened(template)
  samples = []
  for i, answer in enumerate(finished):
    text = opened + tokenizer.decode(answer.tokens.tolist())
    samples.append(
      Sample(
        question=questions[i // group],
        number=answer.request.sample,
        tokens=np.concatenate([np.asarray(answer.request.prompt, np.int32), answer.tokens]),
        prompt_length=len(answer.request.prompt),
        logp=answer.logp,
        response=responses.Response(
          text=text, tokens=len(answer.tokens), truncated=answer.truncated
        ),
        drafted=answer.drafted,
        accepted=answer.accepted,
      )
    )
  return samples
