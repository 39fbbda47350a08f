"""Recorded letters and short answers are judged as their projects judged them."""

import json

import pytest

from r1.evals.audit import texts


def rulings(folder, name, judge):
  with open(folder / "graders" / f"{name}.jsonl", encoding="utf-8") as lines:
    return [judge(json.loads(line)) for line in lines]


@pytest.mark.parametrize(
  ("name", "judge", "rows"),
  [("choice_extract", texts.choice_extract, 10), ("qa_match", texts.qa_match, 59)],
)
def test_every_recorded_row_agrees(test_data, name, judge, rows):
  found = rulings(test_data, name, judge)
  assert [ruling for ruling in found if ruling.outcome != "agree"] == []
  assert len(found) >= rows


def test_recorded_letters_of_gpqa_agree(test_data):
  outcomes = [ruling.outcome for ruling in rulings(test_data, "aggregate_metrics", texts.letters)]
  assert outcomes.count("agree") >= 20
  assert not {"false_pos", "false_neg"} & set(outcomes)


def test_a_row_that_differs_is_found():
  row = {"gold": "B", "pred": "Answer: A", "equal": True}
  assert texts.choice_extract(row).outcome == "false_neg"
  assert texts.choice_extract(row | {"pred": "B", "equal": False}).outcome == "false_pos"
  assert texts.choice_extract(row | {"gold": "ب"}).outcome == "policy"
  score = {"fn": "token_f1", "args": {"predicted": "a b", "golds": "b"}, "out": 0.5}
  assert texts.qa_match(score).outcome == "false_pos"  # our 1 of 1: the article goes
  assert texts.qa_match(score | {"out": 1.0}).outcome == "agree"
  assert texts.qa_match(score | {"fn": "rouge"}).outcome == "skipped"
  bags = {"fn": "drop_em_f1", "args": {"predicted": ["b"], "gold": ["b", "c"]}, "out": [0.0, 0.5]}
  assert texts.qa_match(bags).outcome == "agree"
  assert texts.qa_match(bags | {"out": [0.0, 0.51]}).outcome != "agree"
  assert texts.qa_match(bags | {"out": [0.0, 0.51], "tolerance": 0.02}).outcome == "agree"


def test_letters_that_differ_are_found():
  doc = {"choices": ["A", "B"], "gold_index": 1}
  row = {"metric": "gpqa_instruct_metric", "params": {}, "doc": doc, "response": ["Answer: A"]}
  row |= {"expected": {"extractive_match": 1.0}}
  assert texts.letters(row).outcome == "false_neg"
  assert texts.letters(row | {"response": ["Answer: B"]}).outcome == "agree"
  # Two of three right: 1 - C(1, 1) / C(3, 1).
  two = {
    "metric": "gpqa_instruct_pass_at_k",
    "params": {"k": 1, "n": 3},
    "response": ["B", "A", "B"],
  }
  assert texts.letters(row | two | {"expected": {"k": 2 / 3}}).outcome == "agree"
  assert texts.letters(row | {"metric": "pass_at_k_letters"}).outcome == "policy"
  assert texts.letters(row | {"metric": "maj_at_k"}).outcome == "skipped"
