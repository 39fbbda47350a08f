"""Short answers are equal by number or by text, and by nothing looser."""

import pytest

from r1.data import questions, responses
from r1.rewards import short


def said(grade, answer, text, **meta):
  asked = questions.Question(id="q", prompt="?", answer=answer, kind="short", meta=meta)
  return grade(
    asked, responses.Response(text=text, tokens=1, truncated=False), "answer_tag"
  ).verdict


@pytest.mark.parametrize(
  ("gold", "pred"),
  [
    ("Paris", "paris"),
    ("Paris", " The answer is “Paris”。"),
    ("Paris", "**Paris**."),
    ("the Beatles", "Beatles"),
    ("Straße", "STRASSE"),
    ("巴黎", "答案：巴黎。"),
    ("巴黎 铁塔", "巴黎铁塔"),
    ("42", "４２"),
    ("42", "42.0"),
    ("0.5", "1/2"),
    ("1,234", "1234"),
    ("50%", "50"),
    ("-5", "−5"),
    ("[1, 2]", "[1,2]"),
    ("(B)", "b"),
    ("10:30", "10:30."),
    ("\\text{knave}", "knave"),
    ("new  york", "New York"),
    ("A", "a"),  # an article only before a word
  ],
)
def test_equal(gold, pred):
  assert short.equal(gold, pred)
  assert short.equal(pred, gold)


@pytest.mark.parametrize(
  ("gold", "pred"),
  [
    ("blue", "blue whale"),
    ("52", "5²"),  # NFKC makes these equal
    ("5", "-5"),
    ("15", "1.5"),
    ("42", "42 or 43"),
    ("42", "I think 42"),
    ("42", "4 2"),
    ("1/3", "0.333"),
    ("[1,2]", "(1,2)"),
    ("Paris", "Paris or London"),
    ("not guilty", "guilty"),
    ("theory", "ory"),
    ("", ""),
    ("Paris", ""),
    ("٣", "3"),
    ("the", "a"),
  ],
)
def test_not_equal(gold, pred):
  assert not short.equal(gold, pred)


def test_only_the_marked_answer_counts():
  """Free-text extraction gives "I think 42" a 1 (Math-Verify's expression fallback)."""
  assert said(short.reward, "42", "<think>42</think>I think 42") == "unparsed"
  assert said(short.reward, "42", "<think>x</think><answer>I think 42</answer>") == "wrong"
  assert said(short.reward, "42", "<think>x</think><answer>42</answer>") == "right"


def test_a_decimal_is_no_third():
  """Math-Verify takes 0.3333333 for 1/3, by rounding to six digits."""
  assert said(short.reward, "1/3", "<answer>0.3333333</answer>") == "wrong"


def test_a_truncated_answer_whose_think_never_closes_is_unparsed_and_not_wrong():
  """It says nothing false, and a run may keep, zero or mask it."""
  assert said(short.reward, "42", "<think>so it is <answer>42</answer> or") == "unparsed"


def test_ten_megabytes_are_no_answer():
  assert not short.equal("42", "(" * 10_000_000)
  assert not short.equal("42", " " * 10_000_000 + "42")


def test_an_empty_gold_answer_gives_no_verdict():
  for gold in (None, "", " . "):
    assert said(short.reward, gold, "<answer>.</answer>") == "no_verdict"


def test_a_puzzle_with_options_is_a_choice():
  text = "<answer>(B) knave</answer>"
  assert said(short.logic, "knave", text, choices=["knight", "knave"]) == "right"
  assert said(short.logic, "knave", text) == "wrong"
  assert said(short.logic, "24", "<answer>24.0</answer>") == "right"
  assert said(short.logic, "A", "<answer>knave</answer>", choices=["knight"]) == "no_verdict"
