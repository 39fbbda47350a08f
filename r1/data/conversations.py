"""Conversations to imitate: read from JSONL, made from the world of arithmetic, turned to tokens.

A file is read and checked as a whole before anything is computed with it.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Sequence

import numpy as np

from r1.data import rows
from r1.data.worlds import arithmetic
from r1.text import chat, templates
from r1.text import tokenizer as tokenizers

ROLES = ("system", "user", "assistant", "tool")
OVERLONG = ("refuse", "drop")
OWN = "own"  # the template that came with the tokenizer
PAIR = {"prompt", "response"}
FREE = {"id", "meta"}  # keys that a line may carry for its owner's sake

Tokens = tuple[np.ndarray, np.ndarray]  # ids; may the loss count this token?

# The marks of the released R1's chat form, whose single turn is templates.CHAT.
HEAD, TAIL = templates.CHAT.split("{prompt}")
USER = HEAD.removeprefix(templates.BOS_TEXT)
ASSISTANT = TAIL.removesuffix(templates.opened("chat"))
OUTPUT = "<\uff5ctool\u2581output\u2581begin\uff5c>{}<\uff5ctool\u2581output\u2581end\uff5c>"
OUTPUTS = "<\uff5ctool\u2581outputs\u2581begin\uff5c>{}<\uff5ctool\u2581outputs\u2581end\uff5c>"


@dataclasses.dataclass(frozen=True)
class Message:
  role: str
  content: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conversation:
  """Messages in order, one of them at least the assistant's. origin: FILE:LINE, for errors."""

  messages: tuple[Message, ...]
  origin: str

  @property
  def prompt(self) -> str:
    """What the user said first; where nobody asked, what was said first."""
    asked = [m.content for m in self.messages if m.role == "user"]
    return (asked or [self.messages[0].content])[0]


# Reading -----------------------------------------------------------------------------------------


def load(path: str | os.PathLike) -> list[Conversation]:
  """The conversations of a file (.jsonl or .jsonl.gz), one a line.

  A line is {"messages": [{"role": ..., "content": ...}, ...]} or {"prompt": ..., "response": ...}.
  Raises ValueError "FILE:LINE: what is wrong" for broken lines, up to five at once, and for a file
  without conversations.
  """
  name = os.fspath(path)
  if not pathlib.Path(name).is_file():
    raise ValueError(f"{name}: no such file; wanted .jsonl or .jsonl.gz with a conversation a line")

  def make(number: int, row: dict) -> Conversation:
    return Conversation(messages=_messages(row), origin=f"{name}:{number}")

  wanted = "an object with the key 'messages'"
  given = rows.lines(pathlib.Path(name))
  return rows.collect(given, make, name=name, what="conversation", wanted=wanted)


def _messages(row: dict) -> tuple[Message, ...]:
  keys = set(row) - FREE
  if keys == PAIR:
    given = [
      {"role": role, "content": row[key]}
      for role, key in (("user", "prompt"), ("assistant", "response"))
    ]
  elif keys == {"messages"}:
    given = row["messages"]
  else:
    raise ValueError(
      f"the keys {sorted(row)}; wanted 'messages', or 'prompt' and 'response', and besides them "
      f"{' and '.join(sorted(FREE))} at most"
    )
  if not isinstance(given, list) or not given:
    raise ValueError(f"messages={given!r}: wanted a list with at least one message")
  messages = tuple(_message(number, message) for number, message in enumerate(given, 1))
  if not any(m.role == "assistant" for m in messages):
    raise ValueError("no message of the assistant, so there is nothing to learn; leave it out")
  if late := [n for n, m in enumerate(messages, 1) if m.role == "system" and n > 1]:
    raise ValueError(f"message {late[0]} is of role 'system', which comes first or not at all")
  return messages


def _message(number: int, given) -> Message:
  if not isinstance(given, dict) or set(given) != {"role", "content"}:
    keys = sorted(given) if isinstance(given, dict) else given
    raise ValueError(f"message {number} has {keys!r}; wanted the keys 'role' and 'content'")
  role, content = given["role"], given["content"]
  if role not in ROLES:
    raise ValueError(f"message {number}: role={role!r} is unknown; there are {', '.join(ROLES)}")
  if not isinstance(content, str):
    raise ValueError(f"message {number}: content is {content!r}, wanted a string in quotes")
  if role in ("user", "assistant") and not content.strip():
    raise ValueError(f"message {number} of role {role!r} is empty; leave the conversation out")
  return Message(role, content)


def from_world(world: arithmetic.World, *, count: int, seed: int) -> list[Conversation]:
  """`count` training problems of the world with worked solutions that check every step.

  A checked step carries on with the right value, so every answer is right and well-formed; what is
  written wrong at first is caught. Languages, sizes and slips are the world's. Conversation i
  depends on (seed, i) alone. Problems may come twice, as they do on the web.
  """
  solving = dataclasses.replace(
    world,
    worked=0.0,
    malformed=0.0,
    behaviour_en=(0.0, 0.0, 1.0),
    behaviour_zh=(0.0, 0.0, 1.0),
    behaviour_switching=(0.0, 0.0, 1.0),
  )
  before, after = templates.render("short", "\n").split("\n")
  made = []
  for i, page in enumerate(itertools.islice(arithmetic.documents(solving, seed), count)):
    asked = page.prompt.removeprefix(before).removesuffix(after)
    messages = (Message("user", asked), Message("assistant", page.response))
    made.append(Conversation(messages=messages, origin=f"world, seed {seed}:{i}"))
  return made


