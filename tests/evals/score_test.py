"""Scores worked by hand."""

import itertools

import pytest

from r1.evals import score


def test_pass_at_1_is_the_mean_over_questions_of_the_samples_present():
  # lighteval #771: 1/1, 1/2, 0/4; the question without a sample does not count.
  # Mean .5; deviations .5, 0, -.5: sample deviation .5, over the root of 3.
  correct = [[True], [True, False], [False] * 4, []]
  assert score.mean_and_error(correct) == pytest.approx((0.5, 0.5 / 3**0.5))


def test_one_question_has_no_standard_error():
  assert score.mean_and_error([[True, False]]) == (0.5, 0.0)


def test_the_error_of_single_samples_is_that_of_a_share():
  # 30 of 100: the root of .3 * .7 / 99.
  correct = [[i < 30] for i in range(100)]
  assert score.mean_and_error(correct) == pytest.approx((0.3, (0.21 / 99) ** 0.5))


@pytest.mark.parametrize("correct", [[], [[], []]])
def test_nothing_to_score_is_an_error(correct):
  with pytest.raises(ValueError, match="nothing to score"):
    score.mean_and_error(correct)


@pytest.mark.parametrize(
  ("n", "c", "k", "wanted"),
  [
    (4, 2, 1, 1 / 2),
    (4, 2, 2, 1 - 1 / 6),  # both of two drawn wrong: 1 of the 6 pairs
    (4, 2, 3, 1.0),  # three drawn hold a right one
    (4, 0, 4, 0.0),
    (16, 1, 16, 1.0),
    (5, 1, 3, 1 - 4 / 10),
  ],
)
def test_unbiased_pass_at_k(n, c, k, wanted):
  assert score.pass_at([[i < c for i in range(n)]], k) == pytest.approx(wanted)


def test_pass_at_k_is_the_mean_over_every_choice_of_k_samples():
  samples = [True, False, False, True, False, False]
  for k in range(1, 7):
    chosen = [any(pick) for pick in itertools.combinations(samples, k)]
    assert score.pass_at([samples], k) == pytest.approx(sum(chosen) / len(chosen))


def test_pass_at_k_averages_over_questions():
  assert score.pass_at([[True, True], [True, False], [False, False]], 1) == pytest.approx(0.5)
  assert score.pass_at([[True, True], [True, False], [False, False]], 2) == pytest.approx(2 / 3)


def test_too_few_samples_are_refused_with_the_numbers():
  with pytest.raises(ValueError, match="pass@4 needs 4 samples per question; one has 2"):
    score.pass_at([[True] * 4, [True] * 2], 4)


@pytest.mark.parametrize(
  ("answers", "wanted"),
  [
    (["8", "9", "8"], "8"),
    (["9", "8", "8", "9"], "9"),  # a tie goes to the first that was said
    ([None, None, "7"], "7"),  # no answer is no vote
    ([None, None], None),
    ([], None),
  ],
)
def test_the_majority_is_of_the_answers_given(answers, wanted):
  assert score.majority(answers) == wanted
