"""math-verify's equality, in this process: what it gives, and what is taken back from it."""

import pytest

from r1.rewards.maths import symbolic


def compare(gold, answer, free=False, kinds=symbolic.KINDS, places=symbolic.PLACES):
  return symbolic.compare(gold, answer, free, list(kinds), places)


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("x^2+2x+1", "(x+1)^2"),
    ("\\frac{3+2\\sqrt{3}}{3}", "1+\\frac{2\\sqrt{3}}{3}"),
    ("34x+45y-20z+100=0", "-34x-45y+20z-100=0"),
    ("\\{1,2\\}", "\\{2,1\\}"),
    ("(5,8),(8,5)", "(8,5),(5,8)"),
    ("1<x<2", "(1,2)"),
    ("x=3", "3"),
    (
      "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
      "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    ),
    ("99\\pi \\text{ square inches}", "99\\pi"),
    ("2^{-99}", "2^-99"),
  ],
)
def test_equal_answers_are_right(gold, answer):
  assert compare(gold, answer) == "right"


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("3x-y+13=0", "3x + 4y + 14=0"),  # both were the number 0 (Math-Verify #60)
    ("2^-99", "2^-98"),  # equal to six decimals (Math-Verify #14)
    ("10^{-12}", "10^{-13}"),
    ("10\\%", "0.1"),
    ("(1,2)", "{1,2}"),
    ("(1,2)", "\\{1,2\\}"),
    ("f(x)", "f(y)"),
    ("x+1", "y+1"),
  ],
)
def test_what_math_verify_lets_through_is_wrong(gold, answer, free):
  assert compare(gold, answer, free) != "right"


def test_gold_comes_first():
  """Swapped arguments were a bug of open-r1 (#557): the comparison is not symmetric."""
  assert compare("1<x<2", "(1,2)") == "right"
  assert compare("(1,2)", "1<x<2") == "wrong"


def test_an_unreadable_gold_answer_is_no_verdict_and_an_unreadable_answer_unparsed():
  assert compare("\\frac{1}{", "1") == "no_verdict"
  assert compare("\\text{red}", "blue") == "wrong"
  assert compare("1", "\\frac{1}{") == "unparsed"


def test_an_answer_is_read_whole_or_not_at_all():
  """In a reward a formula that does not parse must not fall back on a number in it."""
  assert compare("4", "\\frac{1}{ 4", free=False) == "unparsed"
  assert compare("4", "I think it is 4", free=False) != "right"
  assert compare("4", "I think it is 4", free=True) == "right"


@pytest.mark.parametrize(
  ("gold", "answer"),
  [
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "2"),
    ("99\\pi \\text{ square inches}", "99"),
    ("4\\pi abc", "4"),
    ("Route 66", "66"),
  ],
)
def test_a_gold_answer_is_read_whole_or_not_at_all(gold, answer):
  """The last number of a matrix was the gold answer: so for 72 of 5,000 questions of MATH."""
  assert compare(gold, answer) != "right"


@pytest.mark.parametrize("answer", ["-$42$", "$42$!", "9 \\boxed{42}", "\\boxed{42} = 9", "2$42$"])
def test_mathematics_beside_a_marked_formula_is_not_left_out(answer):
  assert compare("42", answer) == "unparsed"


@pytest.mark.parametrize(
  "answer", ["The non-zero root is $42$.", "$42$", "$x=42$", "so \\boxed{42}", "$42$, see?"]
)
def test_words_beside_a_marked_formula_are(answer):
  assert compare("42", answer) == "right"


def test_places_say_how_many_decimals_must_agree():
  assert compare("\\frac{1}{3}", "0.3333", free=True, places=4) == "right"
  assert compare("\\frac{1}{3}", "0.3333", free=True) == "wrong"
  # Relative to the value: the fourth decimal of a millionth says nothing.
  assert compare("0.00000102", "0.00000109", free=True, places=6) == "wrong"


def test_the_warm_up_runs():
  for arguments in symbolic.warm_up():
    assert symbolic.compare(*arguments) == "right"
