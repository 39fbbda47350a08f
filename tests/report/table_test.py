"""The table at the end of a run."""

import io

import rich.console

from r1.report import table

BASE = {"eval/greedy": 0.25, "eval/greedy_se": 0.0131, "eval/length": 30.04}
AFTER = {"eval/greedy": 0.75, "eval/greedy_se": 0.02, "eval/length": 55.0, "eval/caught": 1.0}


def test_a_share_shows_its_standard_error_where_it_has_one():
  assert table.cell(BASE, "eval/greedy") == "0.250 ± 0.013"
  assert table.cell(AFTER, "eval/caught") == "1.000"


def test_lengths_have_one_digit_and_what_is_missing_a_dash():
  assert table.cell(BASE, "eval/length") == "30.0"
  assert table.cell(BASE, "eval/caught") == "–"


def test_a_row_for_every_number_that_some_policy_has():
  made = table.build("3 questions", [("base", BASE), ("R1-Zero", AFTER)])
  out = io.StringIO()
  rich.console.Console(file=out, width=100).print(made)
  rows = [line.strip("│ ") for line in out.getvalue().splitlines() if "│" in line]
  assert [row.split("│")[0].strip() for row in rows] == [
    "pass@1, greedy",
    "mean length in tokens",
    "wrong steps caught",
  ]
  assert "0.250 ± 0.013" in rows[0]
  assert "0.750 ± 0.020" in rows[0]
  assert [cell.strip() for cell in rows[2].split("│")[1:3]] == ["–", "1.000"]
