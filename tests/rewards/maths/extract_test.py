"""Answers are found in one place, and fail closed everywhere else."""

import gzip
import json

import pytest

from r1.rewards.maths import extract


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("<think>a</think><answer> 8 </answer>", "8"),
    ("<think>\\boxed{7}</think>\n<answer>\\boxed{8}</answer>", "\\boxed{8}"),
    ("<think><answer>7</answer></think><answer>8</answer>", "8"),  # the thought may try answers
    ("<think>a</think>b</think><answer>8</answer>", "8"),
    ("<answer>8</answer>", "8"),  # no thought at all: the format reward's business
    ("<think>a<answer>8</answer>", None),  # a thought that never ends has no answer
    ("<think>a</think><think>b<answer>8</answer>", None),
    ("<think><answer>8</answer></think>", None),
    ("<think>a</think>8", None),
    ("<think>a</think><answer>8", None),
    ("<think>a</think></answer>8<answer>", None),
    ("<think>a</think><answer></answer>", None),
    ("<think>a</think><answer>8</answer><answer>9</answer>", None),  # two answers are a hedge
    ("I think 8", None),  # Math-Verify's free-text fallback would say 8
    ("", None),
  ],
)
def test_a_tagged_answer_stands_once_after_the_last_thought(text, answer):
  assert extract.extract(text, "answer_tag") == answer


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("<think>\\boxed{7}</think>It is \\boxed{8}.", "8"),
    ("\\boxed{7} or rather \\boxed{8}", "8"),
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),  # escaped braces do not nest
    ("\\boxed{\\}}", "\\}"),
    ("<think>\\boxed{7}</think>It is 8.", None),
    ("<think>\\boxed{7}", None),
    ("\\boxed{7} and \\boxed{8", None),  # an unfinished box does not fall back on an earlier one
    ("\\boxed{8\\}", None),
    ("\\boxed{ }", None),
    ("\\boxed 8", None),
    ("\\fbox{8}", "8"),
    ("<think>a</think><answer>8</answer>", None),  # the other mode's mark
    ("8", None),
  ],
)
def test_a_boxed_answer_is_the_last_balanced_box(text, answer):
  assert extract.extract(text, "boxed") == answer


@pytest.mark.parametrize(
  ("text", "answer"),
  [
    ("2 + 3 = 5\n#### 5", "5"),
    ("#### 4\nno\n#### 5\n", "5"),
    ("so 5\nA: 1,234", "1,234"),
    ("so 5\nA:\n7", "7"),
    ("the answer is 5", None),
    ("####", None),
    ("<think>#### 5", None),
  ],
)
def test_a_gsm8k_answer_stands_behind_its_mark(text, answer):
  assert extract.extract(text, "gsm8k") == answer


def test_free_gives_the_text_behind_the_thought():
  assert extract.extract("<think>4</think> it is 5 ", "free") == "it is 5"
  assert extract.extract("<think>4", "free") is None
  assert extract.extract(" ", "free") is None


def test_an_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="'box' given; use one of answer_tag, boxed, gsm8k, free"):
    extract.extract("8", "box")


def test_recorded_gsm8k_answers_are_found_where_they_were_found(test_data):
  with gzip.open(test_data / "graders" / "gsm8k_model_outputs.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  assert len(rows) > 3000
  assert [r["id"] for r in rows if extract.extract(r["response"], "gsm8k") != r["extracted"]] == []
