"""The record that graders see."""

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
