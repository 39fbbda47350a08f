"""The rewriter behind an endpoint: what it is told, and what of its replies counts."""

import pytest

from r1.rewards import endpoint, rewriter
from tests.rewards import servers

JOB = ("what is 6 - 5 ?", "en", "first 6 - 5 = 1, so 1")
GOOD = "<think>I am asked for 6 - 5. First 6 - 5 = 1.</think>It is $6 - 5 = \\boxed{1}$."


def settings(url):
  return endpoint.EndpointConfig(
    url=url,
    model="m",
    key="",
    temperature=0.0,
    max_tokens=64,
    seconds=5.0,
    tries=1,
    pause_s=0.0,
    threads=2,
  )


def test_the_rewriter_is_told_question_notes_and_language():
  system, user = rewriter.messages(("a {b} ?", "zh", "c {d}"))
  assert "(zh)" in system["content"]
  assert "\\boxed{}" in system["content"]
  assert "a {b} ?" in user["content"]
  assert "c {d}" in user["content"]


@pytest.mark.parametrize(
  "reply", [GOOD, f"  {GOOD}\n", f"```\n{GOOD}\n```", f"```text\n{GOOD}\n```"]
)
def test_a_reply_of_the_form_is_taken(reply):
  assert rewriter.read(reply) == GOOD


@pytest.mark.parametrize(
  "reply",
  ["", "It is \\boxed{1}.", "Sure! " + GOOD, "<think>a</think>", "<think>a", GOOD + GOOD],
)
def test_a_reply_of_another_form_is_none(reply):
  assert rewriter.read(reply) is None


def test_replies_come_in_order_and_faults_are_counted():
  def answer(request):
    asked = request["messages"][1]["content"]
    if "broken" in asked:
      return 500, b"no"
    return servers.completion("hm" if "odd" in asked else GOOD)

  faults = []
  with servers.serving(answer) as (url, requests):
    jobs = [JOB, ("broken", "en", "x"), ("odd", "en", "x"), JOB]
    found = rewriter.rewrite(jobs, settings(url), faults)
  assert found == [GOOD, None, None, GOOD]
  assert len(requests) == 4
  assert len(faults) == 2
  assert "HTTP 500" in faults[0]
  assert "not of the form" in faults[1]
