"""Win rates by hand."""

import math

import pytest

from r1.evals import winrate


def test_a_draw_is_half_a_win_and_the_error_is_over_prompts():
  # a: 1 and 1/2, so 3/4; b: 0. Mean 3/8; spread of (3/4, 0) is 3/(4 sqrt 2), over sqrt 2: 3/8.
  rate, error = winrate.win_rate([("a", 1, 0), ("a", 0.5, 0.5), ("b", 0, 1)])
  assert rate == pytest.approx(3 / 8)
  assert error == pytest.approx(3 / 4 / math.sqrt(2) / math.sqrt(2))


def test_the_two_sides_add_up_to_one():
  pairs = [("a", 1, 0), ("b", 0.2, 0.2), ("c", 0.1, 0.6), ("c", 0.6, 0.1), ("d", 0, 1)]
  back = [(name, theirs, ours) for name, ours, theirs in pairs]
  assert winrate.win_rate(pairs)[0] + winrate.win_rate(back)[0] == pytest.approx(1)


def test_nothing_to_compare_is_refused():
  with pytest.raises(ValueError, match="no pair of answers"):
    winrate.win_rate([])
