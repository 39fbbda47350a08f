"""Groups are graded when whole; the others are held, all of them, until they are."""

import itertools

import numpy as np

from r1.data import questions as records
from r1.rewards import combine
from r1.sampling import requests, rollout
from r1.train import play
from tests.train import tiny

QUESTIONS = [records.Question(id=f"q{i}", prompt=f"{i} + 1 ?", answer="1") for i in range(4)]
GROUP, LIMIT = 2, 12


def length(request) -> int:
  """Of the whole answer: 1 to 14 tokens, cut at 12. A question is asked again while it is open."""
  return 1 + (request.index + request.sample + 5 * request.rollout) % 14


def generate(asked):
  """Token t of an answer is 40 + t and has log-probability -t; the last to begin stop first."""
  eos = tiny.tokenizer().eos[0]
  for r in reversed(asked):
    whole = [*range(40, 40 + length(r) - 1), eos]
    stop = min(r.limit, len(whole))
    tokens = [*r.drawn, *whole[len(r.drawn) : stop]]
    logp = np.array([*r.logp, *-np.arange(len(r.drawn), stop, dtype=float)], np.float32)
    yield requests.Finished(r, np.array(tokens), logp, truncated=tokens[-1] != eos)


def grade(asked, answered):
  count = len(asked)
  return combine.Rewards(
    total=[float(a.tokens) for a in answered],
    parts={},
    verdicts=["right"] * count,
    valid=[True] * count,
    errors=[],
  )


def rollouts(tokens, count=6):
  """What was played in each of `count` rollouts of two questions; nobody waits after the last."""
  given, held, found = (QUESTIONS, tiny.tokenizer(), "short"), [], []
  for number in range(count):
    chosen = [2 * number % 4, (2 * number + 1) % 4]
    asked = held + rollout.requests(chosen, *given, group=GROUP, rollout=number, limit=LIMIT)
    most = tokens if number + 1 < count else 0
    made = play.play(asked, *given, group=GROUP, tokens=most, generate=generate, grade=grade)
    held = made.held
    found.append(made)
  return found


def test_without_a_budget_every_group_is_graded_in_the_order_asked():
  for number, made in enumerate(rollouts(0)):
    assert made.held == []
    assert [(s.question.id, s.number) for s in made.samples] == [
      (f"q{(2 * number + i) % 4}", n) for i, n in itertools.product(range(2), range(GROUP))
    ]
    assert made.rewards.total == [s.length for s in made.samples]
    assert made.drawn == sum(s.length for s in made.samples)
    assert made.seconds.keys() == {"time/sample_s", "time/reward_s"}


def test_every_group_is_learned_from_once_however_long_its_answers_are():
  """Groups dropped for their age would leave the short and easy ones (tinker-cookbook #822)."""
  plain, made = ([s for p in rollouts(tokens) for s in p.samples] for tokens in (0, 3))
  name = lambda s: (s.rollout, s.question.id, s.number)
  assert sorted(map(name, made)) == sorted(map(name, plain))
  by_name = {name(s): s for s in plain}
  for s in made:
    np.testing.assert_array_equal(s.tokens, by_name[name(s)].tokens)
    np.testing.assert_array_equal(s.logp, by_name[name(s)].logp)
    assert s.response == by_name[name(s)].response
  assert {s.response.truncated for s in made} == {True, False}


def test_a_group_comes_whole_in_the_rollout_in_which_its_last_answer_ends():
  """At 3 tokens a rollout one of 1 to 3 ends where it began, one of 4 a rollout later (prime-rl
  #1901 was off by one)."""
  seen = set()
  for number, made in enumerate(rollouts(3)[:-1]):
    groups = [made.samples[i : i + GROUP] for i in range(0, len(made.samples), GROUP)]
    for group in groups:
      assert len({s.question.id for s in group}) == len({s.rollout for s in group}) == 1
      age = number - group[0].rollout
      assert age == max((s.length - 1) // 3 for s in group)
      assert [s.carried for s in group] == [min(s.length, 3 * age) for s in group]
      seen.add(age)
    order = [s.rollout for s in made.samples]
    assert order == sorted(order), "those that began first stand first"
  assert seen == {0, 1, 2, 3}


def test_tokens_count_in_the_rollout_that_drew_them():
  found = rollouts(3)
  drawn = [made.drawn for made in found]
  assert sum(drawn) == sum(s.length for made in found for s in made.samples)
  first = [len(r.drawn) for r in found[0].held] + [s.length for s in found[0].samples]
  assert drawn[0] == sum(first) <= 3 * 2 * GROUP
