"""A rollout: groups in order, prompts and answers token for token."""

import dataclasses
import functools

import numpy as np
import pytest

from r1.algorithms import minibatch
from r1.data import questions as records
from r1.sampling import rollout
from r1.text import templates
from r1.text import tokenizer as tokenizers
from tests.model import tiny
from tests.sampling import settings

SAMPLER = settings.sampler(
  slots=8, prompt_bucket=8, chunk=4, cache_tokens=4096, layout="auto", in_flight=1
)
QUESTIONS = [
  records.Question(id="first", prompt="what is 3 + 4 ?", answer="7"),
  records.Question(id="second", prompt="what is 9 - 4 + 12 ?", answer="17"),
  records.Question(id="twin", prompt="what is 3 + 4 ?", answer="7"),
]


@functools.cache
def tokenizer():
  """Its text is small, and 38 of its ids end an answer, so that some answers end and some not."""
  lines = ["User: what is 3 + 4 ? Assistant: so so so 7", "what is 9 - 4 ? so 5"] * 3
  loaded = tokenizers.load(tokenizers.train(lines, vocab_size=310, symbols=("<think>",)))
  return dataclasses.replace(loaded, eos=tuple(range(2, 40)))


@functools.cache
def sampled(template="short", number=0, group=4):
  cfg = tiny.config(V=320, ids=tokenizer().size, context=96, tied=False)
  return rollout.sample_groups(
    tiny.params(cfg),
    QUESTIONS,
    tokenizer(),
    template,
    group=group,
    rollout=number,
    limit=12,
    cfg=cfg,
    sampler=SAMPLER,
    temperature=1.3,
    seed=0,
  )


def test_the_samples_of_a_question_stand_together_in_order():
  """Grouped by index: equal prompts of two questions stay two groups (GRPO-Zero merges them)."""
  assert [s.question.id for s in sampled()] == ["first"] * 4 + ["second"] * 4 + ["twin"] * 4
  assert [s.number for s in sampled()] == [0, 1, 2, 3] * 3


def test_every_answer_of_a_group_and_of_a_twin_question_is_its_own():
  found = {tuple(s.tokens.tolist()) for s in sampled()}
  assert len(found) == 12
  assert not found & {tuple(s.tokens.tolist()) for s in sampled(number=1)}


@pytest.mark.parametrize("template", ["short", "chat"])
def test_the_prompt_is_the_templates_ids_with_begin_of_text_once(template):
  for s in sampled(template):
    prompt = s.tokens[: s.prompt_length].tolist()
    assert prompt == templates.encode(tokenizer(), template, s.question.prompt)
    assert prompt.count(tokenizer().bos) == 1


def test_tokens_are_those_drawn_and_never_text_encoded_again():
  """verl #3720: the answer's text has another encoding than the one that was sampled."""
  other = 0
  for s in sampled():
    answer = s.tokens[s.prompt_length :].tolist()
    assert len(answer) == s.length == len(s.logp) == s.response.tokens
    other += answer != tokenizer().encode(tokenizer().decode(answer))
  assert other > 0


def test_text_and_truncation_follow_the_tokens():
  for s in sampled():
    answer = s.tokens[s.prompt_length :].tolist()
    assert s.response.text == tokenizer().decode(answer)
    assert s.response.truncated == (answer[-1] not in tokenizer().eos)
  assert {s.response.truncated for s in sampled()} == {True, False}


def test_what_the_template_opened_stands_in_the_text_and_not_in_the_answers_tokens():
  for s in sampled("chat"):
    answer = s.tokens[s.prompt_length :].tolist()
    assert s.response.text == "<think>\n" + tokenizer().decode(answer)
    assert s.response.tokens == len(answer)


def test_the_loss_counts_every_token_of_the_answer_its_end_included():
  """End of text is an action (TRL #2708), and padding's id in an answer counts (TRL #4970)."""
  for s, (tokens, scored) in zip(sampled(), minibatch.sequences(sampled()), strict=True):
    np.testing.assert_array_equal(tokens, s.tokens)
    np.testing.assert_array_equal(np.flatnonzero(scored), s.prompt_length + np.arange(s.length))


def test_one_request_per_sample_with_the_rollouts_number_and_limit():
  given = {"group": 2, "rollout": 5, "limit": 9}
  asked = rollout.requests((2, 0), QUESTIONS, tokenizer(), "short", **given)
  assert [(r.question, r.sample) for r in asked[:3]] == [("twin", 0), ("twin", 1), ("first", 0)]
  assert [r.index for r in asked] == [2, 2, 0, 0]
  assert {(r.rollout, r.limit) for r in asked} == {(5, 9)}
