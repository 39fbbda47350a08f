"""Templates: the paper's words, one begin of text, prompts left alone."""

import dataclasses

import pytest

from r1.text import templates
from r1.text import tokenizer as tokenizers


@pytest.fixture(scope="module")
def tokenizer():
  lines = ["User: what is 12 + 7 ? Assistant:<think>so 19</think>"] * 10
  return tokenizers.load(tokenizers.train(lines, vocab_size=340, symbols=("<think>", "</think>")))


def test_r1_zero_is_table_1_of_the_paper_word_for_word():
  # arXiv 2501.12948v1, table 1
  assert templates.render("r1_zero", "What is 2+2?") == (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> "
    "<answer> answer here </answer>. User: What is 2+2?. Assistant:"
  )


def test_short_and_chat_by_hand():
  assert templates.render("short", "hi") == "User: hi Assistant:"
  assert templates.render("chat", "hi") == (
    "<\uff5cbegin\u2581of\u2581sentence\uff5c><\uff5cUser\uff5c>hi<\uff5cAssistant\uff5c><think>\n"
  )


@pytest.mark.parametrize("name", templates.NAMES)
def test_opened_is_what_stands_after_the_assistant_is_named(name):
  """A grader that does not see an opened <think> takes every answer for malformed."""
  text = templates.render(name, "hi")
  assert text.endswith(templates.opened(name))
  body = text.removesuffix(templates.opened(name))
  assert body.endswith(("Assistant:", "<\uff5cAssistant\uff5c>"))


@pytest.mark.parametrize("prompt", ["{prompt}", "{0} {", "\\frac{1}{2}", "%s", ""])
@pytest.mark.parametrize("name", templates.NAMES)
def test_braces_in_a_prompt_stay_as_they_are(name, prompt):
  text = templates.render(name, prompt)
  assert text.count(prompt) >= 1
  assert len(text) == len(templates.render(name, "")) + len(prompt)


@pytest.mark.parametrize("name", templates.NAMES)
def test_begin_of_text_comes_exactly_once(tokenizer, name):
  """Twice in open-r1 #462 and vLLM #27486, not at all in marin #7179."""
  ids = templates.encode(tokenizer, name, "what is 12 + 7 ?")
  assert ids[0] == tokenizer.bos
  assert ids.count(tokenizer.bos) == 1
  text = templates.render(name, "what is 12 + 7 ?").removeprefix(templates.BOS_TEXT)
  assert tokenizer.decode(ids) == text
  assert tokenizer.eos[0] not in ids


def test_a_tokenizer_without_begin_of_text_gets_none(tokenizer):
  bare = dataclasses.replace(tokenizer, bos=None)
  assert templates.encode(bare, "chat", "hi") == templates.encode(tokenizer, "chat", "hi")[1:]


def test_an_unknown_template_is_refused_with_the_names():
  with pytest.raises(ValueError, match="unknown template 'alpaca'; there are r1_zero, short, chat"):
    templates.render("alpaca", "hi")
  with pytest.raises(ValueError, match="alpaca"):
    templates.opened("alpaca")
