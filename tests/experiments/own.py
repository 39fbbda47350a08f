"""Rewards of a user's own, named by dotted path in a config."""


def varied(question, response) -> float:
  """Counts different characters: even a base of 30 steps differs in it from answer to answer."""
  return len(set(response.text)) / 32


def picky(question, response) -> float:
  """Fails on every other question: no fault of the answer."""
  if int(question.answer) % 2:
    raise RuntimeError("the judge is out for lunch [/lunch]")
  return 1.0
