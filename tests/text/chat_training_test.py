"""Conversations for training: what is scored, where turns end, templates that rewrite turns."""

import dataclasses

import pytest

from r1.text import chat
from tests.text import chats, checkpoints

families, pieces = chats.families, chats.pieces
DATE = {"date_string": "26 Jul 2024"}


def test_turns_are_scored_with_their_ends_and_nothing_else_is(families):
  messages = [chats.SYSTEM, chats.USER, chats.ANSWER, chats.MORE, chats.LAST]
  for family, end in (("qwen2", "<|im_end|>"), ("llama3", "<|eot_id|>")):
    tokenizer = families[family]
    template = chat.pick(tokenizer)
    tokens, scored = chat.encode_conversation(tokenizer, template, messages, **DATE)
    assert chats.runs(tokenizer, tokens, scored) == ["It is 4." + end, chats.LAST["content"] + end]
    assert tokens == chat.encode_chat(tokenizer, template, messages, **DATE)[0]
    assert sum(tokens[i] in tokenizer.eos for i in range(len(tokens)) if scored[i]) == 2
    tokens, scored = chat.encode_conversation(
      tokenizer, template, [*messages, chats.USER], last_only=True, **DATE
    )
    assert chats.runs(tokenizer, tokens, scored) == [chats.LAST["content"] + end]
    assert tokens == chat.encode_chat(tokenizer, template, messages, **DATE)[0]


def test_the_newline_behind_an_end_of_turn_is_there_and_not_scored(families):
  tokenizer = families["qwen2"]
  tokens, scored = chat.encode_conversation(
    tokenizer, chat.pick(tokenizer), [chats.USER, chats.ANSWER]
  )
  assert tokenizer.decode(tokens[-1:]) == "\n"
  assert scored[-2:] == [True, False]


def test_calls_are_scored_and_their_results_are_not(families):
  tokenizer = families["qwen2"]
  messages = [chats.USER, chats.CALL, chats.RESULT, chats.ANSWER]
  tokens, scored = chat.encode_conversation(
    tokenizer, chat.pick(tokenizer), messages, tools=chats.TOOLS
  )
  call = '\n<tool_call>\n{"name": "add", "arguments": {"é": "<2>"}}\n</tool_call><|im_end|>'
  assert chats.runs(tokenizer, tokens, scored) == [call, "It is 4.<|im_end|>"]


@pytest.mark.parametrize("content", ["yes", " yes", "\n\nyes", "\tyes ", "", "5é"])
@pytest.mark.parametrize("template", [checkpoints.CHATML, checkpoints.MARKED, "plain"])
def test_the_prompt_has_the_ids_that_a_sampler_is_given(families, content, template):
  """Encoded in one go, a newline of the prompt and one of the answer would be one token."""
  tokenizer = families["qwen2"]
  if template == "plain":
    template = chats.PLAIN.replace("\n", "{{ eos_token }}") + (
      "{% if add_generation_prompt %}assistant: {% endif %}"
    )
  messages = [chats.USER, {"role": "assistant", "content": content}]
  prompt, _ = chat.encode_chat(tokenizer, template, [chats.USER], add_generation_prompt=True)
  tokens, scored = chat.encode_conversation(tokenizer, template, messages)
  assert tokens[: len(prompt)] == prompt
  assert scored.index(True) == len(prompt)
  assert chats.runs(tokenizer, tokens, scored) == [content + "<|im_end|>"]


def test_an_end_is_added_where_the_template_has_none(families, pieces):
  for tokenizer in (families["llama3"], families["qwen2"], pieces):
    tokens, scored = chat.encode_conversation(
      tokenizer, chats.ROLES + chats.ASKS, [chats.USER, chats.ANSWER]
    )
    assert tokens[-1] == tokenizer.eos[0]
    assert [tokens.count(i) for i in tokenizer.eos] == [1]
    end = tokenizer.piece(tokenizer.eos[0])
    assert chats.runs(tokenizer, tokens, scored) == ["It is 4.\n" + end]
    asked, scored = chat.encode_conversation(
      tokenizer, chats.ROLES + chats.ASKS, [chats.USER, chats.ANSWER, chats.MORE]
    )
    assert tokenizer.eos[0] not in asked
    assert chats.runs(tokenizer, asked, scored) == ["It is 4.\n"]


def test_any_of_several_ends_closes_a_turn(families):
  """A turn that ends with the second of a model's ends has one, and needs no other."""
  qwen2 = families["qwen2"]
  second = dataclasses.replace(qwen2, eos=(qwen2.pad, *qwen2.eos))
  tokens, scored = chat.encode_conversation(second, checkpoints.CHATML, [chats.USER, chats.ANSWER])
  assert chats.runs(second, tokens, scored) == ["It is 4.<|im_end|>"]
  other = dataclasses.replace(qwen2, eos=(qwen2.pad,))  # a base model's: the template lacks it
  tokens, scored = chat.encode_conversation(other, checkpoints.CHATML, [chats.USER, chats.ANSWER])
  assert chats.runs(other, tokens, scored) == ["It is 4.<|im_end|>\n<|endoftext|>"]


