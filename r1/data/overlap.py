"""Does a text share an n-gram with questions that a model will be judged by?

arXiv 2501.12948v2 section D.1 drops whatever has ten words in a row in common with an evaluation
question. The unit, which the paper leaves open: a run of letters and digits; a Han character, kana
or hangul syllable by itself; a sign of arithmetic, so that two sums that differ in their signs
differ. Case, spacing and other punctuation do not count.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable

HAN = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff\U00020000-\U0003ffff"
UNIT = re.compile(rf"[{HAN}]|[^\W_{HAN}]+|[-+*/=<>^%\u00d7\u00f7\u2212\u2264\u2265]")

Gram = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Index:
  """The n-grams of some questions, and those that are too short for one, whole."""

  n: int
  grams: frozenset[Gram]
  short: frozenset[Gram]


def units(text: str) -> Gram:
  """What is counted, in order; full-width forms, case and the two minus signs are folded."""
  plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
  return tuple(UNIT.findall(plain))


def index(texts: Iterable[str], n: int) -> Index:
  """The index of the texts; raises ValueError where n-grams would have no unit."""
  if n < 1:
    raise ValueError(f"n={n}: wanted n-grams of at least one unit; the paper's have 10")
  rows = [units(text) for text in texts]
  grams = {gram for row in rows for gram in _grams(row, n)}
  return Index(n, frozenset(grams), frozenset(row for row in rows if 0 < len(row) < n))


def shared(text: str, of: Index) -> str | None:
  """The first n-gram that the text shares with the index, or None.

  A question that is too short for an n-gram is shared by a text that is the same as a whole.
  """
  row = units(text)
  if len(row) < of.n:
    return " ".join(row) if row in of.short else None
  return next((" ".join(gram) for gram in _grams(row, of.n) if gram in of.grams), None)


def _grams(row: Gram, n: int) -> Iterable[Gram]:
  return (row[i : i + n] for i in range(len(row) - n + 1))
