"""Scores refuse what no trainer can use."""

import pytest

from r1.data import responses
from r1.rewards import verdict


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_score_is_finite(value):
  with pytest.raises(ValueError, match="finite"):
    verdict.Score(value, "right")


def test_a_score_has_a_known_verdict():
  with pytest.raises(ValueError, match="'maybe' given; use one of right, wrong"):
    verdict.Score(1.0, "maybe")


def test_a_response_says_whether_it_was_cut():
  response = responses.Response(text="<think>\n1", tokens=2, truncated=True)
  assert (response.text, response.tokens, response.truncated) == ("<think>\n1", 2, True)
