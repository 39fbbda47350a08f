"""An evaluation of a policy that is a table: every number of the result is worked by hand."""

import numpy as np
import pytest

from r1.data import questions as records
from r1.data import responses
from r1.evals import held_out
from r1.sampling import rollout

CFG = held_out.EvalConfig(questions=3, wide=2, samples=4, limit=50, seed=0)
QUESTIONS = [
  records.Question(id=str(i), prompt="?", answer=answer) for i, answer in enumerate("123")
]
PLAIN = "first 1 + 1 = 2, so 2"
CHECKED = "first 1 + 1 = 2, check 1 + 1 = 2 yes, so 2"
MIXED = "first 1 + 1 = 3，检查 1 + 1 = 2 等等，so 2"


def said(answer, thought=PLAIN):
  return f"<think>{thought}</think><answer>{answer}</answer>"


def sample(question, number, text):
  return rollout.Sample(
    question=question,
    number=number,
    tokens=np.arange(2 + len(text)),
    prompt_length=2,
    logp=np.zeros(len(text), np.float32),
    response=responses.Response(text=text, tokens=len(text), truncated=False),
  )


TABLE = {  # (questions, samples each, temperature): the texts
  (3, 1, 0.0): [said(1), said(2), said(3)],
  (3, 1, 0.6): [said(1), said(9), said(3)],
  (3, 1, 1.0): [said(1, CHECKED), said(9, MIXED), "so 3."],
  (2, 4, 1.0): [
    *(said(1), said(7), said(1), "1"),  # 2 of 4; the vote is 1
    *(said(5), said(5), said(2), said(9)),  # 1 of 4; the vote is 5
  ],
}


def policy(questions, samples, temperature):
  texts = TABLE[len(questions), samples, temperature]
  return [sample(questions[i // samples], i % samples, text) for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def result(verifier):
  return held_out.evaluate(policy, QUESTIONS, verifier, CFG)


def test_each_temperature_has_its_pass_at_1_and_its_standard_error(result):
  assert result["eval/greedy"] == 1
  assert result["eval/greedy_se"] == 0
  assert result["eval/pass@1_t0.6"] == pytest.approx(2 / 3)
  assert result["eval/pass@1"] == pytest.approx(1 / 3)
  # 1, 0, 0: mean 1/3, sample variance 1/3, over 3 questions.
  assert result["eval/pass@1_se"] == pytest.approx(1 / 3)


def test_with_the_format_ignored_the_last_number_counts(result):
  assert result["eval/pass@1_any_format"] == pytest.approx(2 / 3)


def test_pass_at_k_and_the_majority_are_of_the_wide_questions(result):
  assert result["eval/pass@4"] == 1  # C(2, 4) = C(3, 4) = 0
  assert result["eval/cons@4"] == 0.5
  assert result["eval/cons@4_se"] == pytest.approx(0.5)  # 1, 0: deviation .7071 over root 2


def test_behaviour_is_that_at_temperature_one(result):
  lengths = [len(text) for text in TABLE[3, 1, 1.0]]
  assert result["eval/length"] == pytest.approx(sum(lengths) / 3)
  assert result["eval/format"] == pytest.approx(2 / 3)
  assert result["eval/checked"] == 1  # both thoughts
  assert result["eval/mixed"] == 0.5
  assert result["eval/caught"] == 1  # the slip of MIXED
  assert not [name for name in result if name.startswith(("think/", "response/"))]


def test_a_policy_that_says_nothing_scores_zero_and_has_no_thoughts(verifier):
  empty = lambda questions, samples, temperature: [
    sample(q, n, "") for q in questions for n in range(samples)
  ]
  result = held_out.evaluate(empty, QUESTIONS, verifier, CFG)
  assert result["eval/pass@4"] == result["eval/cons@4"] == result["eval/format"] == 0
  assert "eval/checked" not in result


def test_the_language_of_the_question_decides_what_is_consistent():
  chinese = [records.Question(id="0", prompt="?", answer="2", language="zh")]
  samples = [sample(chinese[0], 0, said(2, "先 1 + 1 = 2，所以 2"))]
  assert held_out.describe(samples, "answer_tag")["eval/consistency"] == 1


@pytest.mark.parametrize("changes", [{"wide": 0}, {"wide": 4}, {"samples": 0}])
def test_more_wide_questions_than_questions_are_refused(changes):
  fields = {"questions": 3, "wide": 2, "samples": 4, "limit": 50, "seed": 0}
  with pytest.raises(ValueError, match="must be within questions=3"):
    held_out.EvalConfig(**fields | changes)
