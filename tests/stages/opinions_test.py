"""From answers to pairs and labels: every candidate is a pair or has its reason."""

import dataclasses
import math
import types

import pytest

from r1.data import preferences, responses
from r1.data.worlds import general
from r1.rewards import judge, judges
from r1.stages import opinions
from tests.stages import people

CFG = opinions.OpinionConfig(
  file="",
  share=0.2,
  languages=("en", "zh"),
  helpful=60,
  harmful=20,
  unseen=10,
  answers=4,
  harmful_answers=3,
  people=0,
  pairs=4,
  balance=0.05,
)
JUDGING = judge.JudgeConfig(seed=0, votes=4, gap=1.0, missing=0)
LETTERS = types.SimpleNamespace(encode=list)  # a tokenizer of letters
RULE = judges.rule(judges.RuleConfig(seed=0, noise=0.1, slight=0.1, clear=0.3))


def gather(cfg=CFG, say=RULE, answer=people.answer):
  return opinions.gather(cfg, JUDGING, say, answer, LETTERS)


@pytest.fixture(scope="module")
def found():
  return gather()


def test_every_candidate_is_kept_or_dropped_for_a_reason(found):
  assert len(found.pairs) + len(found.dropped) == 70 * 4
  assert not {pair.id for pair in found.pairs} & found.dropped.keys()
  assert found.counts["pairs"]["kept"] == len(found.pairs) > 60
  assert sum(found.counts["pairs"]["dropped"].values()) == len(found.dropped)
  assert set(found.dropped.values()) <= {
    judge.SAME,
    judge.UNCLEAR,
    judge.MISSING,
    opinions.LENGTHS,
  }
  assert found.counts["labels"] == {"kept": 30 * 3, "dropped": {}}


def test_chosen_answers_are_the_more_helpful_ones(found):
  asked = {q.prompt: q for q in general.prompts("train")}
  helpfulness = lambda pair, text: general.helpfulness(asked[pair.prompt], text)
  better = [helpfulness(p, p.chosen) > helpfulness(p, p.rejected) for p in found.pairs]
  assert sum(better) / len(better) > 0.97
  assert all(1.0 < pair.gap <= 2.0 for pair in found.pairs)


def test_lengths_are_comparable_over_the_set_and_were_not_before(found):
  def tilt(pairs):
    sizes = [(len(responses.summary(p.chosen)), len(responses.summary(p.rejected))) for p in pairs]
    return 2 * sum(a - b for a, b in sizes) / sum(a + b for a, b in sizes)

  assert abs(tilt(found.pairs)) <= CFG.balance
  every = gather(dataclasses.replace(CFG, balance=2.0))
  assert tilt(every.pairs) > CFG.balance
  tilted = {name for name, reason in found.dropped.items() if reason == opinions.LENGTHS}
  assert {pair.id for pair in every.pairs} - {pair.id for pair in found.pairs} == tilted


def test_labels_are_those_of_the_rules_thoughts_included(found):
  asked = {q.prompt: q for q in general.prompts("train")}
  for record in found.labels:
    unsafe = general.unsafe(asked[record.prompt], record.response)
    assert record.label == (preferences.UNSAFE if unsafe else preferences.SAFE)
  leaks = [r for r in found.labels if r.label == "unsafe" and general.refuses(r.response)]
  assert leaks, "a refusal whose thought tells how"


def test_the_unseen_rules_and_harms_are_marked_and_never_learned(found):
  asked = {q.prompt: q for q in general.prompts("train")}
  for records in (found.pairs, found.labels):
    assert {r.unseen for r in records} == {False, True}
    assert all(r.unseen == asked[r.prompt].meta["unseen"] for r in records)
    train, held = preferences.hold_out(records, CFG.share)
    assert not any(r.unseen for r in train)
    assert sum(r.unseen for r in held) == sum(r.unseen for r in records)


def test_the_same_seed_gives_the_same_digests(found):
  assert gather().digests == found.digests
  other = opinions.gather(CFG, dataclasses.replace(JUDGING, seed=1), RULE, people.answer, LETTERS)
  assert other.digests["pairs"] != found.digests["pairs"]


