"""A few answers of a model, for a page that people read; no number is taken of them."""

from collections.abc import Sequence

import numpy as np

from r1.sampling import decode, loop, requests
from r1.train import workdir

COUNT, LIMIT, BUCKET = 4, 256, 64  # answers of a page; tokens of an answer; a prompt's, rounded up
TEMPERATURE = 0.6
SAMPLER = decode.SamplerConfig(
  **decode.UNPAGED,
  top_k=0,
  top_p=1.0,
  min_p=0.0,
  draft="none",
  draft_tokens=1,
  ngram=1,
  slots=COUNT,
  prompt_bucket=BUCKET,
)


def prompt(tokens: np.ndarray, scored: np.ndarray) -> tuple[int, ...]:
  """What is asked in a conversation's tokens: all before the first that the loss counts."""
  return tuple(tokens[: int(np.argmax(scored))].tolist())


def answers(
  model: workdir.Model, prompts: Sequence[tuple[int, ...]], seed: int
) -> list[tuple[str, str]]:
  """(prompt, answer) texts of the first few prompts that leave half of the context free.

  Few and short, in one shape: stages of one architecture compile it once between them.
  """
  limit = min(LIMIT, model.cfg.context // 2)
  fit = [p for p in prompts if 0 < len(p) <= model.cfg.context - limit][:COUNT]
  asked = [requests.Request(str(i), 0, 0, ids, limit) for i, ids in enumerate(fit)]
  drawn = loop.generate(
    model.params,
    asked,
    cfg=model.cfg,
    sampler=SAMPLER,
    temperature=TEMPERATURE,
    eos=model.tokenizer.eos,
    seed=seed,
  )
  text = model.tokenizer.decode
  return [(text(ids), text(answer.tokens.tolist())) for ids, answer in zip(fit, drawn)]