def test_an_end_right_behind_a_generation_block_is_scored(families):
  qwen2 = families["qwen2"]
  inside = "{{- message.content + '<|im_end|>' }}\n        {%- endgeneration %}"
  outside = "{{- message.content }}\n        {%- endgeneration %}{{ '<|im_end|>' }}"
  template = checkpoints.MARKED.replace(inside, outside)
  assert template != checkpoints.MARKED
  wanted = chat.encode_conversation(
    qwen2, checkpoints.MARKED, [chats.USER, chats.ANSWER, chats.MORE, chats.LAST]
  )
  assert (
    chat.encode_conversation(qwen2, template, [chats.USER, chats.ANSWER, chats.MORE, chats.LAST])
    == wanted
  )
  assert chats.runs(qwen2, *wanted) == ["It is 4.<|im_end|>", chats.LAST["content"] + "<|im_end|>"]


def test_a_turn_without_words_still_teaches_its_end(families):
  qwen2 = families["qwen2"]
  outside = (
    "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}"
  )
  silent = [chats.USER, {"role": "assistant", "content": ""}]
  for last_only in (False, True):
    tokens, scored = chat.encode_conversation(qwen2, outside, silent, last_only=last_only)
    assert chats.runs(qwen2, tokens, scored) == ["<|im_end|>"]
    assert tokens.count(qwen2.eos[0]) == 2


def test_a_last_turn_that_no_generation_block_marks_is_refused(families):
  first = "{% for m in messages %}{% if loop.index == 2 %}{% generation %}{{ m.content }}"
  first += "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
  messages = [chats.USER, chats.ANSWER, chats.MORE, chats.LAST]
  with pytest.raises(ValueError, match="no generation block for the last assistant turn"):
    chat.encode_conversation(families["qwen2"], first, messages, last_only=True)


def test_the_last_turn_has_all_of_its_generation_blocks(families):
  qwen2 = families["qwen2"]
  template = (
    "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}!"
    "{% generation %}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
  )
  messages = [chats.USER, chats.ANSWER, chats.MORE, {"role": "assistant", "content": "5"}]
  every = chat.encode_conversation(qwen2, template, messages)
  assert chats.runs(qwen2, *every) == ["It is 4.", "<|im_end|>", "5", "<|im_end|>"]
  last = chat.encode_conversation(qwen2, template, messages, last_only=True)
  assert chats.runs(qwen2, *last) == ["5", "<|im_end|>"]
  assert last[0] == every[0]


# Templates that rewrite turns ------------------------------------------------------------------


def test_a_template_that_drops_thoughts_is_refused_and_told_apart(families):
  deepseek = families["deepseek"]
  with pytest.raises(ValueError, match=r"message 1, .* begin with the prompt .* last_only=True"):
    chat.encode_conversation(deepseek, checkpoints.THOUGHTS, [chats.USER, chats.LAST])
  quiet = checkpoints.THOUGHTS.replace("<think>\\n", "")  # as the first release of R1 had it
  with pytest.raises(ValueError, match=r"message 1, .* without all of its content .* thoughts"):
    chat.encode_conversation(deepseek, quiet, [chats.USER, chats.LAST])
  later = checkpoints.CHATML.replace(
    "(message.content or '')",
    "(message.content if loop.last else message.content.split('</think>')[-1])",
  )  # as Qwen3 has it
  qwen2 = families["qwen2"]
  assert chat.encode_conversation(qwen2, later, [chats.USER, chats.LAST])[1].count(True) > 0
  with pytest.raises(ValueError, match=r"message 1, .* otherwise once further turns follow"):
    chat.encode_conversation(qwen2, later, [chats.USER, chats.LAST, chats.MORE, chats.ANSWER])
  tokens, scored = chat.encode_conversation(
    qwen2, later, [chats.USER, chats.LAST, chats.MORE, chats.LAST], last_only=True
  )
  assert chats.runs(qwen2, tokens, scored) == [chats.LAST["content"] + "<|im_end|>"]
  assert chats.spelled(qwen2, tokens).count("<think>") == 1