def test_a_judge_that_prefers_a_slot_ends_with_the_table_of_reasons():
  with pytest.raises(ValueError, match=r"no pair is left of 280\n +\d+ no clear preference"):
    gather(say=lambda ballots: ["[[A>>B]]"] * len(ballots))


def test_a_judge_that_never_answers_ends_with_the_table_of_reasons():
  with pytest.raises(ValueError, match=r"no pair is left of 280(.|\n)* votes missing"):
    gather(say=lambda ballots: [None] * len(ballots))


def test_answers_that_are_all_safe_are_refused():
  def safe(kind, asked, samples):
    return [people.written(q, 2 * n) for q in asked for n in range(samples)]

  def answer(kind, asked, samples):
    return (safe if kind == "safety" else people.answer)(kind, asked, samples)

  with pytest.raises(ValueError, match="90 answers are safe and 0 unsafe; a safety model needs"):
    gather(answer=answer)


def test_both_classes_must_be_left_when_some_prompts_are_held_out(found):
  """Forty safe answers and an unsafe one, which nothing is learned from: one class is left."""
  label = lambda i, said: preferences.Labelled(
    id=f"{i}", prompt=f"q{i}", response="r", label=said, unseen=False
  )
  train, held = preferences.hold_out([label(i, "safe") for i in range(40)], 0.2)
  for chosen, left in ((held[0], len(train)), (train[0], None)):
    other = dataclasses.replace(chosen, label="unsafe")
    given = [r for r in (*train, *held) if r is not chosen] + [other]
    made = dataclasses.replace(found, labels=given)
    if left is None:
      opinions.check(made, "own.jsonl", 0.2)
      continue
    told = f"own.jsonl, but for what is held out: {left} answers are safe and 0 unsafe"
    with pytest.raises(ValueError, match=told):
      opinions.check(made, "own.jsonl", 0.2)


def test_people_stand_behind_each_prompt_s_own_answers():
  asked = general.questions(
    "train", count=5, seed=0, kinds=("helpful",), languages=("en",), unseen=False
  )
  both = opinions.beside(people.answer, people.BAD, 2, 7)
  found, own = both("helpful", asked, 3), people.answer("helpful", asked, 3)
  assert [(a.question.id, a.number) for a in found] == [(q.id, n) for q in asked for n in range(5)]
  assert [a for i, a in enumerate(found) if i % 5 < 3] == own
  assert found == both("helpful", asked, 3)
  assert opinions.beside(people.answer, people.BAD, 0, 7)("helpful", asked, 3) == own


def test_a_file_takes_the_place_of_the_world(tmp_path, found):
  path = tmp_path / "all.jsonl"
  preferences.write(path, [*found.pairs, *found.labels])
  read = gather(dataclasses.replace(CFG, file=str(path)), answer=None)
  assert read == opinions.Opinions(pairs=found.pairs, labels=found.labels, dropped={}, missing=0)
  preferences.write(path, found.pairs)
  with pytest.raises(ValueError, match=r"all\.jsonl: 0 answers are safe and 0 unsafe"):
    gather(dataclasses.replace(CFG, file=str(path)), answer=None)


def test_what_was_written_whole_is_read_back(tmp_path, found):
  opinions.write(tmp_path, found)
  assert opinions.read(tmp_path) == found
  (tmp_path / opinions.DROPPED).unlink()  # as a run that was killed leaves it
  assert opinions.read(tmp_path) is None


@pytest.mark.parametrize(
  "changes",
  [{"share": 1.0}, {"balance": -0.1}, {"answers": 1}, {"pairs": 0}, {"people": -1}],
)
def test_settings_that_make_no_sense_are_refused(changes):
  ((name, _),) = changes.items()
  with pytest.raises(ValueError, match=f"{name}="):
    dataclasses.replace(CFG, **changes)


def test_a_balance_of_everything_is_allowed():
  assert dataclasses.replace(CFG, balance=math.inf).balance == math.inf
