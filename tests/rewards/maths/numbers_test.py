"""Numbers are read exactly or not at all, and compared as fractions."""

import fractions

import pytest

from r1.rewards.maths import latex, numbers, units

HALF = fractions.Fraction(1, 2)


def read(text):
  return numbers.read(units.split(latex.canonical(text))[0])


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("8", 8),
    ("-8", -8),
    ("−8", -8),
    ("+8", 8),
    ("- 8", -8),
    ("007", 7),
    ("8.0", 8),
    ("8.", 8),
    (".5", HALF),
    ("0.125", fractions.Fraction(1, 8)),
    ("3/4", fractions.Fraction(3, 4)),
    ("6 / 8", fractions.Fraction(3, 4)),
    ("-\\frac{3}{4}", fractions.Fraction(-3, 4)),
    ("\\frac{-3}{4}", fractions.Fraction(-3, 4)),
    ("\\dfrac{3}{4}", fractions.Fraction(3, 4)),
    ("\\frac34", fractions.Fraction(3, 4)),
    ("918\\frac{1}{2}", fractions.Fraction(1837, 2)),
    ("-1\\frac12", fractions.Fraction(-3, 2)),
    ("1 3/4", fractions.Fraction(7, 4)),
    ("1.5 \\times 10^{3}", 1500),
    ("2\\cdot10^{-2}", fractions.Fraction(1, 50)),
    ("1e3", 1000),
    ("10^6", 10**6),
    ("-10^{-1}", fractions.Fraction(-1, 10)),
    ("1,234,567.5", fractions.Fraction(2469135, 2)),
    ("10{,}000", 10000),  # Qwen2.5-Math's grader says this is not 10000
    ("10\\,000", 10000),
    ("1 234 567", 1234567),
    ("$8$", 8),
    ("\\(8\\)", 8),
    ("$$ 8 $$", 8),
    ("\\boxed{8}", 8),
    ("$\\boxed{8}$.", 8),
    ("$8", 8),
    ("-$8", -8),
    ("\\$1,000", 1000),
    ("28%", 28),
    ("28\\%", 28),
    ("$28\\%$", 28),
    ("9" * 300, 10**300 - 1),
  ],
)
def test_a_number_is_read_exactly(text, value):
  assert read(text).value == value


@pytest.mark.parametrize(
  "text",
  [
    *("", " ", ".", "-", "$", "$$", "%", "1 2", "1,2", "1,0000", "12 - 4", "8 9", "8, 9"),
    *("0,111", "1/0", "1/2/3", "--8", "1e500", "9**9**9", "9^{9^9}", "100000000!", "x = 8"),
    *("eight", "٨", "８", "²", "½", "八", "0x8", "1_000", "nan", "inf", "8\0", "\\frac{1}{0}"),
    *("9" * 301, "9" * 100_000),
  ],
)
def test_anything_else_is_no_number(text):
  assert read(text) is None


@pytest.mark.parametrize(
  ("a", "b", "equal"),
  [
    ("8", "8.00", True),
    ("0.5", "1/2", True),
    ("1/3", "0.333333", True),  # six right digits, and no finite decimal could be right
    ("2/3", "0.666667", True),
    ("2/3", "0.666666", True),
    ("1/3", "0.333", False),
    ("1/3", "0.3333343", False),
    ("1/2", "0.5000001", False),  # a half has finitely many decimals, so those are wrong
    ("1000000", "1000000.5", False),
    ("0.3333333", "0.33333333", False),  # two decimals say two values
  ],
)
def test_a_decimal_stands_for_a_fraction_that_has_no_finite_one(a, b, equal):
  assert numbers.same(read(a), read(b)) is equal
  assert numbers.same(read(b), read(a)) is equal


def test_a_base_is_part_of_the_number():
  assert numbers.base("1010_2") == ("1010", 2)
  assert numbers.base("0ff_16") == ("ff", 16)
  assert numbers.base("1010") is None


@pytest.mark.parametrize(
  ("text", "number"),
  [
    ("so 8. Wait, 12 - 4 = 9", "9"),
    ("<think>so 8</think><answer>8</answer>", "8"),
    ("12-4", "4"),
    ("it is -4.", "-4"),
    ("1,234.5, about", "1,234.5"),
    ("3/4", "3/4"),
    (".5", ".5"),
    ("none", None),
  ],
)
def test_the_last_number_is_found_where_the_format_is_ignored(text, number):
  assert numbers.anywhere(text) == number