def hold_out(given: Sequence[Conversation], share: float):
  """(train, held out) by crc32 of the first prompt, as `questions.hold_out` divides questions.

  Equal prompts never stand on both sides, and a prompt that the questions hold out is held out
  here. A share of 0 holds nothing out.
  """
  if share == 0:
    return list(given), []
  held = [zlib.crc32(c.prompt.encode()) % 10_000 < share * 10_000 for c in given]
  if all(held) or not any(held):
    raise ValueError(
      f"{len(given)} conversations leave {len(given) - sum(held)} to train and {sum(held)} to hold "
      f"out at a share of {share}; give more conversations or another share, 0 for none"
    )
  train = [c for c, out in zip(given, held) if not out]
  return train, [c for c, out in zip(given, held) if out]


def digest(given: Sequence[Conversation]) -> str:
  """sha256 of a list of conversations, for lineage.json; where they were read from has no part."""
  total = hashlib.sha256()
  for conversation in given:
    pairs = [(m.role, m.content) for m in conversation.messages]
    total.update(json.dumps(pairs, ensure_ascii=False).encode())
  return total.hexdigest()


# Tokens ------------------------------------------------------------------------------------------


def encode(tokenizer: tokenizers.Tokenizer, template: str, conversation: Conversation) -> Tokens:
  """(tokens, scored): scored are the assistant's own tokens with the end of each of its turns.

  Begin of text stands once, in front. What the template writes, its opening of a thought included,
  is prompt: sampling starts behind the same ids (a prompt and its answer are encoded apart). What
  follows the assistant's last turn is left out. Raises ValueError "FILE:LINE: ...".
  """
  try:
    if template == OWN:
      return _own(tokenizer, conversation.messages)
    turns = _turns(template, conversation.messages)
  except ValueError as error:
    raise ValueError(f"{conversation.origin}: {error}") from error
  bos = tokenizer.bos
  tokens = [] if bos is None else [bos]
  scored = [False] * len(tokens)
  for before, said in turns:
    prompt, answer = tokenizer.encode(before), [*tokenizer.encode(said), tokenizer.eos[0]]
    tokens += prompt + answer
    scored += [False] * len(prompt) + [True] * len(answer)
  if bos is not None and bos not in tokenizer.eos and tokens.count(bos) != 1:
    raise ValueError(
      f"{conversation.origin}: begin of text stands {tokens.count(bos)} times, wanted once, in "
      f"front, where it is put for you (open-r1 #462): take {tokenizer.piece(bos)!r} out of the "
      "messages"
    )
  return np.asarray(tokens, np.int32), np.asarray(scored, bool)


def _own(tokenizer: tokenizers.Tokenizer, messages: Sequence[Message]) -> Tokens:
  """By the chat template that came with the tokenizer; see `chat.encode_conversation`."""
  given = [{"role": m.role, "content": m.content} for m in messages]
  tokens, scored = chat.encode_conversation(tokenizer, chat.pick(tokenizer), given)
  return np.asarray(tokens, np.int32), np.asarray(scored, bool)


def _turns(template: str, messages: Sequence[Message]) -> list[tuple[str, str]]:
  """(all the text since the turn before, what the assistant says) of each turn of the assistant."""
  if template == "chat":
    return _chat(messages)
  roles = [m.role for m in messages]
  if roles != ["user", "assistant"]:
    raise ValueError(
      f"messages of {roles}, but template {template!r} holds one prompt and one answer; "
      "template 'chat' holds any conversation"
    )
  before = templates.render(template, messages[0].content)
  return [_answer(template, before.removesuffix(templates.opened(template)), messages[1].content)]


def _chat(messages: Sequence[Message]) -> list[tuple[str, str]]:
  """Several turns in the released R1's form; thoughts of earlier turns stay where they are."""
  turns, before, outputs = [], "", []
  for message in messages:
    if message.role == "tool":
      outputs.append(OUTPUT.format(message.content))
      continue
    if outputs:
      before += OUTPUTS.format("\n".join(outputs))
    if message.role == "system":
      before += message.content
    elif message.role == "user":
      before += USER + message.content
    elif outputs:  # the answer goes on behind what the tools said
      turns.append((before, message.content))
      before = ""
    else:
      turns.append(_answer("chat", before + ASSISTANT, message.content))
      before = ""
    outputs = []
  return turns


def _answer(template: str, before: str, said: str) -> tuple[str, str]:
  """The template writes the opening of a thought, if it writes one and the answer begins so."""
  opened = templates.opened(template)
  if not opened or not said.startswith(opened.strip()):
    return before, said
  return before + opened, said.removeprefix(opened.strip()).removeprefix("\n")


def encode_all(
  tokenizer: tokenizers.Tokenizer,
  template: str,
  given: Sequence[Conversation],
  *,
  longest: int,
  overlong: str,
) -> tuple[list[Tokens], int]:
  """(tokens of the conversations of at most `longest` tokens, how many longer ones were left out).

  overlong: "refuse" raises ValueError for longer ones, with the first of them; "drop" leaves them
  out. Nothing is ever cut: half a thought would teach that thoughts need no end.
  """
  if overlong not in OVERLONG:
    raise ValueError(f"overlong={overlong!r}: choose one of {', '.join(OVERLONG)}")
  sequences, long = [], []
  for conversation in given:
    tokens, scored = encode(tokenizer, template, conversation)
    if len(tokens) > longest:
      long.append((conversation.origin, len(tokens)))
    else:
      sequences.append((tokens, scored))
  if long and (overlong == "refuse" or not sequences):
    origin, length = long[0]
    raise ValueError(
      f"{origin}: {length} tokens, {longest} fit into a row and the model's context; "
      f"{len(long)} of {len(given)} conversations are too long: lengthen the rows or shorten these"
      + (", or leave these out with overlong=drop" if sequences else "")
    )
  return sequences, len(long)