@pytest.mark.parametrize("opens", [True, False])
def test_the_last_turn_is_scored_word_for_word_behind_its_prompt(families, opens):
  """The thought is in, once; those of earlier turns are out, as at the next question."""
  deepseek = families["deepseek"]
  template = checkpoints.THOUGHTS if opens else checkpoints.THOUGHTS.replace("<think>\\n", "")
  messages = [chats.USER, chats.LAST, chats.MORE, chats.LAST]
  tokens, scored = chat.encode_conversation(deepseek, template, messages, last_only=True)
  prompt, _ = chat.encode_chat(deepseek, template, messages[:-1], add_generation_prompt=True)
  assert tokens[: len(prompt)] == prompt
  assert scored == [False] * len(prompt) + [True] * (len(tokens) - len(prompt))
  end = deepseek.piece(deepseek.eos[0])
  content = chats.LAST["content"].removeprefix("<think>\n") if opens else chats.LAST["content"]
  assert chats.runs(deepseek, tokens, scored) == [content + end]
  assert chats.spelled(deepseek, tokens).count("<think>") == 1
  assert tokens.count(deepseek.bos) == 1


def test_an_answer_that_takes_up_the_opened_thought_is_left_as_it_is(families):
  deepseek = families["deepseek"]
  taken = {"role": "assistant", "content": "so 4\n</think>\n\n4"}
  tokens, scored = chat.encode_conversation(
    deepseek, checkpoints.THOUGHTS, [chats.USER, taken], last_only=True
  )
  end = deepseek.piece(deepseek.eos[0])
  assert chats.runs(deepseek, tokens, scored) == [taken["content"] + end]
  assert chats.spelled(deepseek, tokens).endswith("<think>\n" + taken["content"] + end)


def test_a_rewritten_turn_without_a_text_is_refused(families):
  silent = {"role": "assistant", "content": [{"type": "text", "text": "4"}]}
  template = "{% for m in messages %}{{ m.role }}{% endfor %}" + chats.ASKS
  with pytest.raises(ValueError, match="message 1, the last assistant turn, is rewritten"):
    chat.encode_conversation(families["qwen2"], template, [chats.USER, silent], last_only=True)


@pytest.mark.parametrize(
  ("messages", "fault"),
  [
    ([chats.USER], "no assistant turn to score"),
    ([], "no assistant turn to score"),
    ([chats.ANSWER, chats.USER, chats.ANSWER], "begins with the assistant"),
  ],
)
def test_conversations_with_nothing_to_score_are_refused(families, messages, fault):
  with pytest.raises(ValueError, match=fault):
    chat.encode_conversation(families["qwen2"], checkpoints.CHATML, messages)


def test_blocks_whose_text_is_worked_on_afterwards_are_refused(families):
  template = (
    "{% set x %}{% generation %} {{ messages[1].content }} {% endgeneration %}{% endset %}"
    "{{ x | trim }}"
  )
  with pytest.raises(ValueError, match="works on the text of its generation blocks"):
    chat.encode_conversation(families["qwen2"], template, [chats.USER, chats.ANSWER])


# Marks -----------------------------------------------------------------------------------------


def test_sentencepiece_gets_its_control_ids_from_the_template_and_from_nowhere_else(pieces):
  """A user who writes </s> ends nothing."""
  template = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}User: {{ m.content }}"
    "{% else %} Assistant: {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} Assistant: {% endif %}"
  )
  spoken = {"role": "user", "content": "what is </s> <s> ?"}
  tokens, scored = chat.encode_conversation(
    pieces, template, [spoken, chats.ANSWER, spoken, chats.ANSWER]
  )
  assert [i for i in tokens if i < 3] == [pieces.bos, pieces.eos[0], pieces.eos[0]]
  assert chats.runs(pieces, tokens, scored) == ["It is 4.</s>"] * 2
  assert pieces.decode(tokens).startswith("User: what is </s> <s> ? Assistant: It is 4.User")


def test_marks_keep_clear_of_what_the_messages_hold(families, pieces):
  odd = {"role": "assistant", "content": "".join(chat.MARKS[:20])}
  for tokenizer, template in (
    (families["qwen2"], checkpoints.MARKED),
    (pieces, chats.ROLES + chats.ASKS),
  ):
    tokens, scored = chat.encode_conversation(tokenizer, template, [chats.USER, odd])
    assert odd["content"] in chats.runs(tokenizer, tokens, scored)[0]
  full = {"role": "assistant", "content": "".join(chat.MARKS)}
  with pytest.raises(ValueError, match="most of U\\+FDD0 to U\\+FDEF"):
    chat.encode_conversation(families["qwen2"], checkpoints.MARKED, [chats.USER, full])


def test_what_a_prompt_opens_is_its_unfinished_thought():
  assert chat.opened("User: 2 + 2? <think>\n") == "<think>\n"
  assert chat.opened("a<think>") == "<think>"
  assert chat.opened("a<think>\nb") == ""
  assert chat.opened("<think> and </think> Assistant:") == ""
  assert chat.opened("a") == ""
