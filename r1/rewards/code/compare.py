"""Whether what a program printed or returned is what was expected; nothing here runs code."""

import decimal
import re

# Finite and of bounded cost; Decimal itself also reads nan, infinities and foreign digits.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
LONGEST = 5000  # characters of a number; longer ones are equal as text or not at all


def outputs(expected: str, printed: str) -> bool:
  """Equality of two outputs as in LiveCodeBench: white space at the ends does not count, lines do.

  Two lines are equal as rows of words, or of numbers that are equal exactly: 1.50 is 1.5, and 0.1
  is not 0.10000001.
  """
  lines = expected.strip().split("\n"), printed.strip().split("\n")
  return len(lines[0]) == len(lines[1]) and all(_line(a, b) for a, b in zip(*lines))


def _line(expected: str, printed: str) -> bool:
  if expected.strip() == printed.strip():
    return True
  wanted, given = expected.split(), printed.split()
  if len(wanted) != len(given):
    return False
  return wanted == given or all(_number(a, b) for a, b in zip(wanted, given))


def _number(expected: str, printed: str) -> bool:
  if not (len(expected) <= LONGEST and NUMBER.fullmatch(expected)):
    return False
  if expected == printed:
    return True
  if not (len(printed) <= LONGEST and NUMBER.fullmatch(printed)):
    return False
  return decimal.Decimal(expected) == decimal.Decimal(printed)


def values(expected, returned) -> bool:
  """Equality of two plain values as in LiveCodeBench: a tuple is a list, and nothing is rounded."""
  return listed(expected) == listed(returned)


def listed(value):
  """The value with its tuples made lists, at every depth of lists, tuples and dicts."""
  if isinstance(value, list | tuple):
    return [listed(item) for item in value]
  if isinstance(value, dict):
    return {key: listed(item) for key, item in value.items()}
  return value
