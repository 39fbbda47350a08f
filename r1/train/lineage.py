"""Where a run's weights and data came from, and whether it is done: lineage.json, finished.json.

A workdir is one link of a chain: lineage.json names its parents and its data sets with their
digests, finished.json, the last file that a stage writes, names what it made. Digests are of
contents, so a run that was killed and went on has those of one that was not.
"""

import collections
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable

import jax
import numpy as np

from r1 import spec
from r1.model import presets
from r1.train import run, workdir

LINEAGE, FINISHED = "lineage.json", "finished.json"
CARD = "README.md"  # tells of a model and is no part of it
DOWNLOAD = "hf:"


def descend(folder: pathlib.Path, stage: str, parents: dict[str, str]) -> None:
  """Writes lineage.json with the parents alone, for a stage that makes its data from them.

  So what a run that died had made is never taken for that of other parents. `begin` names the data.
  Raises ValueError where the run began with other parents.
  """
  before = read(folder) or {"data": {}, "counts": {}}
  begin(folder, stage, parents, before["data"], before["counts"])


def begin(
  folder: pathlib.Path,
  stage: str,
  parents: dict[str, str],
  data: dict[str, str],
  counts: dict[str, dict],
) -> None:
  """Writes lineage.json: where the weights and the data came from, and the run's settings.

  parents, data: {name: digest}. counts: per data set {"kept": n, "dropped": {reason: n}}; {} where
  nothing was counted. Raises ValueError where the run began with other weights or other data;
  after `descend` any data will do.
  """
  record = {"stage": stage, "commit": run.commit(), "parents": parents, "data": data}
  record |= {"counts": counts, "config": settings(folder)}
  before = read(folder) or record
  for name in ("parents", "data"):
    if before[name] != record[name] and not (name == "data" and not before[name]):
      raise ValueError(
        f"{folder} began with {name} {before[name]}, now they are {record[name]}: it cannot go on "
        "from others; give a new --workdir"
      )
  run.note(folder / LINEAGE, record)


def count(kept: int, reasons: Iterable[str]) -> dict:
  """The counts of a data set. reasons: one for each item that was dropped."""
  return {"kept": kept, "dropped": dict(sorted(collections.Counter(reasons).items()))}


def read(folder: pathlib.Path) -> dict | None:
  """The record of lineage.json; None where there is none."""
  path = folder / LINEAGE
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def settings(folder: pathlib.Path) -> dict:
  """The flat config of the run that a workdir belongs to; {} where it says nothing."""
  path = folder / "run.json"
  return json.loads(path.read_text(encoding="utf-8"))["config"] if path.exists() else {}


def finish(folder: pathlib.Path, outputs: dict[str, str]) -> None:
  """Writes finished.json, whole or not at all: {what the stage made: its digest}.

  The last thing that a stage does; from then on the workdir may be another's parent.
  """
  run.note(folder / FINISHED, outputs)


def finished(folder: pathlib.Path) -> dict[str, str] | None:
  """What a finished stage made, by name with digests; None where it is not finished."""
  path = folder / FINISHED
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def parent(where: str | os.PathLike) -> None:
  """Refuses a model or a data set that nothing may start from.

  where: a stage's workdir, which must be finished; or a folder or file of another kind, a preset's
  name or hf:ORG/NAME, which are left to their readers. Raises ValueError naming the parent.
  """
  folder = pathlib.Path(where)
  if str(where) in presets.NAMES or str(where).startswith(DOWNLOAD):
    return
  if not folder.exists():
    raise ValueError(
      f"parent {where}: no such file or folder; run the stage that makes it first, or give a "
      "folder with config.json, hf:ORG/NAME or a preset's name"
    )
  if (folder / "run.json").exists() and finished(folder) is None:
    stage = json.loads((folder / "run.json").read_text(encoding="utf-8"))["stage"]
    raise ValueError(
      f"parent {where}: this run of {stage} is not finished, it has no {FINISHED}; give its own "
      "command again to let it end"
    )


def changed(folder: pathlib.Path) -> list[str]:
  """One line for every parent that is not what it was when the run began. [] is as it was.

  Of parents that are gone nothing is known, so they are not counted.
  """
  parents = (read(folder) or {"parents": {}})["parents"]
  there = {where: was for where, was in parents.items() if pathlib.Path(where).exists()}
  now = {where: digest(where) for where in there}
  return [
    f"{where} was {was}, is {now[where]}" for where, was in there.items() if now[where] != was
  ]


def same(what: str, values: dict[str, object]) -> None:
  """Raises ValueError, naming who has what, unless all have the same. values: {name: value}.

  Of values that are dicts only the keys that differ are named.
  """
  (first, wanted), *others = values.items()
  for name, value in others:
    if value == wanted:
      continue
    here, there = wanted, value
    if isinstance(wanted, dict) and isinstance(value, dict):
      keys = [k for k in (wanted | value) if wanted.get(k) != value.get(k)]
      here, there = ({k: x.get(k) for k in keys} for x in (wanted, value))
    raise ValueError(f"{first} and {name} differ in {what}: {here} there, {there} here")


# Digests -----------------------------------------------------------------------------------------


def digest(where: str | os.PathLike) -> str:
  """Of a model or a data set: what its stage wrote down, else over its arrays or its files.

  A preset's is its name. A stage that made several things has the digest of all, unless one of them
  is a model.
  """
  folder = pathlib.Path(where)
  if outputs := finished(folder):
    return outputs["model"] if "model" in outputs else digest_of_record(outputs)
  if (folder / "model.json").exists() and (folder / "checkpoints").is_dir():
    return digest_of_arrays(workdir.load(folder).params)
  return digest_of_files(folder) if folder.exists() else str(where)


def digest_of_record(record: dict) -> str:
  """sha256 over a JSON value; the only one of a single entry is its own."""
  if len(record) == 1:
    return str(*record.values())
  return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def digest_of_files(where: pathlib.Path) -> str:
  """sha256 over the names and bytes of every file below a folder but model cards; or of a file."""
  if where.is_file():
    return hashlib.sha256(where.read_bytes()).hexdigest()
  total = hashlib.sha256()
  for path in sorted(p for p in where.rglob("*") if p.is_file() and p.name != CARD):
    total.update(str(path.relative_to(where)).encode())
    total.update(hashlib.sha256(path.read_bytes()).digest())
  return total.hexdigest()


def digest_of_arrays(params: dict) -> str:
  """sha256 over the names, types, shapes and values of a tree of arrays.

  Not over a checkpoint's files: their names and layout differ from write to write.
  """
  total = hashlib.sha256()
  for path, leaf in sorted(spec.flatten(params).items()):
    array = np.ascontiguousarray(jax.device_get(leaf))
    total.update(f"{path} {array.dtype} {array.shape}\n".encode())
    total.update(array.reshape(-1).view(np.uint8).data)
  return total.hexdigest()
