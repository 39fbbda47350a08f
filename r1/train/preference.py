"""How reward models are trained: which pairs or labels, when, and how many."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from r1.algorithms import ends, minibatch, pairwise, pointwise
from r1.data import preferences
from r1.text import templates
from r1.text import tokenizer as tokenizers
from r1.train import reward_models

LOSSES = {"helpful": pairwise, "safety": pointwise}
OVERLONG = "longer than a row"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
  """seed: of the order. template: how prompts are written. epochs: passes. examples: pairs or
  labelled answers of an update, packed into rows of row_tokens, the longest that is learned from,
  of which microbatch_tokens are learned from at a time. score_tokens: of a batch that is only
  scored. eval_every: updates between two looks at what was held out. patience: updates with NaN in
  a row before the run stops.
  """

  seed: int
  template: str
  epochs: int
  examples: int
  row_tokens: int
  microbatch_tokens: int
  score_tokens: int
  eval_every: int
  checkpoint_every: int
  keep: int
  patience: int

  def __post_init__(self):
    templates.opened(self.template)
    for name in ("epochs", "examples", "score_tokens", "eval_every", "keep", "patience"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if self.checkpoint_every < 1 or self.checkpoint_every % self.eval_every:
      raise ValueError(
        f"checkpoint_every={self.checkpoint_every} must be a multiple of eval_every="
        f"{self.eval_every}: a checkpoint's score is its held-out accuracy"
      )
    ends.capacity(self.examples, pairwise.SIDES, self.batch)

  @property
  def batch(self) -> minibatch.BatchConfig:
    """The rows of an update."""
    return minibatch.BatchConfig(
      row_tokens=self.row_tokens,
      microbatch_tokens=self.microbatch_tokens,
      minibatches=1,
      share_prompts=False,
      fork=(),
    )


def total_steps(cfg: PreferenceConfig, count: int) -> int:
  """Updates of a run over `count` items."""
  return cfg.epochs * math.ceil(count / cfg.examples)


def texts(record: preferences.Pair | preferences.Labelled) -> list[tuple[str, int]]:
  """The responses of a record, each with its side: +1 chosen or safe, -1 rejected or unsafe."""
  if isinstance(record, preferences.Pair):
    return [(record.chosen, 1), (record.rejected, -1)]
  return [(record.response, 1 if record.label == preferences.SAFE else -1)]


def items(
  kind: str,
  given: Sequence[preferences.Pair] | Sequence[preferences.Labelled],
  tokenizer: tokenizers.Tokenizer,
  cfg: PreferenceConfig,
  context: int,
) -> tuple[list[ends.Item], list[int]]:
  """(items that fit a row and the model's context, their places in `given`)."""
  longest, found, places = min(cfg.row_tokens, context), [], []
  for i, record in enumerate(given):
    encode = lambda text, r=record: reward_models.encode(
      tokenizer, cfg.template, kind, r.prompt, text
    )
    item = [(encode(text), side) for text, side in texts(record)]
    if max(len(ids) for ids, _ in item) <= longest:
      found.append(item)
      places.append(i)
  return found, places


def sequences(given: Sequence[ends.Item]) -> list[np.ndarray]:
  """The sequences of items, one after the other."""
  return [ids for item in given for ids, _ in item]
