"""What reward models learn from: pairs of answers, one preferred, and answers called safe or not.

A file is read and checked as a whole before anything is computed with it. Answers are whole
responses, thoughts included; what of them a reward model sees is its own business.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import TypeVar

from r1.data import rows

SAFE, UNSAFE = "safe", "unsafe"
ANSWERS = ("chosen", "rejected", "response")  # which may be blank: a policy may say nothing
WANTED = "an object with 'prompt', and 'chosen' and 'rejected', or 'response' and 'label'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
  """Two answers to one prompt. gap: the judges' mean verdict, from 0 to 2; 0 where none is told.

  unseen: of prompts whose like no reward model learns from; they are only looked at.
  """

  id: str
  prompt: str
  chosen: str
  rejected: str
  gap: float = 0.0
  unseen: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
  """One answer, safe or unsafe."""

  id: str
  prompt: str
  response: str
  label: str
  unseen: bool = False

  def __post_init__(self):
    if self.label not in (SAFE, UNSAFE):
      raise ValueError(f"label={self.label!r}: wanted {SAFE} or {UNSAFE}")


Record = TypeVar("Record", Pair, Labelled)


def load(path: str | os.PathLike) -> tuple[list[Pair], list[Labelled]]:
  """(pairs, labelled answers) of a file (.jsonl or .jsonl.gz), in which both may stand.

  ids default to `<stem>/<line number>`. Raises ValueError "FILE:LINE: what is wrong" for broken
  lines, up to five at once, and for a file without any.
  """
  name = os.fspath(path)
  if not pathlib.Path(name).is_file():
    raise ValueError(f"{name}: no such file; wanted .jsonl or .jsonl.gz, in each line {WANTED}")
  stem = pathlib.Path(name).name.split(".")[0]

  def make(number: int, row: dict) -> Pair | Labelled:
    return _record({"id": f"{stem}/{number}"} | row)

  given = rows.lines(pathlib.Path(name))
  found = rows.collect(given, make, name=name, what="pair or label", wanted=WANTED)
  pairs = [record for record in found if isinstance(record, Pair)]
  return pairs, [record for record in found if isinstance(record, Labelled)]


def _record(row: dict) -> Pair | Labelled:
  kind = Pair if "chosen" in row or "rejected" in row else Labelled
  fields = {field.name: field for field in dataclasses.fields(kind)}
  if unknown := sorted(set(row) - set(fields)):
    raise ValueError(f"unknown keys {unknown}; wanted {WANTED}")
  for name, field in fields.items():
    if name not in row and field.default is dataclasses.MISSING:
      raise ValueError(f"no {name!r}; wanted {WANTED}")
    if field.type is not str:
      continue
    if not isinstance(row[name], str) or not (row[name].strip() or name in ANSWERS):
      raise ValueError(f"{name} is {row[name]!r}, wanted a text in quotes")
  if not isinstance(row.get("unseen", False), bool):
    raise ValueError(f"unseen is {row['unseen']!r}, wanted true or false")
  if type(row.get("gap", 0)) not in (int, float):
    raise ValueError(f"gap is {row['gap']!r}, wanted a number")
  return kind(**row)


def write(path: pathlib.Path, records: Sequence[Pair] | Sequence[Labelled]) -> None:
  """One JSON object a line; `load` reads it back. The file appears whole or not at all."""
  draft = path.with_name(path.name + ".part")
  lines = [json.dumps(dataclasses.asdict(record), ensure_ascii=False) for record in records]
  draft.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
  draft.replace(path)


def digest(records: Sequence[Pair] | Sequence[Labelled]) -> str:
  """sha256 of a list of pairs or labelled answers, for lineage.json."""
  total = hashlib.sha256()
  for record in records:
    total.update(json.dumps(dataclasses.asdict(record), ensure_ascii=False).encode())
  return total.hexdigest()


def hold_out(records: Sequence[Record], share: float) -> tuple[list[Record], list[Record]]:
  """(train, held out) by a digest of the prompt; what is unseen is held out, whatever its prompt.

  Another digest than the crc32 that divides the world's prompts: of its training prompts that one
  would hold out none.
  Raises ValueError where nothing is left to learn from.
  """
  place = lambda prompt: int(hashlib.sha256(prompt.encode()).hexdigest()[:8], 16) / 16**8
  out = [r.unseen or place(r.prompt) < share for r in records]
  train = [record for record, held in zip(records, out) if not held]
  if not train:
    raise ValueError(
      f"{len(records)} records leave none to learn from at a share of {share} held out; give more"
    )
  return train, [record for record, held in zip(records, out) if held]


def check_classes(records: Sequence[Labelled], where: str) -> None:
  """Raises ValueError unless both classes are there: one alone teaches nothing."""
  counts = {label: sum(r.label == label for r in records) for label in (SAFE, UNSAFE)}
  if not all(counts.values()):
    raise ValueError(
      f"{where}: {counts[SAFE]} answers are safe and {counts[UNSAFE]} unsafe; a safety model needs "
      "both classes: sample more answers, at a higher temperature, or give another data set"
    )


def balance(
  pairs: Sequence[Pair], lengths: Sequence[tuple[int, int]], most: float
) -> tuple[list[Pair], list[Pair]]:
  """(kept, dropped): chosen answers that are on average about as long as rejected ones.

  lengths: (chosen, rejected) of each pair. most: the largest |mean chosen - mean rejected| as a
  share of the mean length. While it is more, the pair goes that tilts the set most; so no reward
  model learns that long is good, or short (arXiv 2501.12948v2 section 3.1).
  """
  gaps = [chosen - rejected for chosen, rejected in lengths]
  order = sorted(range(len(pairs)), key=lambda i: (gaps[i], i))
  total, size, dropped = sum(gaps), sum(map(sum, lengths)), set()
  # Mean gap over mean length: (total / n) / (size / 2n).
  while 2 * abs(total) > most * size:
    i = order.pop(-1 if total > 0 else 0)
    total, size = total - gaps[i], size - sum(lengths[i])
    dropped.add(i)
  kept = [pair for i, pair in enumerate(pairs) if i not in dropped]
  return kept, [pairs[i] for i in sorted(dropped)]
