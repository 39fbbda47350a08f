"""n-grams in common with evaluation questions: what counts as a word, and what is too short."""

import pytest

from r1.data import overlap


@pytest.mark.parametrize(
  ("text", "wanted"),
  [
    ("What is 3 + 4 ?", ("what", "is", "3", "+", "4")),
    ("Ann's two-way trip, 12.5 km.", ("ann", "s", "two", "-", "way", "trip", "12", "5", "km")),
    ("3 + 4 是多少？", ("3", "+", "4", "是", "多", "少")),
    ("ＡＢ　3\u2212４", ("ab", "3", "-", "4")),
    ("?!", ()),
  ],
)
def test_words_by_hand(text, wanted):
  assert overlap.units(text) == wanted


def test_ten_words_in_a_row_are_shared_and_nine_are_not():
  asked = "a b c d e f g h i j k"  # eleven words: two n-grams of ten
  found = overlap.index([asked], 10)
  assert len(found.grams) == 2
  assert overlap.shared("so: B c, d e f g h i J. K", found) == "b c d e f g h i j k"
  assert overlap.shared("x b c d e f g h i j x", found) is None, "nine in a row"
  assert overlap.shared("b c d e f x g h i j k", found) is None, "ten, but not in a row"


def test_han_characters_are_counted_one_by_one():
  found = overlap.index(["小明有三个苹果和五个梨"], 10)
  assert overlap.shared("题目：小明有三个苹果和五个桃", found)
  assert overlap.shared("小红有三个苹果和五个李子", found) is None


def test_signs_tell_sums_apart():
  found = overlap.index(["3 + 4 + 5 + 6 + 7 + 8"], 10)
  assert overlap.shared("3+4+5+6+7+8-9", found)
  assert overlap.shared("3 + 4 - 5 + 6 + 7 + 8", found) is None


def test_a_question_too_short_for_an_n_gram_is_shared_by_the_same_text_only():
  found = overlap.index(["what is 3 + 4 ?"], 10)
  assert overlap.shared("What is 3 + 4", found) == "what is 3 + 4"
  assert overlap.shared("what is 3 + 4 + 5 ?", found) is None
  assert overlap.shared("I add. what is 3 + 4 ? it is 7, and I say so again", found) is None


def test_texts_without_words_are_shared_by_nothing():
  found = overlap.index(["?!", ""], 10)
  assert overlap.shared("!!", found) is None


def test_n_grams_without_units_are_refused():
  with pytest.raises(ValueError, match="n=0: wanted n-grams of at least one unit"):
    overlap.index(["a"], 0)
