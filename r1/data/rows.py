"""Rows of a file, read to the end before anything is made of them: all that is wrong is told."""

import collections
import gzip
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

SHOWN = 5  # broken rows that an error tells of

Row = tuple[int, dict | ValueError]  # its number, counted from 1; what it holds or what is wrong
Record = TypeVar("Record")


def lines(path: pathlib.Path) -> Iterator[Row]:
  """The JSON values of a .jsonl or .jsonl.gz file; empty lines are passed over."""
  opened = gzip.open if path.suffix == ".gz" else open
  with opened(path, "rb") as file:
    for number, raw in enumerate(file, 1):
      try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if text:
          yield number, json.loads(text, object_pairs_hook=_once)
      except UnicodeDecodeError:
        yield number, ValueError("not UTF-8")
      except json.JSONDecodeError as error:
        yield number, ValueError(f"not JSON: {error.msg} at column {error.colno}")
      except ValueError as error:
        yield number, error


def _once(pairs: list[tuple[str, object]]) -> dict:
  counts = collections.Counter(key for key, _ in pairs)
  if twice := sorted(key for key, count in counts.items() if count > 1):
    raise ValueError(f"keys {twice} are given twice")
  return dict(pairs)


def collect(
  rows: Iterable[Row], make: Callable[[int, dict], Record], *, name: str, what: str, wanted: str
) -> list[Record]:
  """[make(number, row), ...]. For errors, name: of the file; what: a record is; wanted: of a row.

  Raises ValueError "NAME:NUMBER: what is wrong" for rows that cannot be read and those that `make`
  refuses with a ValueError, up to five at once, and for a file without rows.
  """
  found, wrong = [], []
  for number, row in rows:
    try:
      if isinstance(row, ValueError):
        raise row
      if not isinstance(row, dict):
        raise ValueError(f"a JSON {type(row).__name__}, wanted {wanted}")
      found.append(make(number, row))
    except ValueError as error:
      wrong.append(f"{name}:{number}: {error}")
  if wrong:
    rest = f"\n… and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    raise ValueError("\n".join(wrong[:SHOWN]) + rest)
  if not found:
    raise ValueError(f"{name}: no {what} in it; wanted {wanted} in each row")
  return found
