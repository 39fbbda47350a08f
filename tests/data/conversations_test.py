"""Conversations: what a line may say, which tokens the loss counts, what is refused."""

import dataclasses
import gzip
import json
import re

import numpy as np
import pytest

from r1.data import conversations, questions
from r1.data.worlds import arithmetic
from r1.text import templates
from tests.train import tiny

WORDS = tiny.tokenizer()
EOS = WORDS.eos[0]
U, A = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"


def row(*messages):
  return {"messages": [{"role": role, "content": content} for role, content in messages]}


PAIR = row(("user", "1 + 1 ?"), ("assistant", "2"))


def write(tmp_path, *rows, name="chats.jsonl"):
  path = tmp_path / name
  path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
  return path


def chat(*messages):
  return conversations.Conversation(
    messages=tuple(conversations.Message(*m) for m in messages), origin="set.jsonl:7"
  )


def marked(given, template="chat", tokenizer=WORDS):
  """[(is it scored, the text of the run with end of text as a bar)] of the encoded conversation."""
  tokens, scored = conversations.encode(tokenizer, template, given)
  assert (tokens.dtype, scored.dtype) == (np.int32, bool)
  edges = np.flatnonzero(np.diff(scored)) + 1
  found = []
  for part, flags in zip(np.split(tokens, edges), np.split(scored, edges)):
    turns = np.split(part, np.flatnonzero(part == EOS) + 1)
    text = "|".join(WORDS.decode(turn[turn != EOS].tolist()) for turn in turns)
    found.append((bool(flags[0]), text))
  return found


# Reading -----------------------------------------------------------------------------------------


def test_messages_and_pairs_are_read_in_order_with_their_lines(tmp_path):
  rows = [
    row(("system", "be brief"), ("user", "hi"), ("assistant", "ho"), ("tool", ""), ("user", "?")),
    "\n",
    {"prompt": "1 + 1 ?", "response": "2", "id": "x", "meta": {"from": "me"}},
  ]
  path = write(tmp_path, *rows)
  first, second = conversations.load(path)
  assert [(m.role, m.content) for m in first.messages] == [
    ("system", "be brief"),
    ("user", "hi"),
    ("assistant", "ho"),
    ("tool", ""),
    ("user", "?"),
  ]
  assert [(m.role, m.content) for m in second.messages] == [("user", "1 + 1 ?"), ("assistant", "2")]
  assert (first.origin, second.origin) == (f"{path}:1", f"{path}:3")
  assert (first.prompt, second.prompt) == ("hi", "1 + 1 ?")


def test_gzip_reads_as_its_text_does(tmp_path):
  path = write(tmp_path, row(("user", "圆周率？"), ("assistant", "三")))
  packed = tmp_path / "set.jsonl.gz"
  packed.write_bytes(gzip.compress(path.read_bytes()))
  assert [c.messages for c in conversations.load(packed)] == [
    c.messages for c in conversations.load(path)
  ]


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{not json}\n", "not JSON: .* at column 2"),
    ("[1]\n", "a JSON list, wanted an object with the key 'messages'"),
    ({"prompt": "p"}, r"the keys \['prompt'\]; wanted 'messages', or 'prompt' and 'response'"),
    (PAIR | {"prompt": "p"}, r"the keys \['messages', 'prompt'\]"),
    (PAIR | {"tools": []}, r"the keys \['messages', 'tools'\]"),
    ({"messages": []}, r"messages=\[\]: wanted a list with at least one message"),
    ({"messages": "hi"}, "messages='hi': wanted a list"),
    ({"messages": ["hi"]}, "message 1 has 'hi'; wanted the keys 'role' and 'content'"),
    ({"messages": [{"role": "user"}]}, r"message 1 has \['role'\]; wanted the keys"),
    (
      row(("user", "p"), ("bot", "a")),
      "message 2: role='bot' is unknown; there are system, user, assistant, tool",
    ),
    (row(("user", "p"), ("assistant", None)), "message 2: content is None, wanted a string"),
    (row(("user", "p"), ("assistant", [{"text": "a"}])), "message 2: content is .*wanted a string"),
    (row(("user", "p"), ("assistant", " \n")), "message 2 of role 'assistant' is empty"),
    (row(("user", ""), ("assistant", "a")), "message 1 of role 'user' is empty"),
    (row(("system", "s"), ("user", "p")), "no message of the assistant"),
    (row(("user", "p"), ("system", "s"), ("assistant", "a")), "message 2 is of role 'system'"),
    ({"prompt": "p", "response": 2}, "message 2: content is 2, wanted a string"),
    ('{"prompt": "p", "prompt": "q", "response": "2"}\n', r"keys \['prompt'\] are given twice"),
  ],
)
def test_a_broken_line_is_named_by_its_file_and_number(tmp_path, line, message):
  with pytest.raises(ValueError, match=rf"chats\.jsonl:2: .*{message}"):
    conversations.load(write(tmp_path, PAIR, line))


