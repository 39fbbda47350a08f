"""Recorded reward functions: the same values, or a named choice that explains the difference."""

import json

import pytest

from r1.evals.audit import functions
from r1.rewards.maths import grade
from tests.rewards import settings

GRADER = grade.Grader(settings.verifier("boxed").pool)


@pytest.fixture(scope="module", autouse=True)
def _workers_end():
  yield
  GRADER.close()


def judged(fn, text, rewarded, **more):
  row = {"fn": fn, "args": [[[{"content": text}]]], "kwargs": {}, "factory_kwargs": None}
  return functions.reward_functions(row | {"reward": [rewarded]} | more, GRADER)


def solved(fn, text, gold, reward, **more):
  return judged(fn, text, reward, args=[[[{"content": text}]], [gold]], **more)


def test_every_recorded_row_agrees(test_data):
  with open(test_data / "graders" / "reward_functions.jsonl", encoding="utf-8") as lines:
    found = [functions.reward_functions(json.loads(line), GRADER) for line in lines]
  assert [ruling for ruling in found if ruling.outcome not in ("agree", "policy")] == []
  assert sum(ruling.outcome == "agree" for ruling in found) >= 56


GOOD = "<think>\na\n</think>\n<answer>\nb\n</answer>"


@pytest.mark.parametrize(
  ("fn", "text", "reward", "outcome"),
  [
    ("format_reward", GOOD, 1.0, "agree"),
    ("format_reward", GOOD, 0.0, "false_pos"),
    ("format_reward", "b", 1.0, "policy"),
    ("format_reward", f"{GOOD}\nmore", 1.0, "policy"),  # open-r1 accepts both of these
    ("format_reward", f"{GOOD}\n{GOOD}", 1.0, "policy"),
    ("format_reward", "<think> </think><answer>b</answer>", 1.0, "false_neg"),
    ("format_reward", "<think>a</think><answer>b</answer>", 0.0, "policy"),
    ("think_format_reward", "<think>a</think>b", 1.0, "agree"),
    ("think_format_reward", "<think></think>b", 1.0, "policy"),
    ("think_format_reward", "a</think>b", 1.0, "false_neg"),
    ("think_format_reward", "<think>a</think>b", 0.0, "false_pos"),
    ("tag_count_reward", GOOD, 1.0, "agree"),
    ("tag_count_reward", GOOD, 0.5, "false_pos"),
    ("tag_count_reward", "<think>a</think>\n<answer>\nb\n</answer>", 0.5, "policy"),
    ("reasoning_steps_reward", "Step 1: a", 1 / 3, "agree"),
    ("reasoning_steps_reward", "Step 1: a", 1.0, "false_neg"),
    ("unknown_reward", "a", 1.0, "skipped"),
  ],
)
def test_a_difference_is_policy_only_where_the_refused_choice_explains_it(
  fn, text, reward, outcome
):
  assert judged(fn, text, reward).outcome == outcome


def test_lengths_are_ranked_within_a_question():
  texts = [[{"content": "\\boxed{1}"}], [{"content": "\\boxed{1}  xx"}]]
  same = {"args": [texts, ["1", "1"]], "reward": [0.5, -0.5]}
  assert judged("len_reward", "", None, **same).outcome == "agree"
  other = same | {"reward": [0.5, 0.5]}
  assert judged("len_reward", "", None, **other).outcome == "false_neg"
  two = same | {"args": [texts, ["1", "2"]]}
  assert judged("len_reward", "", None, **two).outcome == "policy"


def test_a_curve_in_characters_is_judged_up_to_its_limit():
  def curve(text, reward, limit):
    given = {"max_len": limit}
    return solved("get_cosine_scaled_reward", text, "1", reward, factory_kwargs=given).outcome

  assert curve("\\boxed{1}", 0.75, 18) == "agree"  # nine characters: half way from 1 to .5
  assert curve("\\boxed{1}", 0.8, 18) == "false_neg"
  assert curve("\\boxed{1}", 0.75, 6) == "policy"  # a periodic cosine: 1.5 half turns


def test_a_gold_answer_without_a_number_is_policy_for_graded_functions():
  assert solved("accuracy_reward", "\\boxed{1}", "forty", 1.0).outcome == "policy"
  assert solved("accuracy_reward", "\\boxed{1}", "forty", None).outcome == "agree"
  assert solved("accuracy_reward", "\\boxed{1}", "1", 1.0).outcome == "agree"
  assert solved("accuracy_reward", "\\boxed{1}", "2", 1.0).outcome == "false_neg"
  assert solved("accuracy_reward", "so 1", "1", 1.0).outcome == "policy"


def test_a_thought_may_end_in_another_spelling():
  text = "<r> a </r> \\boxed{1}"
  ends = {"kwargs": {"reasoning_delimiters": ["</r>"]}}
  assert solved("reasoning_accuracy_reward", text, "1", 1.0, **ends).outcome == "agree"
  assert solved("reasoning_accuracy_reward", text, "1", 0.0, **ends).outcome == "false_pos"
  assert solved("reasoning_accuracy_reward", text, "1", 0.0).outcome == "policy"


def test_words_of_an_unspaced_language_are_characters():
  given = {"ngram_size": 2, "max_penalty": -1.0, "language": "zh"}
  row = {"factory_kwargs": given}
  assert judged("get_repetition_penalty_reward", "所以所以", -0.5, **row).outcome == "policy"
