"""A judge that compares an answer with a reference: its replies, and what is no verdict."""

import json

import pytest

from r1.data import questions, responses
from r1.rewards import reference
from tests.rewards import servers
from tests.rewards.rewriter_test import settings

ASKED = questions.Question(
  id="a", prompt="why is it blue ?", answer="light scatters", kind="helpful"
)


def answered(text, truncated=False):
  return responses.Response(text=text, tokens=3, truncated=truncated)


def test_the_judge_sees_question_reference_and_summary_and_not_the_thought():
  _, user = reference.messages(ASKED, answered("<think>secret</think> it scatters"))
  assert "why is it blue ?" in user["content"]
  assert "light scatters" in user["content"]
  assert "it scatters" in user["content"]
  assert "secret" not in user["content"]


def test_a_thought_that_never_closes_is_not_shown_to_the_judge():
  _, user = reference.messages(ASKED, answered("<think>secret"))
  assert user["content"].endswith("<answer>\n\n</answer>")


@pytest.mark.parametrize(
  ("reply", "wanted"),
  [
    ('{"analysis": "same", "correctness": "correct"}', "right"),
    ('```json\n{"analysis": "no", "correctness": "Incorrect"}\n```', "wrong"),
    ('{"correctness": "correct"}', "right"),
    ('{"correctness": "partly"}', "no_verdict"),
    ('{"correctness": true}', "no_verdict"),
    ('{"analysis": "correct"}', "no_verdict"),
    ("correct", "no_verdict"),
    ('["correct"]', "no_verdict"),
    ('{"correctness": "correct"', "no_verdict"),
    ("", "no_verdict"),
  ],
)
def test_nothing_is_guessed(reply, wanted):
  assert reference.read(reply).verdict == wanted


def test_answers_are_judged_in_order_and_what_failed_has_no_verdict():
  def answer(request):
    asked = request["messages"][1]["content"]
    if "broken" in asked:
      return 503, b"busy"
    said = "correct" if "good" in asked else "incorrect"
    return servers.completion(json.dumps({"analysis": "", "correctness": said}))

  bare = questions.Question(id="b", prompt="p", kind="helpful")
  texts = ["<think>a</think>bad", "<think>a</think>good", "broken", "good"]
  with servers.serving(answer) as (url, requests):
    found = reference.grade(
      [ASKED, ASKED, ASKED, bare, ASKED],
      [*map(answered, texts), answered("good", truncated=True)],
      settings(url),
      faults := [],
    )
  assert [s.verdict for s in found] == ["wrong", "right", "no_verdict", "no_verdict", "wrong"]
  assert len(requests) == 3, "neither the cut answer nor the one without a reference is shown"
  assert [fault.removeprefix(url) for fault in faults] == [": HTTP 503: busy"]


def test_a_reply_without_a_verdict_is_told():
  with servers.serving(lambda _: servers.completion("I would say correct")) as (url, _):
    found = reference.grade([ASKED], [answered("good")], settings(url), faults := [])
  assert [s.verdict for s in found] == ["no_verdict"]
  assert faults == ["no verdict in 'I would say correct'"]


def test_a_judge_that_replies_to_nothing_is_an_error_and_no_verdict():
  with servers.serving(lambda _: (500, b"out of memory")) as (url, _):
    told = "replied to none of 2 questions: .*HTTP 500: out of memory"
    with pytest.raises(RuntimeError, match=told):
      reference.grade([ASKED] * 2, [answered("good")] * 2, settings(url), [])
    cut = reference.grade([ASKED], [answered("good", truncated=True)], settings(url), [])
  assert [s.verdict for s in cut] == ["wrong"], "where nothing is asked, nothing is missing"
