"""metrics.jsonl and TensorBoard events: one JSON object per logged step."""

import json
import pathlib

import tensorboardX

UNSTEADY = ("time/", "throughput/")  # what a second identical run may differ in


def keep_until(path: pathlib.Path, step: int) -> None:
  """Cuts a jsonl file back to the lines up to `step`, so that a resumed run repeats none."""
  if not path.exists():
    return
  lines = [line for line in path.read_text().splitlines() if line]
  kept = [line for line in lines if json.loads(line)["step"] <= step]
  path.write_text("".join(line + "\n" for line in kept))


def append(path: pathlib.Path, record: dict) -> None:
  """Adds one line."""
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(path: pathlib.Path) -> list[dict]:
  """All records of a metrics.jsonl."""
  return [json.loads(line) for line in path.read_text().splitlines() if line]


def log(folder: pathlib.Path, writer: tensorboardX.SummaryWriter, step: int, values: dict) -> None:
  """One step's metrics to both places; values are numbers."""
  values = {name: float(value) for name, value in sorted(values.items())}
  append(folder / "metrics.jsonl", {"step": step} | values)
  for name, value in values.items():
    writer.add_scalar(name.replace("@", "_at_"), value, step)


def steady(record: dict) -> dict:
  """The part of a record that a second run on the same machine repeats bit for bit."""
  return {k: v for k, v in record.items() if not k.startswith(UNSTEADY)}
