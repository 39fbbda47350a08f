"""Guards refuse what costs too much and what dodges, and nothing that is an answer."""

import gzip
import json
import re
import time

import pytest

from r1.rewards.maths import guard
from tests.rewards.maths import hostile


def test_nine_tenths_of_the_hostile_answers_are_refused_unread():
  answers = hostile.answers()
  assert len(set(answers)) == 64
  start = time.perf_counter()
  refused = [answer for answer in answers if guard.costly(answer)]
  assert len(refused) >= 0.9 * 64
  assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
  "text",
  [
    "12!",
    "(n-1)!",
    "\\frac{7!}{3!4!}",
    "2^{10}",
    "2^{100}-1",
    "x^{2^n}",
    "2^{2^3}",
    "\\binom{10}{3}",
    "e^{-x^2}",
    "-29x^5(7x^6-2)",  # the second power is no part of the first exponent
    "11z^{17}(5+11z^{17})",
    "10^{-34}",
    "\\frac{1}{2}\\left(1+\\sqrt{5}\\right)^{12}",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    "x != 3",
  ],
)
def test_answers_are_read(text):
  assert guard.costly(text) == ""


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("9^{9^{9^9}}", "an exponent|tower"),
    ("9**9**9", "tower"),
    ("2^{1001}", "exponent above"),
    ("2^9(9^{9^9})", "tower"),
    ("(3^{500})^{500}", "power of a power"),
    ("201!", "factorial above"),
    ("(20!)!", "factorial of a factorial"),
    ("3!!!!", "factorial of a factorial"),
    ("(10^{9})!", "factorial"),
    ("\\sum_{k=1}^{10} k", "not worked out"),
    ("\\int_0^1 x dx", "not worked out"),
    ("(" * 21 + ")" * 21, "nested"),
    ("x" * 601, "longer"),
    ("1," * 200, "symbols"),
  ],
)
def test_costly_answers_are_refused_with_a_reason(text, reason):
  assert re.search(reason, guard.costly(text))


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("7", "3+4"),  # the question again
    ("7", "7 \\cdot 1"),
    ("7", "\\frac{14}{2}+0"),
    ("7", "7 or 8"),
    ("x", "x \\text{ or } y"),
    ("7", "x=3+4=7"),
    ("7", "\\pm7"),
    ("45", "0 1 2 3 4 5 6 7 8 9"),  # the sum of them, to math-verify
    ("6", "1 2 3"),
    ("7", "x=3+4"),
    ("7", "--7"),
    ("7", "3+4\\approx9"),
    ("7", "3+4\\text{ cm}"),
    ("7", "The answer is $3+4$"),
    ("7", "so \\boxed{3+4}"),
    ("7", "\\displaystyle 3+4"),
    ("7", "\\{3+4\\}"),
    ("7", "|3-10|"),
    ("12", "\\sqrt{144}"),
    ("120", "\\binom{10}{3}"),
    ("120", "5!"),
    ("8", "\\lfloor\\sqrt{80}\\rfloor"),
    ("-2", "\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}"),
    ("1", "x^0"),  # a question may ask to simplify, and the answer be a number
    ("0", "from 0 to 9"),  # letters are factors to math-verify, and 0 wins
    ("0", "a5b0c7"),
    ("8", "9=8"),
  ],
)
def test_answers_that_dodge_are_told(gold, answer):
  assert guard.evasive(gold, answer)


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("7", "7"),
    ("11", "x\\approx11"),
    ("8", "8\\approx9"),
    ("7", "x=7"),
    ("-7", "-7"),
    ("x+1", "1+x"),
    ("2 or 3", "3 or 2"),
    ("\\pm 2", "\\pm2"),
    ("x=1,y=2", "y=2,x=1"),
    ("\\sqrt{2}", "2/\\sqrt{2}"),
    ("a=b=c", "c=b=a"),
    ("7", "14/2"),  # one number, worked out
    ("7", "The answer is $7$"),
    ("7", "f(2)=7"),
    ("7", "\\binom{7}{1}=7"),
    ("7", "7\\text{ cm per hour}"),
    ("12", "12apples"),
    ("0.5", "50%=0.5"),
    ("1.41421356", "\\sqrt{2}"),
    ("5\\sqrt{2}", "\\sqrt{50}"),
  ],
)
def test_answers_that_commit_are_not(gold, answer):
  assert guard.evasive(gold, answer) == ""


def test_no_recorded_answer_of_a_model_is_refused(test_data):
  """Answers that were judged right by others must all be read."""
  with gzip.open(test_data / "graders" / "math_model_outputs.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  right = [row["extracted"] for row in rows if row["equal"]]
  assert len(right) > 400
  assert [answer for answer in right if guard.costly(answer)] == []