def test_five_broken_lines_are_told_and_the_rest_counted(tmp_path):
  with pytest.raises(ValueError, match="and 2 more") as error:
    conversations.load(write(tmp_path, *[{"prompt": "p"}] * 7))
  assert [line.split(":")[1] for line in str(error.value).splitlines()[:-1]] == list("12345")


def test_a_file_without_conversations_or_no_file_at_all_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"chats\.jsonl: no conversation in it; wanted"):
    conversations.load(write(tmp_path, "\n\n"))
  for name in ("absent.jsonl", "."):
    with pytest.raises(ValueError, match="no such file; wanted"):
      conversations.load(tmp_path / name)


# Held out ----------------------------------------------------------------------------------------


def test_prompts_are_held_out_as_the_questions_are():
  """A prompt that RL holds out is not learned by heart in the cold start before it."""
  asked = [f"{i} + {i % 7} ?" for i in range(300)]
  train, held = conversations.hold_out([chat(("user", p), ("assistant", "a")) for p in asked], 0.1)
  given = [questions.Question(id=p, prompt=p, answer="1") for p in asked]
  wanted = questions.hold_out(given, 0.1)
  assert [c.prompt for c in train] == [q.prompt for q in wanted[0]]
  assert [c.prompt for c in held] == [q.prompt for q in wanted[1]]


def test_a_share_that_leaves_a_side_empty_is_refused_and_none_holds_nothing_out():
  one = [chat(("user", "p"), ("assistant", "a"))]
  assert conversations.hold_out(one, 0) == (one, [])
  with pytest.raises(
    ValueError, match="1 conversations leave 1 to train and 0 to hold out at a sh"
  ):
    conversations.hold_out(one, 1e-9)
  with pytest.raises(ValueError, match="leave 0 to train and 1 to hold out"):
    conversations.hold_out(one, 1.0)


def test_the_digest_is_of_what_is_said_and_not_of_where_it_stood():
  one = chat(("user", "p"), ("assistant", "a"))
  moved = dataclasses.replace(one, origin="elsewhere:1")
  assert conversations.digest([one]) == conversations.digest([moved])
  others = [
    [chat(("user", "p"), ("assistant", "b"))],
    [chat(("tool", "p"), ("assistant", "a"))],
    [one, one],
  ]
  assert len({conversations.digest(given) for given in ([one], *others)}) == 4


# The world ---------------------------------------------------------------------------------------


def test_the_world_s_solutions_are_right_well_formed_and_checked():
  made = conversations.from_world(tiny.WORLD, count=60, seed=3)
  assert len(made) == 60
  slips = 0
  for conversation in made:
    asked, said = conversation.messages
    problem = re.fullmatch(r"what is (\d+(?: [+-] \d+)+) \?", asked.content)
    assert problem, asked
    answer = re.fullmatch(r"<think>first .*check .*</think><answer>(\d+)</answer>", said.content)
    assert answer, said
    assert int(answer[1]) == eval(problem[1])  # digits and signs alone
    slips += "wait" in said.content
  assert 0 < slips < 60, "what is caught is shown"


