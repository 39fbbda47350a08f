"""Checking is read from equations; every count below is worked by hand."""

import dataclasses
import itertools
import time

import pytest

from r1.data.worlds import arithmetic
from r1.evals import behaviour
from r1.rewards import form

PLAIN = "first 3 + 9 = 12, then 12 - 4 = 8, so 8"
CHECKED = "first 3 + 9 = 12, check 3 + 9 = 12 yes, then 12 - 4 = 8, check 12 - 4 = 8 yes, so 8"
CAUGHT = "first 3 + 9 = 13, check 3 + 9 = 12 wait, then 12 - 4 = 8, so 8"


def counts(**wanted):
  names = (field.name for field in dataclasses.fields(behaviour.Audit))
  return behaviour.Audit(**dict.fromkeys(names, 0) | wanted)


@pytest.mark.parametrize(
  ("thought", "wanted"),
  [
    ("", counts()),
    ("so 8", counts()),
    ("check check wait wait check", counts()),  # keywords without equations are nothing
    ("check 3 + 9 = 12 yes, so 12", counts()),  # a check of no step
    (PLAIN, counts(steps=2)),
    (CHECKED, counts(steps=2, checked=2, checks=2)),
    (
      CAUGHT,
      counts(steps=2, wrong=1, checked=1, wrong_checked=1, caught=1, announced=1, checks=1),
    ),
    (  # the slip is carried on although the check saw it
      "first 3 + 9 = 13, check 3 + 9 = 12 wait, then 13 - 4 = 9, so 9",
      counts(steps=2, wrong=1, checked=1, wrong_checked=1, checks=1),
    ),
    (  # repaired without a word
      "first 3 + 9 = 13, check 3 + 9 = 12 yes, then 12 - 4 = 8, so 8",
      counts(steps=2, wrong=1, checked=1, wrong_checked=1, caught=1, checks=1),
    ),
    (  # the last step's value is carried into the conclusion
      "first 3 + 9 = 2, check 3 + 9 = 12 wait, so 12",
      counts(steps=1, wrong=1, checked=1, wrong_checked=1, caught=1, announced=1, checks=1),
    ),
    (  # cut before anything was carried on
      "first 3 + 9 = 2, check 3 + 9 = 12 wait",
      counts(steps=1, wrong=1, checked=1, wrong_checked=1, checks=1),
    ),
    (  # wrong and unchecked
      "first 3 + 9 = 2, then 12 - 4 = 8, so 8",
      counts(steps=2, wrong=1),
    ),
    (  # a false alarm; that a second check calms down changes nothing
      "first 3 + 9 = 12, check 3 + 9 = 12 wait, check 3 + 9 = 12 yes, so 12",
      counts(steps=1, checked=1, false_alarms=1, checks=2),
    ),
    (  # the first check passes, so the second is no false alarm
      "first 3 + 9 = 12, check 3 + 9 = 12 yes, check 3 + 9 = 12 wait, so 12",
      counts(steps=1, checked=1, checks=2),
    ),
    (  # a repeat without the word is part of its step, and no check
      "first 3 + 9 = 12, 3 + 9 = 12, so 12",
      counts(steps=1),
    ),
    (  # a check of another equation checks nothing
      "first 3 + 9 = 12, check 9 + 3 = 12 yes, so 12",
      counts(steps=1),
    ),
    (  # the wrong value goes below zero
      "first 3 - 2 = -1, check 3 - 2 = 1 wait, then 1 + 4 = 5, so 5",
      counts(steps=2, wrong=1, checked=1, wrong_checked=1, caught=1, announced=1, checks=1),
    ),
  ],
)
def test_counts_of_one_thought(thought, wanted):
  assert behaviour.audit(thought) == wanted


def test_chinese_and_mixed_thoughts_count_the_same():
  chinese = "先 3 + 9 = 13，检查 3 + 9 = 12 等等，然后 12 - 4 = 8，所以 8"
  mixed = "first 3 + 9 = 13，检查 3 + 9 = 12 wait, 然后 12 - 4 = 8，so 8"
  assert behaviour.audit(chinese) == behaviour.audit(mixed) == behaviour.audit(CAUGHT)


@pytest.mark.parametrize("text", ["3.5 + 1 = 4.5", "1 2 + 3 = 15", "3 + 4", "3 + 4 = 5 = 6", "="])
def test_what_is_no_equation_of_two_whole_numbers_is_no_step(text):
  assert behaviour.audit(text).steps == 0


