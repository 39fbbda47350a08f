"""Chat templates: the text and the ids of transformers, begin of text once."""

import dataclasses

import pytest

from r1.text import chat, hf_tokenizer
from tests.text import chats, checkpoints

CHATS = {
  "one turn": [chats.USER],
  "answered": [chats.USER, chats.ANSWER],
  "system": [chats.SYSTEM, chats.USER, chats.ANSWER],
  "several turns": [chats.SYSTEM, chats.USER, chats.ANSWER, chats.MORE, chats.LAST],
  "asked again": [chats.USER, chats.LAST, chats.MORE],
}
DATE = {"date_string": "26 Jul 2024"}


@pytest.fixture(scope="module", params=checkpoints.FAMILIES)
def folder(request, tmp_path_factory):
  return checkpoints.folder(tmp_path_factory.mktemp("checkpoint"), request.param)


@pytest.fixture(scope="module")
def tokenizer(folder):
  return hf_tokenizer.load(folder)


families, pieces = chats.families, chats.pieces


def render(tokenizer, messages, **given):
  names = tokenizer.names
  bos, eos = names.get("bos_token"), names.get("eos_token")
  template = chat.pick(tokenizer)
  return chat.render(
    template, messages, **{"add_generation_prompt": False} | given, bos=bos, eos=eos
  )


# Text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_a_chat_reads_as_transformers_writes_it(folder, tokenizer, messages, prompt):
  reference = checkpoints.reference(folder)
  text = render(tokenizer, messages, add_generation_prompt=prompt, **DATE)
  assert text == reference.apply_chat_template(
    messages, tokenize=False, add_generation_prompt=prompt, **DATE
  )


def test_tools_read_as_transformers_writes_them(folder, tokenizer):
  reference = checkpoints.reference(folder)
  messages = [
    chats.SYSTEM,
    chats.USER,
    chats.CALL | {"content": "" if folder.name != "qwen2" else None},
    chats.RESULT,
    chats.LAST,
  ]
  given = {"tools": chats.TOOLS, "documents": [{"title": "a", "text": "b"}], **DATE}
  text = render(tokenizer, messages, **given)
  assert text == reference.apply_chat_template(messages, tokenize=False, **given)
  if folder.name == "qwen2":
    assert "Adds 'a' & <b>, 加" in text


def test_thoughts_beside_the_content_go_by_their_usual_names(tmp_path):
  text = (
    "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.name }};{% endfor %}"
  )
  folder = checkpoints.folder(tmp_path, "qwen2")
  reference = checkpoints.reference(folder)
  base = {"role": "assistant", "content": "x"}
  for more in (
    {"reasoning": "r"},
    {"thinking": "t"},
    {"reasoning_content": "c", "thinking": "t"},
    {},
  ):
    messages = [chats.USER, base | more | {"name": None}]
    mine = chat.render(text, messages, add_generation_prompt=False, bos=None, eos=None)
    assert mine == reference.apply_chat_template(messages, chat_template=text, tokenize=False)


def test_names_that_the_tokenizer_lacks_are_empty(families):
  text = "[{{ bos_token }}{{ eos_token }}{{ pad_token }}]"
  given = {"add_generation_prompt": False, "bos": None, "eos": "<e>"}
  assert chat.render(text, [chats.USER], **given) == "[<e>]"
  assert chat.render(text, [chats.USER], **given, pad_token="<p>") == "[<e><p>]"


