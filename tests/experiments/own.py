"""Rewards of a user's own, named by dotted path in a config."""


def short(question, response) -> float:
  """1 for an answer of fewer than 12 tokens."""
  return float(response.tokens < 12)


def picky(question, response) -> float:
  """Fails on every other question: no fault of the answer."""
  if int(question.answer) % 2:
    raise RuntimeError("the judge is out for lunch")
  return 1.0
