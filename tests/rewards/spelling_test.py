"""Spellings are folded only where no meaning can change."""

import pytest

from r1.rewards import spelling


@pytest.mark.parametrize(
  ("text", "plain"),
  [
    ("（Ｄ）", "(D)"),
    ("４２．５", "42.5"),
    ("是，否。", "是,否."),
    ("“ａ”", '"a"'),
    ("−5\u3000m", "-5 m"),
    ("5²", "5²"),  # NFKC would say 52
    ("½", "½"),  # NFKC would say 1⁄2, and 3½ would be 31⁄2
    ("ﬁ", "ﬁ"),
  ],
)
def test_only_width_and_punctuation_are_folded(text, plain):
  assert spelling.half_width(text) == plain


@pytest.mark.parametrize(
  ("text", "inner"),
  [
    (" **D** ", "D"),
    ("$\\text{D}$", "D"),
    ("\\boxed{\\mathrm{D}}", "D"),
    ('`"D"`', "D"),
    ("$a$ or $b$", "$a$ or $b$"),
    ("'a' or 'b'", "'a' or 'b'"),
    ("\\text{a} or \\text{b}", "\\text{a} or \\text{b}"),
    ("\\(a\\) + \\(b\\)", "\\(a\\) + \\(b\\)"),
    ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
    ("", ""),
    ('"', '"'),
  ],
)
def test_a_pair_is_peeled_only_where_it_holds_all(text, inner):
  assert spelling.unwrap(text) == inner


def test_marks_and_wrappings_are_peeled_in_any_order():
  assert spelling.bare("**“D”。** .", " .") == "“D”。"  # widths are half_width()'s business
  assert spelling.bare('**"D".** .', " .") == "D"
  assert spelling.bare("...", " .") == ""


def test_only_some_layers_are_peeled():
  assert spelling.unwrap('"' + "\\text{" * 50 + "a" + "}" * 50 + '"').count("text") == 43


def test_white_space_is_squeezed():
  assert spelling.squeeze(" a \n\t b\u2003c ") == "a b c"
