"""Answers that people of two qualities write, in place of a sampled policy's."""

import random

from r1.data import responses
from r1.data.worlds import general
from r1.stages import collect

GOOD = general.Quality(
  topic=1.0,
  detail=1.0,
  rule=1.0,
  courteous=0.9,
  tidy=1.0,
  refuse_harm=1.0,
  refuse_safe=0.0,
  leak=0.0,
)
BAD = general.Quality(
  topic=0.5,
  detail=0.2,
  rule=0.3,
  courteous=0.1,
  tidy=0.4,
  refuse_harm=0.2,
  refuse_safe=0.3,
  leak=0.5,
)


def written(question, number, seed=0):
  """Every other answer is a good one."""
  rng = random.Random(f"{seed}/{question.id}/{number}")
  thought, summary = general.answer(rng, question, BAD if number % 2 else GOOD)
  text = f"<think>{thought}</think>{summary}"
  return collect.Collected(
    question=question,
    number=number,
    response=responses.Response(text=text, tokens=9, truncated=False),
    verdict="",
    prompt_tokens=9,
  )


def answer(kind, asked, samples):
  """As `opinions.Answer`."""
  return [written(question, number) for question in asked for number in range(samples)]


def draw(model, asked, cfg, sampler, judge):
  """As `collect.draw`."""
  return answer("", asked, cfg.samples)
