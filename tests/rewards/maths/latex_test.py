"""One spelling for what means the same, and two for what does not."""

import pytest

from r1.rewards.maths import latex


@pytest.mark.parametrize(
  ("text", "spelt"),
  [
    ("$\\dfrac{1}{2}$.", "\\frac{1}{2}"),
    ("\\frac 1 2", "\\frac{1}{2}"),
    ("\\frac12", "\\frac{1}{2}"),
    ("\\frac{1}2", "\\frac{1}{2}"),
    ("\\sqrt2", "\\sqrt{2}"),
    ("\\left(1, 2\\right]", "(1,2]"),
    ("\\left\\{ 1 \\right\\}", "\\{1\\}"),
    ("\\leftarrow", "\\leftarrow"),
    ("x \\le 3", "x\\leq3"),
    ("x \\leqslant 3", "x\\leq3"),
    ("x != 3", "x\\neq3"),
    ("x \\lt 3", "x<3"),
    ("1 + 2", "1+2"),
    (".5 + x", "0.5+x"),
    ("42<|im_end|>", "42"),
    ("185\\", "185"),
    ("\\boxed{\\boxed{7}}", "7"),
    ("\\text{Evelyn}", "evelyn"),
    ("Even", "even"),
    ("x^{2}", "x^2"),
    ("a_{1}", "a_1"),
    ("5\\,000", "5 000"),
    ("x\\quad y", "x y"),
    ("90^\\circ", "90^\\circ"),
    ("\\mathrm{e}", "e"),
  ],
)
def test_one_answer_has_one_spelling(text, spelt):
  assert latex.canonical(text) == spelt
  assert latex.canonical(spelt) == spelt


@pytest.mark.parametrize(
  ("a", "b"),
  [
    ("1 2", "12"),
    ("x", "X"),  # two variables
    ("\\pi r", "\\pir"),
    ("\\frac{1}{23}", "\\frac{1}{2}3"),
    ("\\frac12", "\\frac{12}{}"),
    ("\\{1, 2\\}", "1, 2"),
    ("(1, 2)", "1, 2"),
    ("$1$, $2$", "12"),
    ("\\boxed{1}, \\boxed{2}", "1},\\boxed{2"),
    ("x < 3", "x \\leq 3"),
    ("2^{10}", "2^10"),
    ("-5", "5"),
  ],
)
def test_different_answers_keep_different_spellings(a, b):
  assert latex.canonical(a) != latex.canonical(b)
