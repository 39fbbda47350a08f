"""Four votes in both orders: clear preferences are kept, slots and nonsense decide nothing."""

import itertools

import pytest

from r1.data import questions
from r1.rewards import judge

CFG = judge.JudgeConfig(seed=3, votes=4, gap=1.0, missing=0)
QUESTION = questions.Question(id="q", prompt="?", kind="helpful", meta={"unseen": False})


def candidates(count, first="<think>t</think>good", second="<think>t</think>bad"):
  return [judge.Candidate(f"c{i}", QUESTION, first, second) for i in range(count)]


def config(**changes):
  return judge.JudgeConfig(**{"seed": 3, "votes": 4, "gap": 1.0, "missing": 0} | changes)


def honest(ballots):
  return ["[[A>>B]]" if b.a == "good" else "[[B>>A]]" for b in ballots]


def test_an_honest_judge_is_heard_whichever_answer_comes_first():
  given = candidates(5) + candidates(5, "<think>t</think>bad", "<think>t</think>good")
  given = [judge.Candidate(f"c{i}", c.question, c.first, c.second) for i, c in enumerate(given)]
  pairs, dropped, missing = judge.prefer(given, honest, CFG)
  assert [p.id for p in pairs] == [f"c{i}" for i in range(10)]
  assert {p.chosen for p in pairs} == {"<think>t</think>good"}
  assert {p.rejected for p in pairs} == {"<think>t</think>bad"}
  assert {p.gap for p in pairs} == {2.0}
  assert (dropped, missing) == ({}, 0)


@pytest.mark.parametrize("said", ["[[A>>B]]", "[[A>B]]", "[[B>>A]]", "[[A=B]]"])
def test_a_judge_that_prefers_a_slot_yields_zero_and_keeps_no_pair(said):
  always = lambda ballots: [said] * len(ballots)
  assert {found.gap for found in judge.vote(candidates(20), always, CFG)} == {0.0}
  pairs, dropped, _ = judge.prefer(candidates(20), always, CFG)
  assert pairs == []
  assert set(dropped.values()) == {judge.UNCLEAR}


def test_a_judge_that_prefers_a_slot_yields_zero_whichever_vote_is_missing():
  for lost in range(4):
    said = lambda ballots, lost=lost: [None if b.number == lost else "[[A>>B]]" for b in ballots]
    assert {x.gap for x in judge.vote(candidates(20), said, config(missing=1))} == {0.0}


def test_each_order_is_shown_half_of_the_time_and_depends_on_seed_and_pair_alone():
  every = [tuple(judge.orders(f"c{i}", CFG)) for i in range(200)]
  assert all(sum(turned) == 2 for turned in every)
  assert len(set(every)) == 6  # of four votes, every way to turn two
  assert every == [tuple(judge.orders(f"c{i}", CFG)) for i in range(200)]
  assert every != [tuple(judge.orders(f"c{i}", config(seed=4))) for i in range(200)]


def test_the_mean_by_hand():
  # Shown first: 2 and 1, mean 1.5; shown second: -2 and 0 (for what is shown first), mean -1.
  # (1.5 + 1) / 2 = 1.25. Without the 0 the second mean is -2, and the gap 1.75.
  turned = [False, True, False, True]
  assert judge.tally([2, -2, 1, 0], turned, CFG) == judge.Tally(1.25, 0)
  assert judge.tally([2, -2, 1, None], turned, CFG) == judge.Tally(None, 1)
  assert judge.tally([2, -2, 1, None], turned, config(missing=1)) == judge.Tally(1.75, 1)
  assert judge.tally([-2, 2, -1, 0], turned, CFG).gap == -1.25


def test_a_gap_of_exactly_one_is_not_enough():
  slightly = lambda ballots: ["[[A>B]]" if b.a == "good" else "[[B>A]]" for b in ballots]
  assert judge.prefer(candidates(3), slightly, CFG)[0] == []
  # One vote of four says "much": (1.5 + 1) / 2 = 1.25.
  once = lambda ballots: [
    x.replace(">", ">>") if b.number == 0 else x for x, b in zip(slightly(ballots), ballots)
  ]
  assert {p.gap for p in judge.prefer(candidates(3), once, CFG)[0]} == {1.25}


@pytest.mark.parametrize(
  "text",
  [None, "", "A>>B", "[[C]]", "[[A<B]]", "[[A>>B]] or rather [[B>A]]", "[[]]", "[[A>>>B]]"],
)
def test_nonsense_is_no_verdict(text):
  assert judge.read(text) is None


@pytest.mark.parametrize(("said", "value"), judge.VERDICTS.items())
def test_the_five_verdicts_are_read_at_the_end_of_a_text(said, value):
  assert judge.read(f"My answer: yes.\nA is ... [[{said}]]") == value


def test_a_verdict_said_twice_is_one_whatever_the_spaces_in_its_brackets():
  assert judge.read("[[ A>B ]]") == 1
  assert judge.read("[[A>B]], I mean [[ A>B ]]") == 1
  assert judge.read("[[ A>B ]], I mean [[ B>A ]]") is None


def test_lost_votes_are_counted_and_their_pairs_dropped():
  lost = lambda ballots: [None if i in (1, 6, 7) else "[[A>>B]]" for i in range(len(ballots))]
  pairs, dropped, missing = judge.prefer(candidates(3), lost, CFG)
  assert pairs == []
  assert missing == 3
  assert dropped == {"c0": judge.MISSING, "c1": judge.MISSING, "c2": judge.UNCLEAR}


def test_a_judge_sees_summaries_and_equal_ones_are_not_asked_about():
  seen = []

  def say(ballots):
    seen.extend(itertools.chain.from_iterable((b.a, b.b) for b in ballots))
    return honest(ballots)

  same = judge.Candidate("same", QUESTION, "<think>a</think> good", "<think>b</think>good ")
  given = [*candidates(1), same]
  _, dropped, _ = judge.prefer(given, say, CFG)
  assert set(seen) == {"good", "bad"}
  assert len(seen) == 8
  assert dropped == {"same": judge.SAME}


def test_a_judge_that_leaves_ballots_out_is_an_error():
  with pytest.raises(ValueError, match="the judge answered 3 of 4 ballots"):
    judge.vote(candidates(1), lambda ballots: ["[[A=B]]"] * 3, CFG)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"votes": 3}, "votes=3: wanted an even number"),
    ({"missing": 2}, "missing=2 of 4 votes: wanted 0 to 1"),
    ({"gap": 2.0}, "gap=2.0: wanted 0 or more, and less than 2"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**changes)
