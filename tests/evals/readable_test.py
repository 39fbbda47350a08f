"""What a reader gets along with, by hand."""

import pytest

from r1.data import questions
from r1.evals import readable

SUM = questions.Question(id="1", prompt="what is 3 + 4 ?", answer="7", language="en")
SUMME = questions.Question(id="2", prompt="3 + 4 是多少？", answer="7", language="zh")
TALK = questions.Question(id="3", prompt="write about the sea", kind="helpful", language="en")


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("<think>first 3 + 4 = 7, so 7</think>the result is \\boxed{7}.", True),
    ("<think>first 3 + 4 = 8, so 8</think>the result is \\boxed{8}.", True),  # wrong, but readable
    ("<think>first 3 + 4 = 7, so 7</think>the result is \\boxed{8}.", False),
    ("<think>first 3 + 4 = 7, so 7</think>the result is clear.", False),
    ("<think>first 3 + 4 = 7, so 7</think>\\boxed{7}", False),  # no words
    ("<think>first 3 + 4 = 7, so 7</think><answer>7</answer>", False),
    ("<think>first 3 + 4 = 7, so 7</think>结果是 \\boxed{7}。", False),
    ("<think>先 3 + 4 = 7，所以 7</think>the result is \\boxed{7}.", False),
    ("<think>first 3 + 4 = 7，所以 7</think>the result is \\boxed{7}.", False),
    ("<think></think>the result is \\boxed{7}.", False),
    ("<think>so 7</think><think>so 7</think>the result is \\boxed{7}.", False),
    ("first 3 + 4 = 7, so the result is \\boxed{7}.", False),
    ("", False),
  ],
)
def test_sums(text, wanted):
  assert readable.readable(SUM, text) == wanted


def test_a_summary_is_in_the_language_of_its_question():
  text = "<think>先 3 + 4 = 7，所以 7</think>结果是\\boxed{7}。"
  assert readable.readable(SUMME, text)
  assert not readable.readable(SUM, text)


def test_general_answers_need_no_number():
  assert readable.readable(TALK, "<think>they ask for the sea</think>the sea is blue.")
  assert not readable.readable(TALK, "the sea is blue.")