def test_the_world_s_solutions_are_of_training_problems_and_follow_their_seed():
  made = conversations.from_world(tiny.WORLD, count=40, seed=3)
  for conversation in made:
    text = conversation.prompt.removeprefix("what is ").removesuffix(" ?")
    numbers, signs = tuple(map(int, re.findall(r"\d+", text))), "".join(re.findall(r"[+-]", text))
    assert arithmetic.split_of(arithmetic.Problem(numbers, signs, 0), tiny.WORLD) == "train"
  more = conversations.from_world(tiny.WORLD, count=50, seed=3)
  assert more[:40] == made
  assert conversations.from_world(tiny.WORLD, count=40, seed=4) != made


# Tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", templates.NAMES)
def test_one_turn_is_the_prompt_that_sampling_starts_from_and_its_answer(template):
  """Trained and sampled prompts are the same ids (verl #3720), and the end is learned."""
  prompt, said = "what is 3 + 4 ?", "<think>\nfirst 3 + 4 = 7</think><answer>7</answer>"
  tokens, scored = conversations.encode(
    WORDS, template, chat(("user", prompt), ("assistant", said))
  )
  before = templates.encode(WORDS, template, prompt)
  answer = [*WORDS.encode(said.removeprefix(templates.opened(template))), EOS]
  assert tokens.tolist() == before + answer
  assert scored.tolist() == [False] * len(before) + [True] * len(answer)
  assert tokens.tolist().count(WORDS.bos) == 1
  assert tokens[0] == WORDS.bos


def test_a_page_of_the_world_has_the_tokens_that_pre_training_gave_it():
  page = next(
    page
    for page in arithmetic.documents(dataclasses.replace(tiny.WORLD, worked=0.0), seed=1)
    if "</answer>" in page.response
  )
  asked = page.prompt.removeprefix("User: ").removesuffix(" Assistant:")
  given = chat(("user", asked), ("assistant", page.response))
  tokens, _ = conversations.encode(WORDS, "short", given)
  assert tokens.tolist() == arithmetic.tokens(WORDS, page)


def test_every_turn_of_the_assistant_is_scored_with_its_end_and_nothing_else():
  """slime #1563: a mask of the last turn alone, or of the marks too."""
  given = chat(
    ("system", "be brief."),
    ("user", "1 + 1 ?"),
    ("assistant", "it is 2"),
    ("user", "2 + 2 ?"),
    ("assistant", "it is 4"),
  )
  assert marked(given) == [
    (False, f"be brief.{U}1 + 1 ?{A}"),
    (True, "it is 2|"),
    (False, f"{U}2 + 2 ?{A}"),
    (True, "it is 4|"),
  ]


def test_a_thought_that_the_template_opens_is_not_opened_twice_and_stays_in_earlier_turns():
  """Templates that strip what is before </think> leave nothing of a thought to learn."""
  given = chat(
    ("user", "a"),
    ("assistant", "<think>\nhm</think>b"),
    ("user", "c"),
    ("assistant", "<think>so</think>d"),
    ("user", "hi"),
    ("assistant", "no thought"),
  )
  assert marked(given) == [
    (False, f"{U}a{A}<think>\n"),
    (True, "hm</think>b|"),
    (False, f"{U}c{A}<think>\n"),
    (True, "so</think>d|"),
    (False, f"{U}hi{A}"),
    (True, "no thought|"),
  ]


def test_the_other_templates_leave_the_answer_as_it_is():
  given = chat(("user", "a"), ("assistant", "\n<think>\nhm</think>b"))
  assert marked(given, "short") == [
    (False, "User: a Assistant:"),
    (True, "\n<think>\nhm</think>b|"),
  ]


def test_what_tools_say_is_read_and_not_learned():
  given = chat(
    ("user", "a"), ("assistant", "call"), ("tool", "{1}"), ("tool", "2"), ("assistant", "3")
  )
  begin, end = (f"<\uff5ctool\u2581outputs\u2581{w}\uff5c>" for w in ("begin", "end"))
  one, stop = (f"<\uff5ctool\u2581output\u2581{w}\uff5c>" for w in ("begin", "end"))
  outputs = f"{begin}{one}{{1}}{stop}\n{one}2{stop}{end}"
  said = marked(given)
  assert [flag for flag, _ in said] == [False, True, False, True]
  # The tokenizer writes U+2581 as a space.
  assert said[2][1] == outputs.replace("\u2581", " ")
  assert (said[1][1], said[3][1]) == ("call|", "3|")


