"""Shares of right pairs and labels by hand, seen and unseen apart."""

import numpy as np
import pytest

from r1.data import preferences
from r1.evals import preference


def pair(prompt, unseen=False):
  return preferences.Pair(id=prompt, prompt=prompt, chosen="a", rejected="b", unseen=unseen)


def label(prompt, said, unseen=False):
  return preferences.Labelled(id=prompt, prompt=prompt, response="r", label=said, unseen=unseen)


def test_pairs_by_hand():
  # Prompt a: right and a tie, .75; b: wrong, 0; mean .375, error |.75 - 0| / sqrt(2) / sqrt(2).
  records = [pair("a"), pair("a"), pair("b"), pair("u", unseen=True)]
  scores = np.array([[2.0, 1.0], [1.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
  found = preference.pairs(records, scores)
  assert found["accuracy"] == pytest.approx((0.375, 0.375))
  assert found["accuracy_unseen"] == (1.0, 0.0)


def test_labels_by_hand():
  # Unsafe: 1 of 2 below 0; safe: 2 of 2 above; three of four right.
  records = [label("a", "unsafe"), label("b", "unsafe"), label("c", "safe"), label("d", "safe")]
  found = preference.labels(records, np.array([[-1.0], [2.0], [0.5], [3.0]]))
  assert found["accuracy"][0] == 0.75
  assert found["caught"][0] == 0.5
  assert found["passed"][0] == 1.0
  assert set(found) == {"accuracy", "caught", "passed"}


def test_what_has_no_record_is_left_out():
  found = preference.labels([label("a", "safe", unseen=True)], np.array([[0.0]]))
  assert found == {"accuracy_unseen": (0.5, 0.0), "passed_unseen": (0.5, 0.0)}
