"""The format reward is strict where open-r1's regular expression is not."""

import json
import time

import pytest

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


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<answer>", "</answer>", "<", "\0", " "])
def test_ten_megabytes_of_tags_are_read_in_linear_time(piece):
  text = "<think>" + piece * (10_000_000 // len(piece)) + "</answer>"
  start = time.perf_counter()
  assert form.parse(text) is None
  form.thought(text)
  assert time.perf_counter() - start < 5


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
