"""Numbers as they are written in answers, read exactly and at bounded cost.

No text is evaluated: towers of powers, factorials and endless digits are simply no numbers here
(Math-Verify #63).
"""

import collections
import dataclasses
import fractions
import re

LONGEST = 300  # characters
LARGEST_EXPONENT = 400  # of ten
# A decimal stands for a fraction that has no finite decimals if it shows so many right digits:
# 0.3333333 is 1/3 and 0.333 is not (math-verify rounds to six as well).
FEWEST_DIGITS = 6

WHOLE = r"(?:[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+|(?: [0-9]{3})+)|[0-9]+)"
DECIMAL = re.compile(
  rf"({WHOLE})(?:\.([0-9]*))?(?:(?:\\times|\\cdot|\*|×)10\^\{{?(-?[0-9]{{1,4}})\}}?|[eE]([-+]?[0-9]{{1,4}}))?"
)
POWER = re.compile(r"10\^\{?(-?[0-9]{1,4})\}?")
RATIO = re.compile(rf"({WHOLE})/({WHOLE})|\\frac\{{(-?{WHOLE})\}}\{{({WHOLE})\}}")
MIXED = re.compile(rf"({WHOLE})(?:\\frac\{{({WHOLE})\}}\{{({WHOLE})\}}| ({WHOLE})/({WHOLE}))")
BASED = re.compile(r"([0-9A-Za-z]+)_([0-9]{1,2})")
ANYWHERE = re.compile(
  r"(?:(?<![0-9.)\]])[-−])?(?:[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
)


@dataclasses.dataclass(frozen=True)
class Number:
  """An exact value, and the decimals it was written with (None for an integer or a fraction)."""

  value: fractions.Fraction
  places: int | None = None


def read(text: str) -> Number | None:
  """The number that a text in canonical spelling is; None for anything else. ASCII digits only.

  Integers (commas or spaces group thousands), decimals, powers of ten, fractions, mixed numbers; a
  currency sign in front. A per cent sign belongs to the unit (units.split).
  """
  if len(text) > LONGEST:
    return None
  sign = text[:1] if text[:1] in ("+", "-") else ""
  text = text[len(sign) :].removeprefix("$").removeprefix("€").removeprefix("£")
  text = text[1:-1] if text.startswith("{") and text.endswith("}") else text
  found = _decimal(text) or _ratio(text)
  if found is None:
    return None
  return Number(-found.value, found.places) if sign == "-" else found


def _decimal(text: str) -> Number | None:
  match = DECIMAL.fullmatch(f"1*{text}" if POWER.fullmatch(text) else text)
  if not match:
    return None
  whole, places, power, power_e = match.groups()
  power = int(power or power_e or 0)
  if abs(power) > LARGEST_EXPONENT:
    return None
  digits = whole.replace(",", "").replace(" ", "") + (places or "")
  value = fractions.Fraction(int(digits), 10 ** len(places or "")) * fractions.Fraction(10) ** power
  return Number(value, len(places) - power if places else None)


def _ratio(text: str) -> Number | None:
  whole = 0
  match = RATIO.fullmatch(text)
  if match:
    above, below = (_int(part) for part in match.groups() if part)
  elif match := MIXED.fullmatch(text):
    whole, above, below = (_int(part) for part in match.groups() if part)
  else:
    return None
  return Number(whole + fractions.Fraction(above, below)) if below else None


def _int(digits: str) -> int:
  return int(digits.replace(",", "").replace(" ", ""))


def same(a: Number, b: Number) -> bool:
  """Equal exactly, or one is a decimal of the other, which no finite decimal could be."""
  if a.value == b.value:
    return True
  return _rounds(a, b) or _rounds(b, a)


def _rounds(decimal: Number, exact: Number) -> bool:
  if decimal.places is None or exact.places is not None or _is_finite(exact.value):
    return False
  digits = len(str(abs(int(decimal.value * 10**decimal.places)))) if decimal.places >= 0 else 0
  close = abs(decimal.value - exact.value) < fractions.Fraction(1, 10 ** max(decimal.places, 0))
  return digits >= FEWEST_DIGITS and close


def _is_finite(value: fractions.Fraction) -> bool:
  """Has the value finitely many decimals?"""
  below = value.denominator
  for prime in (2, 5):
    while below % prime == 0:
      below //= prime
  return below == 1


def base(text: str) -> tuple[str, int] | None:
  """(digits, base) of a number with a base as its subscript, 1010_2; None for anything else."""
  match = BASED.fullmatch(text)
  return (match[1].casefold().lstrip("0"), int(match[2])) if match else None


def anywhere(text: str) -> str | None:
  """The last number of a text, format ignored: for evaluation beside the strict score only.

  As a training reward this accepts anything ("I think 42", Math-Verify's free-text fallback).
  """
  last = collections.deque(ANYWHERE.finditer(text), maxlen=1)
  return last[0][0] if last else None
