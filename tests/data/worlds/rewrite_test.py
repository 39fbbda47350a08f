"""The rule that makes a thought of R1-Zero readable: what it says, and what it refuses."""

import inspect

import pytest

from r1.data.worlds import arithmetic, rewrite
from r1.rewards import form, language
from r1.rewards.maths import extract

MIXED = "first 6 - 5 = 11, check 6 - 5 = 1 wait，然后 1 + 8 = 9，检查 1 + 8 = 9 等等, so 9"


def test_a_thought_is_restated_in_the_question_s_language_and_summed_up_by_hand():
  assert rewrite.rewrite("en", MIXED) == (
    "<think>i take it step by step, first 6 - 5 = 11, check 6 - 5 = 1 wait, "
    "then 1 + 8 = 9, check 1 + 8 = 9 yes, so 9</think>the result is \\boxed{9}."
  )
  assert rewrite.rewrite("zh", MIXED) == (
    "<think>我一步一步来，先 6 - 5 = 11，检查 6 - 5 = 1 等等，"
    "然后 1 + 8 = 9，检查 1 + 8 = 9 对，所以 9</think>结果是\\boxed{9}。"
  )


@pytest.mark.parametrize("tongue", ["en", "zh"])
def test_what_is_written_is_well_formed_and_in_one_language(tongue):
  text = rewrite.rewrite(tongue, MIXED)
  assert text is not None
  parts = form.parse(text, "boxed")
  assert parts is not None
  script = language.SCRIPT_OF[tongue]
  assert language.share_of(parts.thought, script) == language.share_of(parts.answer, script) == 1
  assert language.words(parts.answer)[script] >= 3
  assert extract.extract(text, "boxed") == "9"


def test_the_rule_has_no_way_to_see_the_right_answer():
  """It takes a text and no question, whose answer it could look at."""
  assert list(inspect.signature(rewrite.rewrite).parameters) == ["language", "thought"]


def test_the_summary_is_the_thought_s_conclusion_though_it_be_wrong():
  thought = "first 6 - 5 = 2, then 2 + 8 = 11, so 11"
  assert "\\boxed{11}" in rewrite.rewrite("en", thought)


def test_what_was_written_reads_as_what_it_was_made_of():
  thought = form.parse(rewrite.rewrite("zh", MIXED), "boxed").thought
  steps = thought.removeprefix(arithmetic.LEXICON["zh"].start)
  assert rewrite.read(steps) == rewrite.read(MIXED)


@pytest.mark.parametrize(
  "thought",
  [
    "so 9",
    "",
    "first 6 - 5 = 1, then 1 + 8 = 9",
    "first 6 - 5 = 1, so 1, then 1 + 8 = 9, so 9",
    "first 6 - 5 = 1, then 2 + 8 = 9, so 9",
    "first 6 - 5 = 1, check 5 - 6 = 1 yes, so 1",
    "check 6 - 5 = 1 yes, so 1",
    "first 6 - 5 = 1, then 1 + 8 = 9, so 8",
    "first 6 - 5 = 1, hm, then 1 + 8 = 9, so 9",
    "first 6 - 5 = 1 - 8 + 2, so 1",
    "first 6 - 5 = 1, so 9" + "9" * 13,
  ],
)
def test_a_thought_that_makes_no_sense_is_refused(thought):
  assert rewrite.rewrite("en", thought) is None


def test_a_language_without_words_is_refused():
  assert rewrite.rewrite("fr", MIXED) is None
