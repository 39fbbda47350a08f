"""The format reward is strict where open-r1's regular expression is not."""

import json
import re
import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.data import responses
from r1.rewards import form, verdict

GOOD = "<think>3 + 5 = 8</think><answer>8</answer>"


def response(text, truncated=False):
  return responses.Response(text=text, tokens=len(text), truncated=truncated)


def test_a_well_formed_response_gives_both_parts():
  assert form.parse(GOOD) == form.Parts("3 + 5 = 8", "8")
  spaced = " \n<think>\n3 + 5\n</think>\n\n<answer>\n8\n</answer>\n"
  assert form.parse(spaced) == form.Parts("\n3 + 5\n", "\n8\n")


@pytest.mark.parametrize(
  "text",
  [
    "",
    "8",
    f"{GOOD} and more",  # open-r1 lets these three pass: re.MULTILINE and lazy dots
    f"{GOOD}\n{GOOD}",
    "<think>a</think><think>b</think><answer>8</answer>",
    f"so {GOOD}",
    "<think>a</think> so <answer>8</answer>",
    "<think>a</think><answer>8</answer><answer>9</answer>",
    "<think>a <think>b</think></think><answer>8</answer>",
    "<think>a<answer>8</answer></think>",
    "<think>a<answer>8</answer>",
    "<think>a</think><answer>8",
    "<think>a</answer><answer>8</think>",
    "<answer>8</answer><think>a</think>",
    "<think></think><answer>8</answer>",
    "<think> \n</think><answer>8</answer>",
    "<think>a</think><answer> </answer>",
    "<THINK>a</THINK><answer>8</answer>",
    "<think>a</think><answer></think>8</answer>",
  ],
)
def test_anything_else_is_malformed(text):
  assert form.parse(text) is None
  assert form.reward(None, response(text)) == verdict.Score(0.0, "unparsed")


def test_in_the_chat_format_free_text_follows_the_thought():
  text = "<think>\n3 + 5\n</think>\n\nIt is \\boxed{8}."
  assert form.parse(text, "boxed") == form.Parts("\n3 + 5\n", "It is \\boxed{8}.")
  assert form.parse(text) is None
  for bad in ("<think>a</think> ", "<think></think>8", "<think>a", "a</think>8", f"8 {text}"):
    assert form.parse(bad, "boxed") is None


def test_an_opening_tag_given_by_the_template_counts():
  """The text starts with what the prompt opened, so a prefilled <think> is seen (TRL #6966)."""
  assert form.reward(None, response("<think>\n" + "a</think>\\boxed{8}"), "boxed").value == 1
  assert form.reward(None, response("a</think>\\boxed{8}"), "boxed").value == 0


# The oracle: one expression for the whole text, slow on hostile input but plain to read.
NO_TAG = r"(?:(?!</?think>|</?answer>).)"
SOMETHING = rf"\s*(?!\s){NO_TAG}+"
TAGGED = rf"\s*<think>{SOMETHING}</think>\s*<answer>{SOMETHING}</answer>\s*"


PIECES = ["<think>", "</think>", "<answer>", "</answer>", " ", "\n", "8", "<", ""]
EDITS = strategies.lists(
  strategies.tuples(
    strategies.integers(0, 9), strategies.integers(0, 2), strategies.sampled_from(PIECES)
  ),
  max_size=3,
)


def edited(edits):
  """A good response with some of its pieces put in, taken out or replaced."""
  pieces = ["<think>", "\n", "8", " ", "</think>", "\n", "<answer>", "8", "</answer>"]
  for at, removed, piece in edits:
    pieces[at : at + removed] = [piece]
  return "".join(pieces)


@hypothesis.given(EDITS.map(edited))
@hypothesis.settings(max_examples=1000, database=None, deadline=None, derandomize=True)
def test_parsing_agrees_with_one_strict_full_match(text):
  """open-r1 searched with re.MULTILINE, so that any line could end the match."""
  assert (form.parse(text) is not None) == bool(re.fullmatch(TAGGED, text, re.DOTALL))


def test_a_response_cut_at_the_limit_is_never_well_formed():
  assert form.reward(None, response(GOOD)) == verdict.Score(1.0, "right")
  assert form.reward(None, response(GOOD, truncated=True)) == verdict.Score(0.0, "unparsed")


def test_an_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="'gsm8k' given; use one of answer_tag, boxed"):
    form.parse(GOOD, "gsm8k")


@pytest.mark.parametrize(
  ("text", "thought"),
  [
    (GOOD, "3 + 5 = 8"),
    ("so 8", None),
    ("<think>cut in the mid", "cut in the mid"),
    ("<think>so 8<answer>8</answer>", "so 8"),
    ("x <think>a</think> y <think>b</think>", "a"),
    ("<think></think>", ""),
    ("</think>a<think>", ""),
  ],
)
def test_a_thought_is_found_in_malformed_responses_too(text, thought):
  assert form.thought(text) == thought


@pytest.mark.parametrize(
  ("text", "share"),
  [
    (GOOD, 1),
    ("</answer><answer></think><think>", 1),  # order is the format's business
    ("<think>a<answer>8</answer>", 0.75),
    (f"{GOOD}{GOOD}", 0),
    ("8", 0),
  ],
)
def test_each_tag_that_occurs_once_is_a_quarter(text, share):
  score = form.tags(None, response(text))
  assert (score.value, score.verdict) == (share, "right" if share == 1 else "unparsed")


@pytest.mark.parametrize(
  ("answer", "value"),
  [
    ("```python\nprint(8)\n```", 1),
    ("It is\n```python\n```\n", 1),
    ("```\nprint(8)\n```", 0),
    ("```python3\nprint(8)\n```", 0),
    ("```python\nprint(8)\n", 0),
    ("print(8)", 0),
  ],
)
def test_code_stands_in_a_closed_block_of_its_language(answer, value):
  text = f"<think>```python\n1\n```</think><answer>{answer}</answer>"
  assert form.fenced(None, response(text), "python").value == value
  assert form.fenced(None, response(text, truncated=True), "python").value == 0
  assert form.fenced(None, response(answer), "python").value == 0


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<answer>", "</answer>", "<", "\0", " "])
def test_ten_megabytes_of_tags_are_read_in_linear_time(piece):
  text = "<think>" + piece * (10_000_000 // len(piece)) + "</answer>"
  start = time.process_time()
  assert form.parse(text) is None
  form.thought(text)
  assert time.process_time() - start < 5


def test_recorded_format_cases_of_open_r1_and_trl_get_their_rewards(test_data):
  """Single-line tags are fine here, and open-r1's rows never ask otherwise."""
  seen = 0
  with open(test_data / "graders" / "reward_functions.jsonl", encoding="utf-8") as lines:
    rows = [json.loads(line) for line in lines]
  modes = {"format_reward": "answer_tag", "think_format_reward": "boxed"}
  for row in rows:
    if row["fn"] not in modes:
      continue
    for messages, wanted in zip(row["args"][0], row["reward"]):
      got = form.reward(None, response(messages[0]["content"]), modes[row["fn"]]).value
      assert got == wanted, (row["id"], messages)
      seen += 1
  assert seen >= 16
