"""A data set of conversations that a stage makes and another imitates, in a workdir.

NAME.jsonl holds a conversation a line, tfds/NAME/1.0.0 the same as a TFDS directory, README.md its
card, and dataset.json what whoever reads it must agree to: how the conversations become text.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from r1.algorithms import harvest
from r1.data import array_records, conversations
from r1.data import questions as records
from r1.report import dataset as cards
from r1.text import tokenizer as tokenizers
from r1.train import lineage

ABOUT, CARD, TFDS = "dataset.json", "README.md", "tfds"
DOMAINS = {"maths": "math", "choice": "STEM", "helpful": "general", "safety": "general"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
  """name: of the data set. template, mode: how prompts are asked and what form answers have.

  tokenizer: the identity of that of the model that answered. rows, digest: of the conversations.
  counts: by part, {"kept": n, "dropped": {reason: n}}.
  """

  name: str
  template: str
  mode: str
  tokenizer: dict[str, object]
  rows: int
  digest: str
  counts: dict[str, dict]


def row(
  question: records.Question,
  text: str,
  number: int,
  *,
  source: str,
  tokenizer: tokenizers.Tokenizer,
  template: str,
) -> dict:
  """A line: one question and its answer. number: which of the question's; source: who answered.

  tokens: of the whole conversation.
  """
  messages = [
    {"role": "user", "content": question.prompt},
    {"role": "assistant", "content": text},
  ]
  said = tuple(conversations.Message(m["role"], m["content"]) for m in messages)
  given = conversations.Conversation(messages=said, origin=f"{question.id}/{number}")
  tokens, scored = conversations.encode(tokenizer, template, given)
  meta = {
    "source": source,
    "question": question.id,
    "domain": DOMAINS.get(question.kind, question.kind),
    "language": question.language,
    "sample": number,
    "tokens": len(tokens),
    "answer_tokens": int(scored.sum()),
  }
  return {"id": f"{source}/{question.id}/{number}", "messages": messages, "meta": meta}


def from_file(path: str, *, tokenizer: tokenizers.Tokenizer, template: str) -> list[dict]:
  """Lines for the conversations of somebody's file."""
  found = []
  for number, given in enumerate(conversations.load(path), 1):
    tokens, scored = conversations.encode(tokenizer, template, given)
    meta = {"source": path, "question": given.prompt, "domain": "general"}
    meta |= {"tokens": len(tokens), "answer_tokens": int(scored.sum())}
    messages = [dataclasses.asdict(m) for m in given.messages]
    found.append({"id": f"{path}/{number}", "messages": messages, "meta": meta})
  return found


def publish(
  folder: pathlib.Path,
  name: str,
  lines: Sequence[dict],
  *,
  what: str,
  template: str,
  mode: str,
  tokenizer: tokenizers.Tokenizer,
  counts: Mapping[str, dict],
  parents: Mapping[str, str],
  settings: Mapping[str, object],
) -> About:
  """Writes the data set in all its forms, dataset.json last: without it there is no data set."""
  clashes = [i for i, n in collections.Counter(row["id"] for row in lines).items() if n > 1]
  if clashes:
    raise ValueError(f"{len(clashes)} ids stand for several conversations, such as {clashes[0]!r}")
  file = folder / f"{name}.jsonl"
  _write(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in lines))
  array_records.write(folder / TFDS, name, lines)
  about = About(
    name=name,
    template=template,
    mode=mode,
    tokenizer=tokenizers.identity(tokenizer),
    rows=len(lines),
    digest=conversations.digest(conversations.load(file)),
    counts=dict(counts),
  )
  digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
  text = cards.card(
    name,
    lines,
    what=what,
    counts=counts,
    reasons=harvest.REASONS,
    parents=parents,
    digests=digests | {"the conversations": about.digest},
    settings=settings,
    file=file.name,
    tfds=f"{TFDS}/{name}/1.0.0",
  )
  _write(folder / CARD, text)
  _write(folder / ABOUT, json.dumps(dataclasses.asdict(about), indent=2) + "\n")
  return about


def _write(path: pathlib.Path, text: str) -> None:
  draft = path.with_name(path.name + ".part")
  draft.write_text(text, encoding="utf-8")
  os.replace(draft, path)


def finish(folder: pathlib.Path) -> None:
  """finished.json of a stage whose data set is all that it makes."""
  told = about(folder)
  assert told is not None, "a data set is published first"
  lineage.finish(folder, {told.name: told.digest})


def about(where: str | os.PathLike) -> About | None:
  """What a folder says of its data set; None where it holds none, or `where` is a file."""
  path = pathlib.Path(where or os.devnull) / ABOUT
  return About(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def read(where: str) -> list[conversations.Conversation]:
  """The conversations of a file, or of a finished stage's workdir.

  Raises ValueError for a stage that is not finished and for a folder without a data set.
  """
  if not pathlib.Path(where).is_dir():
    return conversations.load(where)
  lineage.parent(where)
  return rows(pathlib.Path(where))


def rows(folder: pathlib.Path) -> list[conversations.Conversation]:
  """The conversations that `publish` wrote; raises ValueError where others are there, or none."""
  told = about(folder)
  if told is None:
    raise ValueError(f"data={folder} holds no {ABOUT}, so no data set; wanted a file or a workdir")
  file = folder / f"{told.name}.jsonl"
  found = conversations.load(file)
  if conversations.digest(found) != told.digest:
    raise ValueError(
      f"{file} is not what its stage wrote: {len(found)} conversations there, {told.rows} in "
      f"{ABOUT}, or others; make it again, or give the file itself as data="
    )
  return found


def parents(where: str) -> dict[str, str]:
  """The digest of a workdir's data set by its name; a file is no stage's."""
  return {} if about(where) is None else {where: lineage.digest(where)}


def check(where: str, model: str, *, template: str, tokenizer: tokenizers.Tokenizer | None) -> None:
  """Raises ValueError where the data set at `where` was made for another template or tokenizer.

  Names both sides. A file makes no demands. tokenizer: of the model that will imitate; None for a
  student, which reads the same text with a tokenizer of its own.
  """
  told = about(where)
  if told is None:
    return
  if told.template != template:
    raise ValueError(
      f"data={where} was made with template {told.template!r}, but {model} would read it with "
      f"{template!r}: set the same template"
    )
  if tokenizer is not None and told.tokenizer != (own := tokenizers.identity(tokenizer)):
    raise ValueError(
      f"data={where} was made with the tokenizer {told.tokenizer}, but {model} has {own}: start "
      "from the model that it was made from, or distill"
    )
