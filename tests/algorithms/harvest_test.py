"""Rejection sampling: each reason by an answer that has it, and counts that add up."""

import dataclasses
import random

import pytest

from r1.algorithms import harvest
from r1.data import overlap, questions, responses

CFG = harvest.FilterConfig(
  mode="boxed", consistency=0.9, paragraph=20, repetition=0.5, ngram=3, most=2, overlap=10
)
NOBODY = overlap.index([], 10)
EN = questions.Question(id="a", prompt="what is 3 + 4 ?", answer="7")
ZH = dataclasses.replace(EN, id="b", prompt="3 + 4 是多少？", language="zh")
GOOD = "<think>first 3 + 4 = 7, so 7</think>the answer is \\boxed{7}"


def fault(text, verdict="right", asked=EN, truncated=False, readable=lambda q, r: True, **changes):
  response = responses.Response(text=text, tokens=9, truncated=truncated)
  return harvest.fault(asked, response, verdict, dataclasses.replace(CFG, **changes), readable)


def sift(rows, evaluated=NOBODY, **changes):
  """rows: (question, text, fault) each."""
  cfg = dataclasses.replace(CFG, **changes)
  asked, texts, faults = ([row[i] for row in rows] for i in range(3))
  return harvest.sift(asked, texts, faults, cfg, evaluated)


def test_a_good_answer_has_no_fault_in_either_language():
  assert fault(GOOD) is None
  assert fault("<think>先 3 + 4 = 7，所以 7</think>答案是 \\boxed{7}", asked=ZH) is None


THOUGHT = "<think>{}</think>the answer is \\boxed{{7}}"


@pytest.mark.parametrize(
  ("reason", "text", "verdict"),
  [
    ("no_verdict", GOOD, "no_verdict"),
    ("wrong", GOOD, "wrong"),
    ("wrong", GOOD, "timeout"),
    ("unparsed", "so \\boxed{7}", "right"),
    ("unparsed", "<think>so 7</think>", "right"),
    ("unparsed", "<think>so 7</think> it is 7", "unparsed"),
    ("mixed", THOUGHT.format("first 3 + 4 = 7, 所以 7"), "right"),
    ("foreign", THOUGHT.format("先 3 + 4 = 7，所以 7"), "right"),
    ("paragraph", THOUGHT.format("step " + " and so on".join(map(str, range(9)))), "right"),
    ("code", THOUGHT.format("I run\n```python\nprint(3 + 4)\n```\nso seven"), "right"),
    ("repetition", THOUGHT.format("again and " * 9), "right"),
  ],
)
def test_each_reason_by_an_answer_that_has_it(reason, text, verdict):
  assert fault(text, verdict) == reason


def test_a_cut_answer_is_dropped_even_where_it_says_the_right_number():
  assert fault(GOOD, truncated=True) == "truncated"


def test_the_mode_decides_what_a_well_formed_answer_is():
  tagged = "<think>so 7</think><answer>7</answer>"
  assert fault(tagged, mode="answer_tag") is None
  assert fault(GOOD, mode="answer_tag") == "unparsed"


def test_an_english_thought_on_a_chinese_question_is_foreign():
  assert fault(GOOD, asked=ZH) == "foreign"


def test_a_thought_without_words_is_in_no_foreign_language():
  assert fault(THOUGHT.format("3 + 4 = 7")) is None


def test_a_long_thought_in_short_paragraphs_stays():
  short = " ".join(f"word{i}" for i in range(20))  # 20 words are allowed
  assert fault(THOUGHT.format(short + "\n\n" + short.replace("word", "term"))) is None
  assert fault(THOUGHT.format(short + " more")) == "paragraph"


def test_who_reads_the_summary_is_asked_last():
  asked = []

  def readable(question, response):
    asked.append(response.text)
    return False

  assert fault(GOOD, readable=readable) == "unreadable"
  assert fault(GOOD, "wrong", readable=readable) == "wrong"
  assert asked == [GOOD]


# Between answers ---------------------------------------------------------------------------------


def test_copies_go_and_several_right_answers_to_a_question_stay():
  other, third = GOOD.replace("first", "now"), GOOD.replace("first", "well")
  found = sift([(EN, GOOD, None), (EN, GOOD + " ", None), (EN, other, None), (EN, third, None)])
  assert found.kept == [0, 2]
  assert found.dropped == {"duplicate": 1, "surplus": 1}


def test_the_same_words_to_another_question_are_no_copy():
  other = dataclasses.replace(EN, id="c", prompt="what is 4 + 3 ?")
  assert sift([(EN, GOOD, None), (other, GOOD, None)]).kept == [0, 1]


def test_a_faulty_answer_takes_no_place_of_a_good_one():
  found = sift([(EN, GOOD, "wrong"), (EN, GOOD, None)], most=1)
  assert (found.kept, found.dropped) == ([1], {"wrong": 1})


def test_ten_words_of_an_evaluation_question_in_prompt_or_answer_are_seen():
  asked = dataclasses.replace(EN, id="d", prompt="what is 3 + 4 - 2 + 9 + 5 ?")
  evaluated = harvest.evaluation([asked, EN], CFG)
  quoting = GOOD.replace("first", "it was: what is 3 + 4 - 2 + 9 + 5, and")
  fresh = dataclasses.replace(EN, id="e", prompt="what is 1 + 1 ?")
  found = sift(
    [(asked, GOOD, None), (fresh, quoting, None), (EN, GOOD, None), (fresh, GOOD, None)], evaluated
  )
  assert found.kept == [3], "the third question is too short for an n-gram, and is that question"
  assert found.dropped == {"overlap": 3}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_kept_and_what_is_dropped_add_up_to_what_was_sampled(seed):
  rng = random.Random(seed)
  faults = [None, None, *harvest.REASONS]
  rows = [
    (
      dataclasses.replace(EN, id=str(n := rng.randrange(9)), prompt=f"{n} ?"),
      rng.choice("abcd"),
      rng.choice(faults),
    )
    for _ in range(rng.randrange(1, 200))
  ]
  found = sift(rows)
  assert found.sampled == len(rows)
  assert len(found.kept) + sum(found.dropped.values()) == len(rows)
  assert found == sift(rows)
  assert all(faults is None for _, _, faults in (rows[i] for i in found.kept))


def test_a_reason_that_does_not_exist_is_refused():
  with pytest.raises(ValueError, match=r"reasons \['boring'\] are unknown"):
    sift([(EN, GOOD, "boring")])


def test_nothing_kept_is_told_with_the_table_of_reasons():
  found = sift([(EN, GOOD, "wrong"), (EN, GOOD, "wrong"), (EN, GOOD, "code")])
  with pytest.raises(ValueError, match="of 3 answers none is kept") as told:
    harvest.check_any(found, "answers")
  assert str(told.value).splitlines()[1:] == [
    "  0  kept",
    "  2  the answer is wrong",
    "  1  the thought holds a code block",
  ]
  harvest.check_any(sift([(EN, GOOD, None)]), "answers")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"most": 0}, "most=0 must be >= 1"),
    ({"repetition": 2.0}, r"repetition=2\.0: wanted a share"),
    ({"mode": "tags"}, "mode 'tags'"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(CFG, **changes)
