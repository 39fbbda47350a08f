"""Overlap metrics against values worked out by hand and, for pairings, against every pairing."""

import itertools
import random

import pytest

from r1.evals import qa


@pytest.mark.parametrize(
  ("text", "normal"),
  [("The  Cat, a dog!", "cat dog"), ("An answer.", "answer"), ("theory", "theory"), ("", "")],
)
def test_articles_punctuation_and_case_do_not_count(text, normal):
  assert qa.normal(text) == normal


def test_exact_match_over_references():
  assert qa.exact("The Paris!", ["London", "paris"]) == 1
  assert qa.exact("Paris", ["London"]) == 0


def test_only_text_after_the_thought_is_final():
  assert qa.final("<think>no</think>\n<answer> 42 </answer>") == "42"
  assert qa.final("a</think>b</think>c") == "c"


def test_token_f1():
  # One of two words right, one of one wanted: 2 * .5 * 1 / 1.5.
  assert qa.token_f1("hello world", ["hello"]) == pytest.approx(2 / 3)
  assert qa.token_f1("hello hello", ["hello"]) == pytest.approx(2 / 3)  # a multiset
  assert qa.token_f1("hello", ["bye", "hello"]) == 1
  assert qa.token_f1("", [""]) == 0


@pytest.mark.parametrize(
  ("text", "normal"),
  [("S.K. Singh", "sk singh"), ("12", "12.0"), ("$5", "5.0"), ("78-yard", "78.0 yard"), ("a", "")],
)
def test_drop_normalises_word_by_word(text, normal):
  assert qa.drop_normal(text) == normal


@pytest.mark.parametrize(
  ("pred", "gold", "exact", "f1"),
  [
    ("Green bay packers", "green Bay Packers", 1, 1),
    (["b", "a"], ["a", "b"], 1, 1),
    (["a1"], ["a1", "b1"], 0, 0.5),
    (["td", "td"], ["td"], 0, 0.5),
    ("56 yards", "56 yd", 0, 0.5),
    ("57 yards", "56 yards", 0, 0),  # the number decides
    ("yards", "56 yards", 0, 0),
    ("", "army", 0, 0),
    ([], ["army"], 0, 0),
  ],
)
def test_drop(pred, gold, exact, f1):
  assert qa.drop(pred, [gold]) == (exact, f1)


def test_drop_takes_the_best_annotator():
  assert qa.drop("4", ["5", "4", "four"]) == (1, 1)


def test_the_best_pairing_is_the_best_of_all():
  draw = random.Random(0)
  for _ in range(300):
    rows, columns = draw.randint(1, 5), draw.randint(1, 5)
    scores = [
      [draw.choice([0, 0.5, 1, draw.random()]) for _ in range(columns)] for _ in range(rows)
    ]
    wide = scores if rows <= columns else list(zip(*scores))
    orders = itertools.permutations(range(len(wide[0])), len(wide))
    best = max(sum(row[j] for row, j in zip(wide, order)) for order in orders)
    assert qa.best_pairing(scores) == pytest.approx(best)


def test_a_pairing_of_nothing_is_worth_nothing():
  assert qa.best_pairing([]) == 0
  assert qa.best_pairing([[]]) == 0
