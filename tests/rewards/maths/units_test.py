"""Units are split off, and only units."""

import pytest

from r1.rewards.maths import units


@pytest.mark.parametrize(
  ("text", "value", "unit"),
  [
    ("5", "5", ""),
    ("5cm", "5", "cm"),
    ("5 cm", "5", "cm"),
    ("\\frac{1}{2}cm", "\\frac{1}{2}", "cm"),
    ("5\\text{ apples}", "5", "apple"),
    ("10\\text{cm}^2", "10", "cm2"),
    ("42square", "42", "square"),
    ("100dollars", "100", "dollar"),
    ("45^\\circ", "45", "degree"),
    ("45^{\\circ}", "45", "degree"),
    ("28%", "28", "%"),
    ("28percent", "28", "%"),
    ("28\\text{ percent}", "28", "%"),
    ("3million", "3million", ""),  # a multiplier is part of the value
    ("5\\text{ or }", "5\\text{ or }", ""),
    ("2pi", "2pi", ""),
    ("4a", "4a", ""),
    ("x", "x", ""),
    ("cm", "cm", ""),
    ("1<ms<2", "1<ms<2", ""),
    ("\\mbox{hello}", "\\mbox{hello}", ""),
  ],
)
def test_a_unit_stands_behind_a_value(text, value, unit):
  assert units.split(text) == (value, unit)