def test_the_paper_s_words_are_counted_as_whole_words():
  # Wait, check, but, wrong, 等等, 检查: not "checked", "awaits", "buttons".
  text = "Wait, check: but WRONG; checked awaits buttons 等等 检查"
  assert behaviour.reflections(text) == 6


def tagged(thought):
  return f"<think>{thought}</think><answer>8</answer>"


def summary(*texts):
  """Of answers to English questions."""
  return behaviour.summary(texts, ["en"] * len(texts))


def test_a_summary_holds_the_shares_of_a_set_of_responses():
  slip = "first 3 + 9 = 13, then 13 - 4 = 9, so 9"
  alarm = "first 3 + 9 = 12, check 3 + 9 = 12 wait，所以 8"
  texts = [tagged(PLAIN), tagged(CHECKED), tagged(CAUGHT), tagged(slip), tagged(alarm), "so 8"]
  assert summary(*texts) == pytest.approx(
    {
      "think/checked": 3 / 5,  # thoughts, and "so 8" is none
      "think/caught": 1 / 2,  # CAUGHT of CAUGHT and slip
      "think/announced": 1 / 1,
      "think/false_alarm": 1 / 3,  # right and checked: two steps of CHECKED, one of alarm
      "think/mixed": 1 / 5,
      # alarm has first, check, wait against 所, 以: 3/5; the others are English
      "think/consistency": (4 + 3 / 5) / 5,
      # check: 2 in CHECKED; check and wait: CAUGHT, alarm
      "response/reflection": (2 + 2 + 2) / 6,
    }
  )


def test_shares_of_nothing_are_left_out():
  assert summary() == {}
  assert summary("so 8") == {"response/reflection": 0}
  assert "think/caught" not in summary(tagged(PLAIN))


def test_consistency_follows_the_language_asked_in():
  chinese, english = tagged("先 3 + 9 = 12，所以 12"), tagged(PLAIN)
  assert behaviour.summary([chinese], ["zh"])["think/consistency"] == 1
  assert behaviour.summary([chinese], ["en"])["think/consistency"] == 0
  # Each by its own question: 0, 1, 1.
  mixed = behaviour.summary([chinese, chinese, english], ["en", "zh", "en"])
  assert mixed["think/consistency"] == pytest.approx(2 / 3)
  # A language that nobody knows the script of is left out, not counted as inconsistent.
  assert behaviour.summary([chinese, english], ["tlh", "en"])["think/consistency"] == 1
  assert "think/consistency" not in behaviour.summary([chinese], ["tlh"])


def world(*shares):
  """Chains of five numbers; the behaviour is (direct, plain, checked) in every language."""
  return arithmetic.World(
    terms=((5, 1.0),),
    operands=(2, 9),
    test_share=0.1,
    languages=(0.25, 0.25, 0.25, 0.25),
    switching_english=0.5,
    behaviour_en=shares,
    behaviour_zh=shares,
    behaviour_switching=shares,
    slip=0.3,
    slip_switching=0.3,
    direct_ok=0.3,
    malformed=0.0,
    worked=0.0,
  )


def totals(*shares):
  """Sums of the audits of 100 documents of the embedded world."""
  written = itertools.islice(arithmetic.documents(world(*shares), seed=0), 100)
  audits = [
    dataclasses.asdict(behaviour.audit(form.thought(document.response))) for document in written
  ]
  return {name: sum(audit[name] for audit in audits) for name in audits[0]}


def test_documents_of_the_embedded_world_are_read_as_they_were_meant():
  """Five numbers make four steps; a check of the generator is right, and its value is kept."""
  assert set(totals(1, 0, 0).values()) == {0}
  plain, checked = totals(0, 1, 0), totals(0, 0, 1)
  assert plain == dict.fromkeys(plain, 0) | {"steps": 400, "wrong": plain["wrong"]}
  slips = checked["wrong"]
  assert 80 < slips < 160  # 400 * .3, four standard deviations are 37
  caught = dict.fromkeys(("wrong", "wrong_checked", "caught", "announced"), slips)
  assert checked == caught | {"steps": 400, "checked": 400, "checks": 400, "false_alarms": 0}


@pytest.mark.parametrize("piece", ["1+1=", "check ", "-", " ", "1", "wait,", "= 1 ", "so ", "\0"])
def test_a_hostile_megabyte_is_audited_in_linear_time(piece):
  start = time.perf_counter()
  summary("<think>" + piece * (1_000_000 // len(piece)))
  assert time.perf_counter() - start < 5
