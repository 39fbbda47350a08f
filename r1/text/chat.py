"""Chat templates: messages to text, to ids, and to the tokens that training may score.

The template is the Jinja text of a checkpoint's files; given the same messages, it writes here
what transformers writes.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from r1.text import jinja
from r1.text import tokenizer as tokenizers

Message = Mapping[str, Any]
THINK = "<think>"
REASONING = ("reasoning_content", "thinking", "reasoning")  # names of a thought beside `content`
# Code points that Unicode keeps out of text for good, free to mark places in it.
MARKS = tuple(map(chr, range(0xFDD0, 0xFDF0)))


def pick(tokenizer: tokenizers.Tokenizer, name: str = "default") -> str:
  """The template of that name which came with the tokenizer."""
  if name not in tokenizer.templates:
    there = ", ".join(sorted(tokenizer.templates)) or "none"
    raise ValueError(f"the tokenizer has no chat template {name!r} (there are: {there}); give one")
  return tokenizer.templates[name]


def render(
  template: str,
  messages: Sequence[Message],
  *,
  tools: Sequence[Mapping] | None = None,
  documents: Sequence[Mapping] | None = None,
  add_generation_prompt: bool,
  bos: str | None,
  eos: str | None,
  **extra,
) -> str:
  """The conversation as text: transformers' `apply_chat_template(tokenize=False)`.

  tools: JSON schemas. bos, eos: the texts that the template knows as bos_token and eos_token.
  extra: any other variable of the template; one named strftime_now stands in for today's date.

  Raises ValueError where there are no messages, or the template is broken or refuses them.
  """
  import jinja2

  if not messages:
    raise ValueError("the conversation has no messages; give at least one")
  known = {"bos_token": bos, "eos_token": eos}
  given = {name: text for name, text in known.items() if text is not None} | extra
  given["messages"] = [_message(message) for message in jinja.plain(messages)]
  given |= {"tools": jinja.plain(tools), "documents": jinja.plain(documents)}
  given["add_generation_prompt"] = add_generation_prompt
  try:
    return jinja.compiled(template).render(given)
  except jinja2.TemplateSyntaxError as error:
    raise ValueError(f"chat template, line {error.lineno}: {error.message}") from error
  except Exception as error:  # the template's program, so any fault is its refusal
    roles = [message.get("role") for message in messages]
    raise ValueError(f"the chat template refuses messages of roles {roles}: {error}") from error


def _message(message: dict) -> dict:
  """Without what is None, which templates write as "None"; a thought goes by its usual names."""
  thoughts = [message[name] for name in REASONING if message.get(name) is not None]
  named = {"thinking": thoughts[0]} if thoughts else {}
  usual = {"reasoning_content": thoughts[0]} if thoughts else {}
  return named | {key: value for key, value in message.items() if value is not None} | usual


def encode_chat(
  tokenizer: tokenizers.Tokenizer,
  template: str,
  messages: Sequence[Message],
  *,
  add_generation_prompt: bool = False,
  **given,
) -> tuple[list[int], list[bool]]:
  """(ids, whether the model wrote them); the latter by the template's generation blocks.

  Begin of text comes exactly once where the tokenizer has one, whether the template writes it
  (twice in open-r1 #462 and vLLM #27486) or not (not at all in marin #7179).
  given: `tools`, `documents` and other variables of the template, as for `render`.
  """
  script = _script(tokenizer, template, messages, given)
  text, spans = _blocks(script, messages, add_generation_prompt)
  ids, ranges = _encode(script, text, spans)
  return ids, _inside(ranges, len(ids))


def encode_conversation(
  tokenizer: tokenizers.Tokenizer,
  template: str,
  messages: Sequence[Message],
  *,
  last_only: bool = False,
  **given,
) -> tuple[list[int], list[bool]]:
  """(tokens, scored): what the assistant wrote is scored, with the end of each turn.

  Its turns are the template's {% generation %} blocks; without any, turn i is what
  `messages[:i + 1]` adds to `messages[:i]` with its generation prompt. What follows the end of a
  turn (ChatML's newline) is not scored. A conversation that ends in a turn without any end of
  text gets one. Each turn is encoded apart from its prompt, so that the prompt's ids are those
  that `encode_chat(..., add_generation_prompt=True)` gives a sampler.

  last_only: scores the last assistant turn alone and leaves out what follows it. It serves
  templates that rewrite turns, as R1's does, which drops their thoughts: the history is as the
  template has it, and the last turn is its content, word for word, behind the prompt.

  Raises ValueError where there is no assistant turn to score, or the template rewrites one.
  """
  turns = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
  if not turns:
    raise ValueError("the conversation has no assistant turn to score; add one, or leave it out")
  if turns[0] == 0:
    raise ValueError("the conversation begins with the assistant; something has to be asked first")
  messages = messages[: turns[-1] + 1] if last_only else messages
  script = _script(tokenizer, template, messages, given)
  text, spans = _blocks(script, messages, False)
  if spans and last_only:
    spans = spans[len(_blocks(script, messages[:-1], False)[1]) :]
    if not spans:
      raise ValueError("the chat template has no generation block for the last assistant turn")
  elif last_only:
    text, spans = _last_turn(script, text, messages)
  elif not spans:
    spans = [_turn(script, text, messages, i) for i in turns]
  ids, ranges = _encode(script, text, spans)
  scored = _inside([_to_the_end(ids, span, tokenizer.eos) for span in ranges], len(ids))
  if turns[-1] == len(messages) - 1 and not set(ids[ranges[-1][0] :]) & set(tokenizer.eos):
    ids, scored = [*ids, tokenizer.eos[0]], [*scored, True]
  return ids, scored


def opened(prompt: str) -> str:
  """What of the answer a prompt has written already: "<think>" with its white space, or nothing.

  It counts as part of the response for rewards, and an answer must not repeat it.
  """
  start = prompt.rfind(THINK)
  return prompt[start:] if start >= 0 and prompt[start:].strip() == THINK else ""


# Text ------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Script:
  """How one conversation is written with one template, and its text read back as ids."""

  tokenizer: tokenizers.Tokenizer
  template: str
  given: dict[str, Any]  # the template's variables
  bos: str  # the text that stands for begin of text; empty where there is none
  controls: dict[str, int]  # marks that stand for an id
  opens: str  # marks around what the model writes
  closes: str


def _script(tokenizer, template: str, messages, given: Mapping[str, Any]) -> _Script:
  said = json.dumps([messages, given], ensure_ascii=False, default=str) + template
  free = [mark for mark in MARKS if mark not in said]
  if len(free) < 4:
    raise ValueError(
      "the messages hold most of U+FDD0 to U+FDEF, which are no characters: clean them"
    )
  names, controls = dict(tokenizer.names), {}
  # SentencePiece keeps its control ids out of reach of any text; a mark stands in for them.
  own = (("bos_token", tokenizer.bos, free[2]), ("eos_token", tokenizer.eos[0], free[3]))
  for name, i, mark in own:
    if i is not None and tokenizer.encode(tokenizer.piece(i)) != [i]:
      names[name], controls[mark] = mark, i
  bos = "" if tokenizer.bos is None else names.get("bos_token", tokenizer.piece(tokenizer.bos))
  return _Script(
    tokenizer=tokenizer,
    template=template,
    given={"bos_token": None, "eos_token": None, **names, **given},
    bos=bos,
    controls=controls,
    opens=free[0],
    closes=free[1],
  )


def _text(script: _Script, messages: Sequence[Message], prompt: bool, **marks) -> str:
  given = script.given | marks
  bos, eos = given.pop("bos_token"), given.pop("eos_token")
  return render(script.template, messages, add_generation_prompt=prompt, bos=bos, eos=eos, **given)


def _blocks(
  script: _Script, messages: Sequence[Message], prompt: bool
) -> tuple[str, list[tuple[int, int]]]:
  """(the text, the places of its generation blocks), found by writing it with marks around them."""
  text = _text(script, messages, prompt)
  if not re.search(r"\{%[-+]?\s*generation\b", script.template):
    return text, []
  marked = _text(
    script, messages, prompt, **{jinja.OPENS: script.opens, jinja.CLOSES: script.closes}
  )
  kept, spans, at, start = "", [], 0, 0
  for part in re.split(f"([{script.opens}{script.closes}])", marked):
    if part == script.opens:
      start = at
    elif part == script.closes:
      spans.append((start, at))
    else:
      kept += part
      at += len(part)
  if kept != text:
    raise ValueError(
      "the chat template works on the text of its generation blocks after they end, so their place"
      " cannot be told; put {% generation %} around what is written out"
    )
  return text, spans


def _turn(script: _Script, text: str, messages: Sequence[Message], i: int) -> tuple[int, int]:
  """The place in `text` of what the model writes as message i."""
  prompt, whole = _text(script, messages[:i], True), _text(script, messages[: i + 1], False)
  fault = None
  if not whole.startswith(prompt):
    fault = "does not begin with the prompt that the template gives for it"
  elif not _keeps(whole[len(prompt) :], messages[i]):
    fault = "comes out without all of its content (templates may drop thoughts)"
  elif not text.startswith(whole):
    fault = "comes out otherwise once further turns follow (templates may drop thoughts)"
  if fault:
    raise ValueError(
      f"message {i}, an assistant turn, {fault}, so what the model would have to write is not in"
      " the text; pass last_only=True to score the last turn alone, word for word, or give a"
      " template that marks what to score with {% generation %}"
    )
  return len(prompt), len(whole)


def _last_turn(
  script: _Script, text: str, messages: Sequence[Message]
) -> tuple[str, list[tuple[int, int]]]:
  """(the text, the last turn's place): the template's where it keeps the turn, else verbatim."""
  prompt = _text(script, messages[:-1], True)
  if text.startswith(prompt) and _keeps(text[len(prompt) :], messages[-1]):
    return text, [(len(prompt), len(text))]
  content = messages[-1].get("content")
  if not isinstance(content, str):
    raise ValueError(
      f"message {len(messages) - 1}, the last assistant turn, is rewritten by the template, and its"
      f" content is {content!r}: without a text there is nothing to take word for word"
    )
  if opened(prompt) and content.lstrip().startswith(THINK):
    content = content.lstrip().removeprefix(THINK)
    content = content.removeprefix("\n") if prompt.endswith("\n") else content
  return prompt + content, [(len(prompt), len(prompt + content))]


def _keeps(written: str, message: Message) -> bool:
  """Whether all of a message is there; templates may trim and space it as they like."""
  content = message.get("content")
  return not isinstance(content, str) or "".join(content.split()) in "".join(written.split())


# Ids -------------------------------------------------------------------------------------------


def _encode(
  script: _Script, text: str, spans: Sequence[tuple[int, int]]
) -> tuple[list[int], list[tuple[int, int]]]:
  """(ids, the places of the spans in them): spans are encoded apart, begin of text comes once."""
  tokenizer, ids, ranges, at = script.tokenizer, [], [], 0
  for start, stop in spans:
    ids += _ids(script, text[at:start])
    ranges.append((len(ids), len(ids) + len(written := _ids(script, text[start:stop]))))
    ids += written
    at = stop
  ids += _ids(script, text[at:])
  leading = next((n for n, i in enumerate(ids) if i != tokenizer.bos), len(ids))
  lacking = tokenizer.needs_bos and not text.lstrip().startswith(script.bos)
  wanted = int(leading > 0 or lacking)
  shift = wanted - leading
  bos = [] if tokenizer.bos is None else [tokenizer.bos]
  return bos * wanted + ids[leading:], [
    (max(start + shift, wanted), stop + shift) for start, stop in ranges
  ]


def _ids(script: _Script, text: str) -> list[int]:
  """The text's ids, with those that only a mark can stand for."""
  if not script.controls:
    return script.tokenizer.encode(text)
  ids: list[int] = []
  for part in re.split(f"([{''.join(script.controls)}])", text):
    ids += [script.controls[part]] if part in script.controls else script.tokenizer.encode(part)
  return ids


def _inside(ranges: Sequence[tuple[int, int]], size: int) -> list[bool]:
  inside = [False] * size
  for start, stop in ranges:
    inside[start:stop] = [True] * (stop - start)
  return inside


def _to_the_end(ids: Sequence[int], turn: tuple[int, int], eos: Sequence[int]) -> tuple[int, int]:
  """A turn's tokens up to its end of text, which may stand right behind it."""
  start, stop = turn
  if ends := [j for j in range(start, stop) if ids[j] in eos]:
    return start, ends[-1] + 1
  return start, stop + (stop < len(ids) and ids[stop] in eos)
