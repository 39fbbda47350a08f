"""Shaping is in tokens, bounded, monotone, and ranked within a group."""

import dataclasses
import math

import pytest

from r1.data import responses
from r1.rewards import shaping

CURVE = shaping.CosineConfig(
  limit=100, right_short=1.0, right_long=0.5, wrong_short=-1.0, wrong_long=-0.5
)
OFF = shaping.ShapingConfig(
  overlong=0.0,
  limit=100,
  buffer=20,
  repetition=0.0,
  ngram=2,
  length=0.0,
  cosine=0.0,
  curve=CURVE,
  steps=0.0,
)


def answer(text="so", tokens=1, truncated=False):
  return responses.Response(text=text, tokens=tokens, truncated=truncated)


@pytest.mark.parametrize(
  ("tokens", "value"), [(0, 0), (80, 0), (85, -0.25), (90, -0.5), (100, -1), (101, -1), (10**9, -1)]
)
def test_the_last_tokens_before_the_limit_cost_up_to_one(tokens, value):
  # L_max 100, L_cache 20: (80 - tokens) / 20 between 80 and 100.
  assert shaping.overlong(tokens, 100, 20) == pytest.approx(value)


def test_a_truncated_answer_pays_the_soft_penalty_of_length_in_full():
  """Beside what its policy makes of it (`grpo.truncated`: its reward kept, 0, or masked)."""
  cut = answer("<think>so", tokens=100, truncated=True)
  cfg = dataclasses.replace(OFF, overlong=1.0)
  assert shaping.parts([cut], [False], ["q"], cfg) == {"overlong": [-1.0]}


@pytest.mark.parametrize(
  ("sequence", "n", "share"),
  [
    ([], 2, 0),
    ([5], 2, 0),
    ([1, 2, 3, 4], 2, 0),
    ([5] * 5, 2, 0.75),  # four pairs, one distinct
    ([1, 2, 1, 2, 1, 2], 2, 0.6),  # five pairs, two distinct
    ("abcabc", 3, 0.25),  # abc bca cab abc
    ("abcabc", 7, 0),
  ],
)
def test_repetition_is_the_share_of_repeated_ngrams(sequence, n, share):
  assert shaping.repetition(sequence, n) == pytest.approx(share)


def test_units_are_words_or_single_characters():
  assert shaping.units("So  so, 所以 8") == ["so", "so,", "所", "以", "8"]
  assert shaping.units("あア한x") == ["あ", "ア", "한", "x"]


def test_the_curve_starts_and_ends_at_its_values():
  assert shaping.cosine(0, True, CURVE) == 1.0
  assert shaping.cosine(50, True, CURVE) == pytest.approx(0.75)
  assert shaping.cosine(100, True, CURVE) == 0.5
  assert shaping.cosine(0, False, CURVE) == -1.0
  assert shaping.cosine(25, False, CURVE) == pytest.approx(-0.75 - 0.25 * math.sqrt(0.5))


def test_beyond_the_limit_the_curve_is_flat():
  """open-r1's cosine is periodic and rises again: at twice its limit it pays the full reward."""
  assert shaping.cosine(200, True, CURVE) == 0.5
  values = [shaping.cosine(n, True, CURVE) for n in range(0, 1000, 7)]
  assert values == sorted(values, reverse=True)


def test_lengths_are_tokens_and_not_characters():
  """open-r1's cosine and length rewards count characters."""
  cfg = dataclasses.replace(OFF, cosine=1.0, length=1.0)
  long_text, long_tokens = answer("x" * 500, tokens=10), answer("x", tokens=90)
  values = shaping.parts([long_text, long_tokens], [True, True], ["q", "q"], cfg)
  assert values["length"] == [0.5, -0.5]
  assert values["cosine"][0] > values["cosine"][1]


def test_the_shortest_right_answer_gains_and_the_longest_loses():
  # Range 10..30: 0.5 - (20 - 10) / 20 = 0.
  right = [True, True, True, False, False]
  values = shaping.length([10, 20, 30, 10, 30], right, ["q"] * 5)
  assert values == [0.5, 0.0, -0.5, 0.0, -0.5]


def test_lengths_are_ranked_within_their_group():
  """open-r1's len_reward takes the extremes of the whole batch, across questions."""
  easy, hard = [10, 20], [1000, 2000]
  values = shaping.length(easy + hard, [True] * 4, ["easy", "easy", "hard", "hard"])
  assert values == [0.5, -0.5, 0.5, -0.5]
  assert shaping.length([7, 7], [True, False], ["q", "q"]) == [0.0, 0.0]


def test_a_group_and_a_verdict_are_wanted_for_each_answer():
  with pytest.raises(ValueError, match="zip"):
    shaping.length([1, 2], [True], ["q", "q"])


@pytest.mark.parametrize(
  ("text", "share"),
  [
    ("", 0),
    ("Just text, nothing first.", 0),
    ("Step 1: a", 1 / 3),
    ("1. a\n2. b", 2 / 3),
    ("首先，设 x；其次，y；最后，z", 1),
    ("- a\n- b\n- c\n- d\n- e", 1),
    ("about 1.5 and 2. no", 0),
  ],
)
def test_marked_steps(text, share):
  assert shaping.steps(text) == pytest.approx(share)


def test_a_part_of_weight_zero_is_not_computed():
  assert shaping.parts([answer()], [True], ["q"], OFF) == {}
  on = dataclasses.replace(OFF, repetition=0.1, steps=0.2)
  assert shaping.parts([answer("so so so")], [True], ["q"], on) == {
    "repetition": [-0.5],
    "steps": [0.0],
  }


@pytest.mark.parametrize(
  ("broken", "message"),
  [
    ({"buffer": 0}, "buffer=0"),
    ({"buffer": 101}, "buffer=101 of limit=100"),
    ({"ngram": 0}, "ngram=0"),
  ],
)
def test_impossible_settings_are_refused(broken, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(OFF, **broken)
  with pytest.raises(ValueError, match="limit=0 tokens"):
    dataclasses.replace(CURVE, limit=0)
