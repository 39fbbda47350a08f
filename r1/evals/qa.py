"""Overlap of short answers with references: the metrics of DROP and SQuAD, for evaluations.

Not rewards: word overlap pays for listing candidates.
"""

import collections
import re
import string
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def final(text: str) -> str:
  """What a response says after its thought, without answer tags."""
  _, _, text = text.rpartition("</think>")
  return text.replace("<answer>", "").replace("</answer>", "").strip()


def normal(text: str) -> str:
  """Lower case, no punctuation, no English articles, single spaces (arXiv 1606.05250)."""
  return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(pred: str, golds: Sequence[str]) -> float:
  """1 if the normalised texts of the answer and of a reference are the same, else 0."""
  return float(any(normal(pred) == normal(gold) for gold in golds))


def token_f1(pred: str, golds: Sequence[str]) -> float:
  """F1 over the multisets of normalised words, the best over the references."""
  return max(_f1(normal(pred).split(), normal(gold).split()) for gold in golds)


def _f1(pred: Sequence[str], gold: Sequence[str]) -> float:
  same = sum((collections.Counter(pred) & collections.Counter(gold)).values())
  return 2 * same / (len(pred) + len(gold)) if same else 0.0


# DROP (arXiv 1903.00161) ------------------------------------------------------------------------


def drop_normal(text: str) -> str:
  """As normal(), but word by word, split at hyphens too, and numbers as floats: 12 is "12.0"."""
  words = (_drop_word(word) for word in re.split("[ -]", text.lower()))
  return " ".join(" ".join(words).split())


def _drop_word(word: str) -> str:
  value = _number(word)
  if value is None:
    word = word.translate(PUNCTUATION)
    value = _number(word)
  return ARTICLES.sub(" ", word) if value is None else str(value)


def _number(word: str) -> float | None:
  try:
    return float(word)
  except ValueError:
    return None


def drop(pred: str | Sequence[str], golds: Sequence[str | Sequence[str]]) -> tuple[float, float]:
  """(exact match, F1 rounded to two places) of a span or spans; the best over annotators."""
  return max(_drop_one(pred, gold) for gold in golds)


def _drop_one(pred: str | Sequence[str], gold: str | Sequence[str]) -> tuple[float, float]:
  """Spans match as a set of the same size; F1 is the mean over the best pairing of spans."""
  preds, references = ([drop_normal(span) for span in _spans(given)] for given in (pred, gold))
  same = set(preds) == set(references) and len(preds) == len(references)
  scores = [[_span_f1(p, r) for p in preds] for r in references]
  return float(same), round(best_pairing(scores) / max(len(preds), len(references), 1), 2)


def _spans(given: str | Sequence[str]) -> Sequence[str]:
  return [given] if isinstance(given, str) else given


def _span_f1(pred: str, gold: str) -> float:
  """F1 over sets of words; 0 where the reference has numbers and the answer has none of them."""
  p, g = set(pred.split()), set(gold.split())
  numbers = {word for word in g if _number(word) is not None}
  if numbers and not numbers & p:
    return 0.0
  same = len(p & g)
  precision, recall = (same / len(p) if p else 1.0), (same / len(g) if g else 1.0)
  return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best_pairing(scores: Sequence[Sequence[float]]) -> float:
  """The largest sum of scores[i][j] that uses each row and each column at most once.

  The Hungarian method with potentials, O(rows² columns); Kuhn 1955.
  """
  if scores and len(scores) > len(scores[0]):
    scores = list(zip(*scores))
  columns = len(scores[0]) if scores else 0
  row_of = [-1] * columns  # which row holds a column
  row_price, column_price = [0.0] * len(scores), [0.0] * columns
  for start in range(len(scores)):
    slack, through, done = [float("inf")] * columns, [-1] * columns, [False] * columns
    row, column = start, -1
    while row >= 0:
      if column >= 0:
        done[column] = True
      for j in (j for j in range(columns) if not done[j]):
        cost = row_price[row] - column_price[j] - scores[row][j]
        if cost < slack[j]:
          slack[j], through[j] = cost, column
      nearest = min((j for j in range(columns) if not done[j]), key=slack.__getitem__)
      step = slack[nearest]
      row_price[start] -= step
      for j in range(columns):
        if done[j]:
          row_price[row_of[j]] -= step
          column_price[j] -= step
        else:
          slack[j] -= step
      column, row = nearest, row_of[nearest]
    while column >= 0:
      previous = through[column]
      row_of[column] = start if previous < 0 else row_of[previous]
      column = previous
  return sum(scores[row_of[j]][j] for j in range(columns) if row_of[j] >= 0)