@pytest.mark.parametrize(
  ("template", "messages", "fault"),
  [
    ("{% if %}", [chats.USER], "chat template, line 1: "),
    ("a\n{% for %}", [chats.USER], "chat template, line 2: "),
    (checkpoints.HEADERS, [{"role": "robot", "content": ""}], r"\['robot'\]: no such role: robot"),
    ("{{ messages[3].content.strip() }}", [chats.USER], r"refuses messages of roles \['user'\]"),
    ("{{ messages[0].content.split(1) }}", [chats.USER], "refuses messages"),
    ("{{ 1 // 0 }}", [chats.USER], "refuses messages"),
    ("{{ messages.append(1) }}", [chats.USER], "refuses messages"),
    ("x", [], "has no messages"),
    ("x", [{"role": "user", "content": b"x"}], "plain JSON values only"),
  ],
)
def test_faults_of_templates_and_messages_are_told(template, messages, fault):
  with pytest.raises(ValueError, match=fault):
    chat.render(template, messages, add_generation_prompt=False, bos="", eos="")


def test_a_template_that_is_not_there_is_refused_with_those_that_are(families):
  qwen2 = families["qwen2"]
  assert chat.pick(qwen2) == checkpoints.CHATML
  with pytest.raises(ValueError, match=r"no chat template 'tool_use' \(there are: default\)"):
    chat.pick(qwen2, "tool_use")
  with pytest.raises(ValueError, match=r"there are: none"):
    chat.pick(dataclasses.replace(qwen2, templates={}))


# Ids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_a_chat_has_the_ids_that_transformers_gives_it(folder, tokenizer, messages, prompt):
  reference = checkpoints.reference(folder)
  template, given = chat.pick(tokenizer), {"add_generation_prompt": prompt, **DATE}
  ids, written = chat.encode_chat(tokenizer, template, messages, **given)
  assert ids == reference.apply_chat_template(messages, return_dict=False, **given)
  assert written == [False] * len(ids)
  assert ids.count(tokenizer.bos) == (folder.name != "qwen2")


@pytest.mark.parametrize("messages", CHATS.values(), ids=CHATS)
def test_generation_blocks_mark_what_transformers_marks(tmp_path, messages):
  folder = checkpoints.folder(tmp_path, "qwen2")
  tokenizer, reference = hf_tokenizer.load(folder), checkpoints.reference(folder)
  ids, written = chat.encode_chat(tokenizer, checkpoints.MARKED, messages)
  wanted = reference.apply_chat_template(
    messages,
    chat_template=checkpoints.MARKED,
    return_dict=True,
    return_assistant_tokens_mask=True,
  )
  assert ids == wanted["input_ids"]
  assert written == [bool(x) for x in wanted["assistant_masks"]]
  said = [m["content"] + "<|im_end|>" for m in messages if m["role"] == "assistant"]
  assert chats.runs(tokenizer, ids, written) == said


@pytest.mark.parametrize("before", ["", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"])
@pytest.mark.parametrize("family", ["llama3", "deepseek", "pieces"])
def test_begin_of_text_comes_once_whatever_the_template_writes(families, pieces, family, before):
  """Twice in open-r1 #462 and vLLM #27486, not at all in marin #7179."""
  tokenizer = pieces if family == "pieces" else families[family]
  ids, _ = chat.encode_chat(tokenizer, before + chats.PLAIN, [chats.USER])
  assert ids[0] == tokenizer.bos
  assert ids.count(tokenizer.bos) == 1
  assert tokenizer.decode(ids) == "user: What is 2 + 2?\n"


def test_begin_of_text_is_not_forced_on_those_that_go_without(families, tmp_path):
  llama3, qwen2 = families["llama3"], families["qwen2"]
  assert chat.encode_chat(qwen2, chats.PLAIN, [chats.USER])[0] == qwen2.encode(
    "user: What is 2 + 2?\n"
  )
  without = dataclasses.replace(llama3, needs_bos=False)
  ids, _ = chat.encode_chat(without, chats.PLAIN, [chats.USER])
  assert llama3.bos not in ids
  ids, _ = chat.encode_chat(without, "{{ bos_token }}" + chats.PLAIN, [chats.USER])
  assert ids.count(llama3.bos) == 1
  # Behind white space it is there already.
  ids, _ = chat.encode_chat(llama3, "\n{{ bos_token }}" + chats.PLAIN, [chats.USER])
  assert ids.count(llama3.bos) == 1
