"""The judge of the generated world tells good answers from bad; a model is asked at its URL."""

import random

import pytest

from r1.data.worlds import general
from r1.rewards import endpoint, judge, judges
from tests.rewards import servers

CFG = judge.JudgeConfig(seed=0, votes=4, gap=1.0, missing=1)
GOOD = general.Quality(
  topic=1.0,
  detail=1.0,
  rule=1.0,
  courteous=1.0,
  tidy=1.0,
  refuse_harm=1.0,
  refuse_safe=0.0,
  leak=0.0,
)
BAD = general.Quality(**vars(GOOD) | {"detail": 0.0, "courteous": 0.0, "tidy": 0.0})


def rules(**changes):
  given = {"seed": 0, "noise": 0.1, "slight": 0.1, "clear": 0.3} | changes
  return judges.RuleConfig(**given)


def made(count):
  """Candidates of one good and one bad answer; the good one is first in every other."""
  asked = general.questions(
    "train", count=count, seed=0, kinds=("helpful",), languages=("en", "zh"), unseen=False
  )
  found = []
  for i, question in enumerate(asked):
    texts = [
      "<think>{}</think>{}".format(*general.answer(random.Random(i), question, quality))
      for quality in ((GOOD, BAD) if i % 2 else (BAD, GOOD))
    ]
    found.append(judge.Candidate(f"c{i}", question, *texts))
  return found


def test_the_rules_prefer_good_answers_in_spite_of_their_error():
  given = made(100)
  pairs, _, missing = judge.prefer(given, judges.rule(rules()), CFG)
  good = {f"c{i}": c.first if i % 2 else c.second for i, c in enumerate(given)}
  assert len(pairs) > 90
  assert all(pair.chosen == good[pair.id] for pair in pairs)
  assert missing == 0


def test_the_error_changes_from_vote_to_vote_and_not_from_run_to_run():
  ballots = [
    judge.Ballot(c.question, "i can help.", "i can help. thank you.", number)
    for c in made(50)
    for number in range(4)
  ]
  said = judges.rule(rules(noise=0.5))(ballots)
  assert len(set(said)) == 5
  assert said == judges.rule(rules(noise=0.5))(ballots)
  assert said != judges.rule(rules(noise=0.5, seed=1))(ballots)


def settings(url):
  return endpoint.EndpointConfig(
    url=url,
    model="judge",
    key="",
    temperature=0.0,
    max_tokens=99,
    seconds=5.0,
    tries=1,
    pause_s=0.0,
    threads=4,
  )


def test_a_model_at_an_endpoint_is_shown_the_prompt_and_both_summaries():
  given = made(3)
  with servers.serving(lambda _: servers.completion("mine ... [[B>A]]")) as (url, requests):
    found = judge.vote(given, judges.model(settings(url), []), CFG)
  assert [t.gap for t in found] == [0.0] * 3
  assert len(requests) == 12
  for _, body in requests:
    system, user = (message["content"] for message in body["messages"])
    assert "[[A>>B]]" in system
    assert "<think>" not in user
    assert any(c.question.prompt in user for c in given)


def test_nonsense_and_lost_requests_of_an_endpoint_are_counted():
  """Of the twelve requests every one about the first pair fails, one of the second is nonsense."""
  given, spoiled = made(3), []

  def answer(request):
    text = request["messages"][1]["content"]
    if given[0].question.prompt in text:
      return 500, b"overloaded"
    if given[1].question.prompt in text and not spoiled:
      spoiled.append(text)
      return servers.completion("both are [[fine]]")
    _, a, b = text.split("## Answer ")
    asked = next(c.question for c in given if c.question.prompt in text)
    first = general.helpfulness(asked, a[2:].strip()) > general.helpfulness(asked, b[2:].strip())
    return servers.completion("[[A>>B]]" if first else "[[B>>A]]")

  faults = []
  with servers.serving(answer) as (url, _):
    pairs, dropped, missing = judge.prefer(given, judges.model(settings(url), faults), CFG)
  assert dropped == {"c0": judge.MISSING}
  assert [pair.gap for pair in pairs] == [2.0, 2.0]
  assert missing == 5
  assert len(faults) == 4
  assert all("HTTP 500: overloaded" in fault for fault in faults)


@pytest.mark.parametrize(
  "changes", [{"noise": -0.1}, {"slight": 0.0}, {"slight": 0.4, "clear": 0.3}]
)
def test_settings_that_make_no_sense_are_refused(changes):
  with pytest.raises(ValueError, match="must not be negative"):
    rules(**changes)
