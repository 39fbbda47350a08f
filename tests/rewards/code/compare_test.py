"""Outputs line by line with exact numbers, values as Python compares them, tuples as lists."""

import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.rewards.code import compare


@pytest.mark.parametrize(
  ("expected", "printed"),
  [
    ("3\n", "3"),
    ("1 2\n3", "1 2 \n3\n\n"),
    ("a b", "a  b"),
    ("1.5", "1.50"),
    ("1.5 2", "1.50 2.0"),
    ("100", "1e2"),
    ("-0", "0"),
    ("", "\n"),
    ("x\r\ny", "x\ny"),
    ("1e999999", "10e999998"),
  ],
)
def test_equal_outputs(expected, printed):
  assert compare.outputs(expected, printed)


@pytest.mark.parametrize(
  ("expected", "printed"),
  [
    ("3", "4"),
    ("3", ""),
    ("3", "3\n4"),
    ("3 4", "3"),
    ("1 2\n3", "1\n2 3"),
    ("a\n\nb", "a\nb"),
    ("YES", "yes"),
    ("YES 1.0", "YES 1"),  # numbers are read only where all of a line are
    ("0.1", "0.10000000000000000001"),
    ("0.3333333", "0.333"),
    ("nan", "NaN"),
    ("1", "１"),  # a full-width digit
    ("1", "1_"),
    ("10", "1_0"),
    ("inf", "Infinity"),
    ("1", "sNaN"),
  ],
)
def test_different_outputs(expected, printed):
  assert not compare.outputs(expected, printed)


@pytest.mark.parametrize(
  ("expected", "returned", "equal"),
  [
    ([1, 2], (1, 2), True),
    ([[1, 2], [3]], [(1, 2), (3,)], True),
    ({"a": [1]}, {"a": (1,)}, True),
    (1, 1.0, True),
    ("1", 1, False),
    ([1, 2], [2, 1], False),
    ([1, 2], {1, 2}, False),
    (None, 0, False),
    (0.1, 0.1 + 1e-12, False),
    (float("nan"), float("nan"), False),
  ],
)
def test_values(expected, returned, equal):
  assert compare.values(expected, returned) is equal


@hypothesis.settings(max_examples=10_000, deadline=None, derandomize=True, database=None)
@hypothesis.given(
  strategies.text(strategies.characters(categories=None), max_size=100)
  | strategies.text("0123456789.eE+- \n", max_size=60)
)
def test_any_output_equals_itself_and_not_one_with_a_word_more(text):
  assert compare.outputs(text, text)
  assert not compare.outputs(text, f"{text}\nword")


@pytest.mark.parametrize(
  ("expected", "printed"),
  [
    ("1" * 10**7, "1" * (10**7 - 1) + "2"),
    ("1 " * (5 * 10**6), "1 " * (5 * 10**6 - 1) + "2"),
    ("1\n" * (5 * 10**6), "1\n" * (5 * 10**6 - 1) + "2"),
    ("1e999999", "1e-999999"),
  ],
  ids=range(4),
)
def test_large_outputs_take_seconds_at_most(expected, printed):
  started = time.monotonic()
  assert not compare.outputs(expected, printed)
  assert time.monotonic() - started < 10
