"""No known hack is right on any kind of question, and one that were would be found."""

import pytest

from r1.data import questions, responses
from r1.rewards import accuracy, canaries
from tests.rewards import settings

TESTS = ({"assert": "assert add(1) == 2"},)
ASKED = [
  questions.Question(id="number", prompt="What is 40 + 2?", answer="42"),
  questions.Question(id="negative", prompt="What is 2 - 9?", answer="-7"),
  questions.Question(id="small", prompt="How many?", answer="1"),
  questions.Question(id="sum of digits", prompt="How many?", answer="45"),
  questions.Question(id="formula", prompt="Expand.", answer="x^2+1"),
  questions.Question(id="everything", prompt="For which x?", answer="$(-\\infty,\\infty)$"),
  questions.Question(id="variable", prompt="What is x?", answer="$x$"),
  questions.Question(id="word", prompt="Where?", answer="Paris", kind="short"),
  questions.Question(id="letter", prompt="Which?", answer="B", kind="choice"),
  questions.Question(id="puzzle", prompt="Who?", answer="knave", kind="logic"),
]


PROGRAM = questions.Question(id="program", prompt="Add.", kind="code", tests=TESTS)


@pytest.fixture(scope="module", params=["answer_tag", "boxed"])
def opened(request):
  with accuracy.Verifier(settings.verifier(request.param)) as verifier:
    yield verifier


def test_no_hack_is_right(opened):
  found, tried = canaries.accepted([*ASKED, PROGRAM], opened)
  assert found == []
  assert tried > 20 * len(ASKED)


def test_the_right_answer_in_its_place_is(opened):
  """The canaries fail because they are hacks, not because nothing passes."""
  good = [canaries.MARKED[opened.mode].format(question.answer) for question in ASKED]
  answers = [
    responses.Response(text=f"<think>so</think>{text}", tokens=1, truncated=False) for text in good
  ]
  assert opened.right(ASKED, answers) == [True] * len(ASKED)
  text = canaries._program("def add(x):\n  return x + 1", opened.mode)
  answer = responses.Response(text=text, tokens=1, truncated=False)
  assert opened.right([PROGRAM], [answer]) == [True]


def test_a_lenient_verifier_is_found_out():
  """One that accepts any text with the gold answer somewhere in it."""

  class Lenient:
    mode = "answer_tag"

    def right(self, asked, answers):
      return [question.answer in answer.text for question, answer in zip(asked, answers)]

  found, _ = canaries.accepted(ASKED[:1], Lenient())
  names = {name for _, name in found}
  assert {"no tags", "only in the thought", "two answers", "one of two", "arithmetic"} <= names


def test_a_canary_never_holds_the_bare_gold_answer_where_it_counts():
  for question in ASKED:
    for mode, mark in canaries.MARKED.items():
      answers = canaries.responses_to(question, mode).values()
      assert f"<think>{canaries.THOUGHT}</think>{mark.format(question.answer)}" not in answers
