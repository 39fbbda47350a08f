"""The record that graders see, and what a reader is shown of it."""

import dataclasses

import pytest

from r1.data import responses


def test_a_response_cannot_be_changed_by_a_grader():
  response = responses.Response(text="<think>a</think>", tokens=3, truncated=False)
  with pytest.raises(dataclasses.FrozenInstanceError):
    response.text = "<answer>8</answer>"


def test_its_fields_are_named_and_none_has_a_default():
  with pytest.raises(TypeError):
    responses.Response("text", 3, False)
  with pytest.raises(TypeError):
    responses.Response(text="text", tokens=3)


@pytest.mark.parametrize(
  ("text", "summary"),
  [
    ("<think>a</think> it is 8 ", "it is 8"),
    ("a</think>8", "8"),  # the template opened the thought
    ("just 8", "just 8"),
    ("<think>a</think>b<think>c</think>d", "d"),
    ("<think>still thinking of 8", ""),
    ("before <think>still thinking", ""),
    ("", ""),
  ],
)
def test_a_reader_is_shown_what_follows_the_thought(text, summary):
  assert responses.summary(text) == summary
