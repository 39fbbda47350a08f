"""The table over the models of every stage."""

import io
import json

import pytest
import rich.console

from r1.report import stage_table


def evaluation(folder, numbers, helpful, unseen=False):
  """helpful: {prompt: helpfulness of its samples}."""
  folder.mkdir()
  (folder / "evaluation.json").write_text(json.dumps(numbers))
  records = [
    {"id": name, "sample": i, "unseen": unseen, "helpfulness": points, "response": "a\u2028b"}
    for name, each in helpful.items()
    for i, points in enumerate(each)
  ]
  records.append({"id": "harm", "sample": 0, "unseen": unseen, "unsafe": True})
  lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
  (folder / "answers.jsonl").write_text("".join(lines), encoding="utf-8")
  return folder


@pytest.fixture
def homes(tmp_path):
  dev3 = evaluation(
    tmp_path / "dev3",
    {"greedy": [0.5, 0.1], "accuracy/4": [0.75, 0.01]},
    {"p": [1, 0], "q": [0, 0]},
  )
  r1 = evaluation(
    tmp_path / "r1", {"greedy": [1.0, 0.0], "length": [30.25, 1.5]}, {"p": [1, 1], "q": [1, 1]}
  )
  return [("base", tmp_path / "none"), ("Dev3", dev3), ("R1", r1)]


def test_wins_are_counted_against_the_rival_on_the_same_prompts(homes):
  """R1 draws one of p's answers (half a win) and wins three: 0.75 on p, 1 on q, 0.875 in all.

  The error is over prompts: the deviation of (0.75, 1) is 0.1768, over the root of two 0.125.
  """
  found = stage_table.rows(homes, "Dev3", {"R1", "Dev3"})
  assert found["R1"]["win"] == pytest.approx((0.875, 0.125))
  assert found["Dev3"]["win"][0] == 0.5
  assert "win_unseen" not in found["R1"]
  assert found["base"] == {}


def test_a_rival_whose_evaluation_does_not_count_is_not_compared_with(homes):
  found = stage_table.rows(homes, "Dev3", {"R1"})
  assert found["Dev3"] == {}
  assert found["R1"]["length"] == [30.25, 1.5]
  assert "win" not in found["R1"]


def test_answers_to_unseen_rules_are_compared_apart(tmp_path):
  given = {"p": [1.0]}, {"p": [0.0]}
  homes = [
    (label, evaluation(tmp_path / label, {}, points, unseen=True))
    for label, points in zip(("R1", "Dev3"), given)
  ]
  found = stage_table.rows(homes, "Dev3", {"R1", "Dev3"})["R1"]
  assert found["win_unseen"][0] == 1
  assert "win" not in found


def test_the_page_has_a_row_for_each_model_and_a_dash_for_what_is_missing(homes):
  found = stage_table.rows(homes, "Dev3", {"R1", "Dev3"})
  lines = stage_table.page(found, "Dev3", stage_table.cell).splitlines()
  assert lines[0] == "| model | accuracy, greedy | 4 numbers | tokens | wins against Dev3 |"
  assert lines[2] == "| base | – | – | – | – |"
  assert lines[4] == "| R1 | 1.000 ± 0.000 | – | 30.2 ± 1.5 | 0.875 ± 0.125 |"


def test_a_terminal_shows_a_column_for_each_model(homes):
  said = rich.console.Console(file=io.StringIO(), width=120)
  said.print(stage_table.build(stage_table.rows(homes, "Dev3", {"R1", "Dev3"}), "Dev3"))
  text = said.file.getvalue()
  assert "Dev3" in text
  assert "0.875" in text
  assert "±" not in text


def test_tables_of_several_seeds_are_medians_with_the_least_and_the_greatest():
  tables = [{"R1": {"greedy": [mean, 0.01], "length": [10 * mean, 1]}} for mean in (0.9, 0.5, 0.8)]
  lines = stage_table.page(stage_table.together(tables), "Dev3", stage_table.spread).splitlines()
  assert lines[2:] == ["| R1 | 0.800 (0.500–0.900) | 8.0 (5.0–9.0) |"]


def test_a_seed_without_some_number_is_refused():
  tables = [{"R1": {"greedy": [0.9, 0.01]}}, {"R1": {}}]
  with pytest.raises(ValueError, match="table 2 and table 1 differ in what they have of 'R1'"):
    stage_table.together(tables)
