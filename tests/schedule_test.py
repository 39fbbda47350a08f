"""Settings that change at given updates."""

import pytest

from r1 import schedule

LIMIT = ((0, 32_768), (8_200, 65_536))  # arXiv 2501.12948 section 2.2.1


def test_a_value_holds_from_its_update_on():
  assert [schedule.at(LIMIT, n) for n in (0, 8_199, 8_200, 10_400)] == [
    32_768,
    32_768,
    65_536,
    65_536,
  ]


@pytest.mark.parametrize("points", [(), ((1, 2.0),), ((0, 1), (5, 2), (5, 3)), ((0, 1), (-1, 2))])
def test_points_must_start_at_zero_and_rise(points):
  with pytest.raises(ValueError, match=r"limit=.*: wanted \(\(0, value\)"):
    schedule.check("limit", points)


def test_rising_points_are_accepted():
  schedule.check("limit", LIMIT)
  schedule.check("limit", ((0, 1),))
