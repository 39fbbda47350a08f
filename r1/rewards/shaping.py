"""Shaping rewards for length, repetition and steps; all off by default, since each can be gamed.

Lengths are sampled tokens, never characters: a Han character is worth several Latin letters, and
the limit of a rollout is in tokens (open-r1 cosine_scaled_reward counts characters).
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Hashable, Sequence

from r1.data import responses

HAN = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff"
UNIT = re.compile(rf"[{HAN}]|[^\s{HAN}]+")
STEP = re.compile(
  r"^\s{0,8}(?:Step\s+\d+\s*:|\d+\.|-|\*)|\b(?:First|Second|Next|Finally),|步骤\s*\d+|首先|其次|最后",
  re.MULTILINE,
)
LONGEST = 100_000  # units that are looked at for repetition; a rollout of 32,768 tokens has fewer
STEPS = 3  # from this many steps on a response has the whole reward for steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineConfig:
  """Values at length 0 and at the limit, for right and for wrong answers."""

  limit: int  # tokens, at and beyond which the value stays
  right_short: float
  right_long: float
  wrong_short: float
  wrong_long: float

  def __post_init__(self):
    if self.limit <= 0:
      raise ValueError(f"limit={self.limit} tokens given; it must be positive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapingConfig:
  """Weights of the parts, 0 for off, and what the parts need."""

  overlong: float
  limit: int  # tokens that a response may have, L_max
  buffer: int  # the last of them, over which the penalty grows, L_cache
  repetition: float
  ngram: int  # units of an n-gram: words, or single characters of unspaced scripts
  length: float
  cosine: float
  curve: CosineConfig
  steps: float

  def __post_init__(self):
    if not 0 < self.buffer <= self.limit:
      raise ValueError(
        f"buffer={self.buffer} of limit={self.limit} tokens given; 0 < buffer <= limit"
      )
    if self.ngram < 1:
      raise ValueError(f"ngram={self.ngram} given; an n-gram has at least one unit")

  def weights(self) -> dict[str, float]:
    """Weight by name of the part."""
    return {
      "overlong": self.overlong,
      "repetition": self.repetition,
      "length": self.length,
      "cosine": self.cosine,
      "steps": self.steps,
    }


def config(section) -> ShapingConfig:
  """The record of a config's section, in which the curve is a section."""
  given = section.to_dict()
  return ShapingConfig(curve=CosineConfig(**given.pop("curve")), **given)


def parts(
  answers: Sequence[responses.Response],
  right: Sequence[bool],
  groups: Sequence[Hashable],
  cfg: ShapingConfig,
) -> dict[str, list[float]]:
  """The parts of non-zero weight, unweighted, one value per answer.

  right: the verdict on each answer; groups: its question, the same for all its samples.
  """
  tokens = [answer.tokens for answer in answers]
  columns = {
    "overlong": lambda: [overlong(n, cfg.limit, cfg.buffer) for n in tokens],
    "repetition": lambda: [-repetition(units(a.text), cfg.ngram) for a in answers],
    "length": lambda: length(tokens, right, groups),
    "cosine": lambda: [cosine(n, ok, cfg.curve) for n, ok in zip(tokens, right)],
    "steps": lambda: [steps(a.text) for a in answers],
  }
  return {name: columns[name]() for name, weight in cfg.weights().items() if weight}


def overlong(tokens: int, limit: int, buffer: int) -> float:
  """0 up to limit - buffer tokens, then down to -1 at the limit (DAPO, arXiv 2503.14476 eq. 13)."""
  return -min(max(tokens - (limit - buffer), 0) / buffer, 1.0)


def units(text: str) -> list[str]:
  """The first LONGEST words, lower-case; a Han character, kana or hangul syllable stands alone."""
  return [unit[0] for unit in itertools.islice(UNIT.finditer(text.lower()), LONGEST)]


def repetition(sequence: Sequence[Hashable], n: int) -> float:
  """The share of n-grams that repeat an earlier one, in [0, 1); 0 for fewer than n units."""
  count = len(sequence) - n + 1
  if count <= 0:
    return 0.0
  return 1 - len(set(zip(*(sequence[i:] for i in range(n))))) / count


def cosine(tokens: int, right: bool, cfg: CosineConfig) -> float:
  """Half a cosine from the value at length 0 to the one at the limit (arXiv 2502.03373 §4.2).

  Clamped: without that the cosine rises again beyond the limit (open-r1 cosine_scaled_reward).
  """
  short, long = (cfg.right_short, cfg.right_long) if right else (cfg.wrong_short, cfg.wrong_long)
  turn = math.cos(math.pi * min(tokens / cfg.limit, 1.0))
  return long + 0.5 * (short - long) * (1 + turn)


def length(tokens: Sequence[int], right: Sequence[bool], groups: Sequence[Hashable]) -> list[float]:
  """From .5 for the shortest to -.5 for the longest answer to a question (arXiv 2501.12599 §2.3.3).

  A wrong answer gets no more than 0; answers of one length get 0. The range is that of the
  group: over a batch an easy question's answers are all short, whatever they say (open-r1
  len_reward).
  """
  range_of: dict[Hashable, tuple[int, int]] = {}
  for count, group in zip(tokens, groups, strict=True):
    low, high = range_of.get(group, (count, count))
    range_of[group] = (min(low, count), max(high, count))
  values = []
  for count, ok, group in zip(tokens, right, groups, strict=True):
    low, high = range_of[group]
    value = 0.5 - (count - low) / (high - low) if high > low else 0.0
    values.append(value if ok else min(0.0, value))
  return values


def steps(text: str) -> float:
  """Marked steps ("Step 1:", "2.", "First,", "首先"), counted up to STEPS, as a share of STEPS."""
  found = STEP.finditer(text)
  return sum(1 for _, _ in zip(range(STEPS), found)) / STEPS