def test_what_follows_the_last_answer_is_left_out():
  first = chat(("user", "a"), ("assistant", "b"))
  longer = chat(("user", "a"), ("assistant", "b"), ("user", "c"))
  for one, other in zip(*(conversations.encode(WORDS, "chat", c) for c in (first, longer))):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("template", ["short", "r1_zero"])
def test_a_template_of_one_turn_refuses_more_by_file_and_line(template):
  given = chat(("system", "s"), ("user", "a"), ("assistant", "b"))
  with pytest.raises(ValueError, match=r"set\.jsonl:7: messages of \['system', 'user', 'assista"):
    conversations.encode(WORDS, template, given)


def test_an_unknown_template_is_told_with_those_that_are():
  with pytest.raises(ValueError, match="unknown template 'chatml'; there are r1_zero, short, chat"):
    conversations.encode(WORDS, "chatml", chat(("user", "a"), ("assistant", "b")))


def test_a_tokenizer_without_begin_of_text_gets_none():
  plain = dataclasses.replace(WORDS, bos=None)
  given = chat(("user", "a"), ("assistant", "b"))
  tokens, scored = conversations.encode(plain, "short", given)
  with_begin, flags = conversations.encode(WORDS, "short", given)
  np.testing.assert_array_equal(tokens, with_begin[1:])
  np.testing.assert_array_equal(scored, flags[1:])


def test_of_several_ends_the_first_is_learned():
  """TRL #7039: sampling stops at any of them, so one is enough, and it is always the same."""
  several = dataclasses.replace(WORDS, eos=(EOS, 5, 6))
  given = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
  for one, other in zip(*(conversations.encode(t, "chat", given) for t in (WORDS, several))):
    np.testing.assert_array_equal(one, other)


def test_a_message_that_brings_its_own_begin_of_text_is_refused():
  """open-r1 #462, vLLM #27486: a chat that was rendered before it was given."""

  def reads_control_texts(text):
    parts = text.split("<s>")
    return [i for n, part in enumerate(parts) for i in ([WORDS.bos] * (n > 0) + WORDS.encode(part))]

  tokenizer = dataclasses.replace(WORDS, encoder=reads_control_texts)
  with pytest.raises(ValueError, match=r"set\.jsonl:7: begin of text stands 2 times"):
    conversations.encode(tokenizer, "short", chat(("user", "<s>a"), ("assistant", "b")))
  conversations.encode(tokenizer, "short", chat(("user", "a"), ("assistant", "b")))


def test_conversations_that_do_not_fit_are_refused_with_their_number_and_the_first():
  short, long = (
    chat(("user", "a"), ("assistant", "b")),
    chat(("user", "a"), ("assistant", "b" * 99)),
  )
  longest = len(conversations.encode(WORDS, "short", short)[0])
  given = [short, dataclasses.replace(long, origin="set.jsonl:8"), long, short]
  arguments = {"longest": longest, "overlong": "refuse"}
  with pytest.raises(ValueError, match=rf"^set\.jsonl:8: \d+ tokens, {longest} fit .* 2 of 4 con"):
    conversations.encode_all(WORDS, "short", given, **arguments)
  kept, dropped = conversations.encode_all(
    WORDS, "short", given, **arguments | {"overlong": "drop"}
  )
  assert (len(kept), dropped) == (2, 2)
  with pytest.raises(ValueError, match=r"2 of 2 conversations are too long: .*shorten these$"):
    conversations.encode_all(WORDS, "short", [long] * 2, **arguments | {"overlong": "drop"})
  with pytest.raises(ValueError, match="overlong='cut': choose one of refuse, drop"):
    conversations.encode_all(WORDS, "short", given, **arguments | {"overlong": "cut"})
