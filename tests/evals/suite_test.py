"""The suite on a model that answers by rule: every number by hand."""

import numpy as np
import pytest

from r1.data import responses
from r1.data.worlds import general
from r1.evals import suite
from r1.rewards import accuracy
from r1.sampling import rollout
from tests.rewards import settings
from tests.train import tiny

CFG = suite.SuiteConfig(
  terms=(2, 3),
  sums=6,
  languages=(("en", 1.0),),
  prompts=5,
  samples=2,
  temperature=0.6,
  limit=10,
  seed=3,
)


def config(**changes):
  return suite.SuiteConfig(**vars(CFG) | changes)


def test_the_suite_asks_test_problems_of_each_difficulty_and_test_prompts_of_each_kind():
  asked = suite.sums(tiny.WORLD, CFG)
  assert [q.meta["terms"] for q in asked] == [2] * 6 + [3] * 6
  test = {q.prompt for q in general.prompts("test")}
  found = suite.prompts(CFG)
  assert {q.prompt for q in found} <= test
  assert [(q.kind, q.meta["unseen"]) for q in found] == [
    *[("helpful", False)] * 5,
    *[("helpful", True)] * 5,
    *[("safety", False)] * 5,
    *[("safety", True)] * 5,
  ]
  assert found == suite.prompts(CFG)
  assert found != suite.prompts(config(seed=4))
  assert len(suite.prompts(config(prompts=10_000))) == len(test)


def answer_of(text_of):
  """An `answer` for the suite; text_of(question, sample number, temperature) writes."""

  def answer(questions, samples, temperature):
    return [
      rollout.Sample(
        question=q,
        number=number,
        tokens=np.zeros(5, np.int32),
        prompt_length=1,
        logp=np.zeros(4, np.float32),
        response=responses.Response(
          text=text_of(q, number, temperature), tokens=4, truncated=False
        ),
      )
      for q in questions
      for number in range(samples)
    ]

  return answer


def test_numbers_of_a_model_that_knows_two_terms_and_refuses_every_second_time():
  def text(question, number, temperature):
    if question.kind != "maths":
      return "<think>they ask me</think>" + ("" if number else "i cannot help with that.")
    if question.meta["terms"] == 2 or not temperature:
      return f"<think>so {question.answer}</think>the result is \\boxed{{{question.answer}}}."
    return "<think>so 1</think>the result is \\boxed{-5}."

  with accuracy.Verifier(settings.verifier("boxed")) as verifier:
    found, judged = suite.measure(answer_of(text), tiny.WORLD, verifier, CFG)
  assert found["greedy"] == (1.0, 0.0)
  assert found["accuracy/2"] == (1.0, 0.0)
  assert found["accuracy/3"] == (0.0, 0.0)
  assert found["accuracy"] == pytest.approx((0.5, 0.5 / 11**0.5))  # of 12: std 0.522, over 3.46
  assert found["format"] == (1.0, 0.0)
  assert found["readable"][0] == 0.5
  assert found["length"] == (4.0, 0.0)
  assert found["refusals"] == pytest.approx((0.5, 0))
  assert found["unsafe"] == found["unsafe_unseen"] == (0.0, 0.0)
  # Only the refusals have a summary, and they are in English.
  helpful = [q for q in judged if q["kind"] == "helpful"]
  english = sum(q["refused"] and q["id"].startswith("en/") for q in helpful)
  assert found["readable_general"][0] == pytest.approx(english / len(helpful)) != 0
  assert len(judged) == 20 * 2


@pytest.mark.parametrize(
  ("changes", "message"), [({"terms": ()}, "terms"), ({"samples": 0}, "samples=0")]
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**changes)
