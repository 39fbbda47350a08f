"""metrics.jsonl and TensorBoard events: one JSON object per logged step."""

import collections
import json
import math
import pathlib

import tensorboardX

UNSTEADY = ("time/", "throughput/")  # what a second identical run may differ in


def keep_until(path: pathlib.Path, step: int) -> None:
  """Cuts a jsonl file back to the lines up to `step`, so that a resumed run repeats none.

  A last line that was not finished goes too.
  """
  if not path.exists():
    return
  kept = [line for line in _lines(path) if json.loads(line)["step"] <= step]
  draft = path.with_name(path.name + ".part")
  draft.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
  draft.replace(path)


def append(path: pathlib.Path, record: dict) -> None:
  """Adds one line."""
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: pathlib.Path) -> list[dict]:
  """All records of a metrics.jsonl."""
  return [json.loads(line) for line in _lines(path)]


def last(path: pathlib.Path, count: int) -> list[dict]:
  """The last records of a jsonl file, however long it is."""
  with path.open(encoding="utf-8", newline="\n") as file:
    return [json.loads(line) for line in collections.deque(file, maxlen=count)]


def _lines(path: pathlib.Path) -> list[str]:
  """Finished lines. A newline alone ends one: a sampled text may hold U+2028 and its like."""
  return path.read_text(encoding="utf-8").split("\n")[:-1]


def log(folder: pathlib.Path, writer: tensorboardX.SummaryWriter, step: int, values: dict) -> None:
  """One step's metrics to both places; what is not finite is null in the JSON."""
  values = {name: float(value) for name, value in sorted(values.items())}
  plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
  append(folder / "metrics.jsonl", {"step": step} | plain)
  for name, value in values.items():
    writer.add_scalar(name.replace("@", "_at_"), value, step)


def steady(record: dict) -> dict:
  """The part of a record that a second run on the same machine repeats bit for bit."""
  return {k: v for k, v in record.items() if not k.startswith(UNSTEADY)}
