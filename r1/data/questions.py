"""Questions, and where they are read from: JSONL, GSM8K's own files, TFDS directories.

A file is read and checked as a whole before anything is computed with it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

from r1.data import rows as files

KINDS = ("maths", "code", "choice", "short", "logic", "helpful", "safety")
GENERAL = ("helpful", "safety")  # kinds without a rule: general prompts
ANSWERED = ("maths", "choice", "short", "logic")  # kinds that a rule compares with an answer
WANTED = "an object with the key 'prompt'"
GSM8K = {"question", "answer"}
GSM8K_TFDS = {"annotation", "short_answer"}  # what the TFDS builder of GSM8K adds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """One prompt without its template; `kind` picks the verifier. The same keys in JSONL."""

  id: str
  prompt: str
  answer: str | None = None
  kind: str = "maths"
  language: str = "en"
  tests: tuple | None = None
  meta: dict = dataclasses.field(default_factory=dict, hash=False)

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"kind={self.kind!r} is unknown; there are {', '.join(KINDS)}")


def load(path: str | os.PathLike) -> list[Question]:
  """The questions of a file (.jsonl, .jsonl.gz) or of a TFDS directory (`PATH` or `PATH@split`).

  ids default to `<stem>/<line number>`. Raises ValueError "FILE:LINE: what is wrong" for broken
  lines, up to five at once, and for a file without questions.
  """
  name = os.fspath(path)
  folder, mark, split = name.rpartition("@")
  if pathlib.Path(name).is_file():
    rows, stem = files.lines(pathlib.Path(name)), pathlib.Path(name).name.split(".")[0]
  elif pathlib.Path(name).is_dir():
    rows, stem = _tfds(name, "train"), "train"
    name = f"{name}@train"
  elif mark and pathlib.Path(folder).is_dir():
    rows, stem = _tfds(folder, split), split
  else:
    raise ValueError(f"{name}: no such file or folder; wanted .jsonl, .jsonl.gz or a TFDS folder")
  return _checked(rows, name, stem)


def _checked(rows: Iterator[files.Row], name: str, stem: str) -> list[Question]:
  seen: dict[str, int] = {}

  def make(number: int, row: dict) -> Question:
    question = _question(row, f"{stem}/{number}")
    if question.id in seen:
      raise ValueError(f"id {question.id!r} is that of line {seen[question.id]} too")
    seen[question.id] = number
    return question

  return files.collect(rows, make, name=name, what="question", wanted=WANTED)


def _question(row: dict, default_id: str) -> Question:
  if set(row) - GSM8K_TFDS == GSM8K:
    return _gsm8k(row, default_id)
  fields = {field.name for field in dataclasses.fields(Question)}
  if unknown := sorted(set(row) - fields):
    raise ValueError(f"unknown keys {unknown}; there are {sorted(fields)}")
  given: dict[str, Any] = {"id": default_id} | {
    key: value for key, value in row.items() if value is not None
  }
  for key in ("id", "prompt", "answer", "kind", "language"):
    if key in given and not isinstance(given[key], str):
      raise ValueError(f"{key} is {given[key]!r}, wanted a string in quotes")
  if not isinstance(given.get("tests", []), list) or not isinstance(given.get("meta", {}), dict):
    raise ValueError("'tests' must be a list and 'meta' an object")
  if not given.get("prompt", "").strip():
    raise ValueError("no 'prompt'")
  if "tests" in given:
    given["tests"] = tuple(given["tests"])
  question = Question(**given)
  if question.kind in ANSWERED and not (question.answer or "").strip():
    raise ValueError(f"no 'answer', which kind {question.kind!r} needs")
  if question.kind == "code" and not question.tests:
    raise ValueError("no 'tests', which kind 'code' needs")
  return question


def _gsm8k(row: dict, default_id: str) -> Question:
  """GSM8K writes its solution, then '#### 1,234'."""
  if not isinstance(row["question"], str) or not isinstance(row["answer"], str):
    raise ValueError("'question' and 'answer' must be strings in quotes")
  _, mark, answer = row["answer"].rpartition("####")
  answer = answer.strip().replace(",", "")
  if not row["question"].strip() or not mark or not answer:
    raise ValueError("looks like GSM8K, but has no question or no answer after '####'")
  return Question(id=default_id, prompt=row["question"], answer=answer)


def _tfds(folder: str, split: str) -> Iterator[files.Row]:
  """Rows of an array_record builder directory: texts, with `tests` and `meta` as JSON texts."""
  if not (pathlib.Path(folder) / "dataset_info.json").is_file():
    raise ValueError(f"{folder}: no dataset_info.json in it, so it is no TFDS builder directory")
  import tensorflow_datasets as tfds  # slow to import, and few need it

  builder: Any = tfds.builder_from_directory(folder)  # its methods hide behind decorators
  try:
    source = builder.as_data_source(split=split)
  except (ValueError, NotImplementedError) as error:
    raise ValueError(
      f"{folder}@{split}: {error}; it has the splits {sorted(builder.info.splits)} and must be"
      " written with file_format='array_record'"
    ) from error
  for number in range(len(source)):
    yield number + 1, _row(source[number])


def _row(row: dict) -> dict | ValueError:
  try:
    texts = {key: v.decode() if isinstance(v, bytes) else v for key, v in row.items()}
    given = {key: v for key, v in texts.items() if not (isinstance(v, str) and not v)}
    return given | {key: json.loads(given[key]) for key in ("tests", "meta") if key in given}
  except UnicodeDecodeError:
    return ValueError("not UTF-8")
  except (TypeError, json.JSONDecodeError) as error:
    return ValueError(f"'tests' and 'meta' must be JSON texts: {error}")


def hold_out(questions: list[Question], share: float) -> tuple[list[Question], list[Question]]:
  """(train, held out): crc32 of the prompt decides, so equal prompts never stand on both sides."""
  held = [q for q in questions if zlib.crc32(q.prompt.encode()) % 10_000 < share * 10_000]
  ids = {q.id for q in held}
  train = [q for q in questions if q.id not in ids]
  if not held or not train:
    raise ValueError(
      f"{len(questions)} questions leave {len(train)} to train and {len(held)} to hold out at a "
      f"share of {share}; give more questions"
    )
  return train, held


def digest(questions: list[Question]) -> str:
  """sha256 of a list of questions, for lineage.json."""
  total = hashlib.sha256()
  for question in questions:
    total.update(json.dumps(dataclasses.asdict(question), ensure_ascii=False).encode())
  return total.hexdigest()
