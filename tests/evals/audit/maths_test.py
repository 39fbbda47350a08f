"""The recorded suites of mathematics, and what a wrong row would be called."""

import gzip
import json

import pytest

from r1.evals.audit import maths


def rows(test_data, name):
  path = test_data / "graders" / name
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rt", encoding="utf-8") as lines:
    return [json.loads(line) for line in lines]


def test_nearly_all_rows_that_math_verify_gets_right_agree(verifier, test_data):
  """Required are 97 per cent of them."""
  known = [r for r in rows(test_data, "math_equal.jsonl") if r["suite"] in maths.COUNTED]
  known = [row for row in known if row["math_verify_0_9_0"] == row["equal"]]
  found = [maths.math_equal(row, verifier.maths).outcome for row in known]
  assert len(found) > 200
  assert found.count("agree") >= 0.97 * len(found)
  assert "false_pos" not in found


def test_rows_that_encode_a_choice_are_policy_with_that_choice(verifier, test_data):
  others = [r for r in rows(test_data, "math_equal.jsonl") if r["suite"] not in maths.COUNTED]
  rulings = [maths.math_equal(row, verifier.maths) for row in others]
  assert {ruling.outcome for ruling in rulings} == {"policy"}
  assert all(ruling.note for ruling in rulings)


def test_every_spelling_and_box_agrees(verifier, test_data):
  found = [
    maths.normalize_extract(row, verifier.maths)
    for row in rows(test_data, "normalize_extract.jsonl")
  ]
  assert [ruling for ruling in found if ruling.outcome not in ("agree", "policy")] == []
  assert sum(ruling.outcome == "agree" for ruling in found) >= 33


@pytest.mark.parametrize(
  ("op", "given", "wanted", "outcome"),
  [
    ("extract_boxed", "\\boxed{7}", "7", "agree"),
    ("extract_boxed", "7", "7", "false_neg"),
    ("last_boxed", "so \\boxed{7}", "\\boxed{7}", "agree"),
    ("remove_boxed", "\\boxed{7}", None, "false_pos"),
    ("letter_extract", "It is B.", "B", "agree"),
    ("strip_units", "7cm", "7", "agree"),
    ("strip_units", "7cm", "7cm", "false_pos"),  # ours splits the unit off
    ("strip_units", "7cm", "8", "false_pos"),
    ("hendrycks_strip_string", "\\frac12", "\\frac{1}{2}", "agree"),
    ("hendrycks_strip_string", "\\frac12", "\\frac{1}{3}", "false_neg"),
    ("minerva_normalize_final_answer", "an ox", "ox", "policy"),
    ("rot13", "a", "n", "skipped"),
  ],
)
def test_a_row_is_judged_by_its_operation(verifier, op, given, wanted, outcome):
  row = {"op": op, "input": given, "output": wanted, "strings": ["A", "B", "C", "D"]}
  assert maths.normalize_extract(row, verifier.maths).outcome == outcome


def test_a_response_is_read_in_the_mode_of_its_suite(verifier):
  row = {"gold": "7", "response": "so \\boxed{7}", "equal": True}
  assert maths.model_outputs(row, verifier.maths, "boxed").outcome == "agree"
  assert maths.model_outputs(row, verifier.maths, "gsm8k").outcome == "false_neg"
  wrong = row | {"equal": False}
  assert maths.model_outputs(wrong, verifier.maths, "boxed").outcome == "false_pos"
