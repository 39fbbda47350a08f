"""Means of few seeds and their intervals by hand."""

import math

import pytest

from r1.report import interval


def test_the_interval_of_three_seeds_by_hand():
  # Standard deviation 1, error 1/sqrt(3), times 4.303.
  assert interval.mean_and_half_width([1, 2, 3]) == pytest.approx((2, 4.303 / math.sqrt(3)))
  assert interval.text([0.9, 0.9, 0.9]) == "0.900 ± 0.000"


def test_one_seed_has_no_interval():
  assert interval.mean_and_half_width([0.5]) == (0.5, math.inf)
  assert interval.text([0.5], 1) == "0.5"


def test_what_never_came_about_is_told_and_no_mean_is_made_of_it():
  assert interval.text([math.inf, 4.0, 5.0]) == "2 of 3: 4.000, 5.000"
  assert interval.text([math.inf, math.inf]) == "never"
  assert interval.text([math.nan, math.nan]) == "–"


@pytest.mark.parametrize("values", [[], [0.0] * 12])
def test_no_seeds_and_too_many_are_refused(values):
  with pytest.raises(ValueError, match="seeds"):
    interval.mean_and_half_width(values)
