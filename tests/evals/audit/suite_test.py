"""Outcomes are counted once, and a lenient rule is told from a strict one."""

import pytest

from r1.evals.audit import suite


@pytest.mark.parametrize(
  ("expected", "said", "outcome"),
  [
    (True, True, "agree"),
    (True, False, "false_neg"),
    (False, True, "false_pos"),
    (0.5, 1.0, "false_pos"),
    (1.0, 0.5, "false_neg"),
    (None, "42", "false_pos"),
    ("42", None, "false_neg"),
    ("42", "43", "false_pos"),
    (None, None, "agree"),
  ],
)
def test_more_than_expected_is_a_false_positive(expected, said, outcome):
  assert suite.compare(expected, said, "free").outcome == outcome


def test_every_row_is_counted_once_and_skipped_rows_have_no_time():
  outcomes = ("agree", "agree", "false_pos", "false_neg", "policy", "skipped", "skipped")
  rulings = [suite.Ruling(outcome=outcome, mode="m", note="why") for outcome in outcomes]
  found = suite.tally(rulings, [0.001, 0.002, 0.003, 0.004, 0.005, 9.0, 9.0])
  assert found == {
    "rows": 7,
    "agree": 2,
    "false_pos": 1,
    "false_neg": 1,
    "policy": 1,
    "skipped": 2,
    "ms_median": pytest.approx(3.0),
  }
  assert suite.tally([], [])["ms_median"] == 0
  assert suite.reasons(rulings) == {("policy", "why"): 1, ("skipped", "why"): 2}
