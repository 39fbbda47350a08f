"""Reads safetensors checkpoints by plain reads of the bytes asked for; nothing is mapped.

The format (huggingface/safetensors, README, "Format"): 8 bytes with the length of the header, the
header as JSON, then the tensors one behind the other without a gap, row-major and little-endian.
Nothing in a header is believed before it was checked, so a file that was cut short or damaged is
refused here, by name, and not noticed as a model that talks nonsense.
"""

import collections
import dataclasses
import json
import math
import os
import pathlib
import struct
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # bytes; the format's own limit
PIECE = 2**24  # bytes on the host at a time, where whole rows are read for some of their columns

DTYPES = {
  "F64": np.dtype(np.float64),
  "F32": np.dtype(np.float32),
  "F16": np.dtype(np.float16),
  "BF16": np.dtype(jnp.bfloat16),
  "F8_E4M3": np.dtype(jnp.float8_e4m3fn),
  "F8_E5M2": np.dtype(jnp.float8_e5m2),
  "I64": np.dtype(np.int64),
  "I32": np.dtype(np.int32),
  "I16": np.dtype(np.int16),
  "I8": np.dtype(np.int8),
  "U64": np.dtype(np.uint64),
  "U32": np.dtype(np.uint32),
  "U16": np.dtype(np.uint16),
  "U8": np.dtype(np.uint8),
  "BOOL": np.dtype(np.bool_),
}


@dataclasses.dataclass(frozen=True)
class Entry:
  """Where a tensor lies: the bytes from start up to stop of a file."""

  name: str
  file: pathlib.Path
  dtype: np.dtype
  shape: tuple[int, ...]
  start: int
  stop: int


Index = dict[str, Entry]  # by the tensor's name


def open_folder(folder: str | pathlib.Path) -> Index:
  """What a checkpoint holds: of model.safetensors, else of the shards that
  model.safetensors.index.json names, else of all *.safetensors; reads headers only.

  Raises ValueError that names the file, and the tensor, where a file is damaged, cut short or
  missing, where a tensor is in two files, and where the index and its shards disagree.
  """
  folder = pathlib.Path(folder)
  if (folder / SINGLE).exists():
    return open_files([folder / SINGLE])
  if (folder / INDEX).exists():
    return _open_indexed(folder / INDEX)
  files = sorted(folder.glob("*.safetensors"))
  if not files:
    raise ValueError(f"{folder} holds neither {SINGLE} nor {INDEX} nor any other *.safetensors")
  return open_files(files)


def open_files(files: Iterable[pathlib.Path]) -> Index:
  """What these files hold together. Raises ValueError as `open_folder` does."""
  index: Index = {}
  for file in files:
    for name, entry in _open_file(file).items():
      if name in index:
        raise ValueError(
          f"tensor {name!r} is in {index[name].file} and again in {file}: nothing says which one "
          "counts; remove the files of the other checkpoint"
        )
      index[name] = entry
  return index


def total_bytes(index: Index) -> int:
  """Bytes of all tensors, headers left out."""
  return sum(entry.stop - entry.start for entry in index.values())


def read(entry: Entry, rows: slice | None = None, columns: slice | None = None) -> np.ndarray:
  """A tensor, or some rows of it (a range of the leading axis), as a new array of its own dtype.

  Of the file only those rows are read, straight into the result. columns (of matrices only) cuts
  the second axis: whole rows are then read in pieces of at most PIECE bytes, or one row.
  Raises ValueError for a range that is not within the tensor, and where the file has become
  shorter since its header was read.
  """
  if columns is not None:
    return _read_columns(entry, rows, columns)
  if rows is None:
    out, start = np.empty(entry.shape, entry.dtype), entry.start
  else:
    first, last = span(entry, 0, rows)
    out = np.empty((last - first, *entry.shape[1:]), entry.dtype)
    start = entry.start + first * size(entry.shape[1:], entry.dtype)
  _fill(entry, out.reshape(-1).view(np.uint8).data, start)
  return out


def size(shape: tuple[int, ...], dtype: np.dtype) -> int:
  """Bytes of an array."""
  return math.prod(shape) * dtype.itemsize


def span(entry: Entry, axis: int, part: slice | None) -> tuple[int, int]:
  """First and one past the last index of a contiguous part of an axis; None is all of it.

  Raises ValueError for a part that is not within the axis, or has a step.
  """
  if axis >= len(entry.shape):
    raise ValueError(f"tensor {entry.name!r} of shape {entry.shape} has no axis {axis} to cut")
  length = entry.shape[axis]
  part = slice(None) if part is None else part
  first = 0 if part.start is None else part.start
  last = length if part.stop is None else part.stop
  if part.step not in (None, 1) or not 0 <= first <= last <= length:
    raise ValueError(
      f"tensor {entry.name!r} of shape {entry.shape}: {part} is no contiguous range within axis "
      f"{axis}; give slice(first, last) with 0 <= first <= last <= {length}"
    )
  return first, last


def pieces(first: int, last: int, row_bytes: int) -> Iterable[slice]:
  """Cuts rows first..last into ranges of at most PIECE bytes each, but of a row at least."""
  step = max(1, PIECE // max(1, row_bytes))
  return (slice(at, min(at + step, last)) for at in range(first, last, step))


def _read_columns(entry: Entry, rows: slice | None, columns: slice) -> np.ndarray:
  if len(entry.shape) != 2:
    raise ValueError(f"tensor {entry.name!r} of shape {entry.shape}: only matrices have columns")
  (top, bottom), (left, right) = span(entry, 0, rows), span(entry, 1, columns)
  out = np.empty((bottom - top, right - left), entry.dtype)
  for piece in pieces(top, bottom, size(entry.shape[1:], entry.dtype)):
    out[piece.start - top : piece.stop - top] = read(entry, piece)[:, left:right]
  return out


def _fill(entry: Entry, view: memoryview, start: int) -> None:
  """Fills the view from byte `start` of the file; the system may hand the bytes out in parts."""
  descriptor = os.open(entry.file, os.O_RDONLY)
  try:
    done = 0
    while done < len(view):
      count = os.preadv(descriptor, [view[done:]], start + done)
      if count == 0:
        raise ValueError(
          f"{entry.file} ends at byte {start + done}, inside tensor {entry.name!r}: it has become "
          "shorter since it was opened; let whoever writes it finish, then open it again"
        )
      done += count
  finally:
    os.close(descriptor)


def _damaged(file: pathlib.Path, fault: str) -> ValueError:
  return ValueError(f"{file}: {fault}; the file is damaged or incomplete, fetch it again")


def _unique(pairs):
  """A JSON object as a dict; a name that occurs twice is a fault, not an update."""
  found = dict(pairs)
  if len(found) < len(pairs):
    (name, _), *_ = collections.Counter(name for name, _ in pairs).most_common(1)
    raise ValueError(f"the name {name!r} occurs twice")
  return found


def _object(file: pathlib.Path, text: bytes, what: str) -> dict:
  """Parses a JSON object, or says in which file there is none."""
  try:
    value = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
  except (ValueError, RecursionError) as error:
    raise _damaged(file, f"{what} is no proper JSON ({error})") from error
  if not isinstance(value, dict):
    raise _damaged(file, f"{what} is a JSON {type(value).__name__}, wanted an object")
  return value


def _open_file(file: pathlib.Path) -> Index:
  """The entries of one file, checked against each other and against the file's size."""
  total = file.stat().st_size
  with file.open("rb") as opened:
    prefix = opened.read(8)
    if len(prefix) < 8:
      raise _damaged(file, f"{total} bytes are too few for the length of a header")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(total - 8, MAX_HEADER):
      raise _damaged(
        file,
        f"its header claims {length} bytes; the file has {total - 8} behind the length, and the "
        f"format allows {MAX_HEADER}",
      )
    header = _object(file, opened.read(length), "its header")
  header.pop("__metadata__", None)
  base = 8 + length
  entries = {name: _entry(file, name, info, base) for name, info in header.items()}
  end = base
  for entry in sorted(entries.values(), key=lambda e: (e.start, e.stop)):
    if entry.start != end:
      raise _damaged(
        file,
        f"tensor {entry.name!r} starts at byte {entry.start}, wanted {end} (no gap, no overlap)",
      )
    end = entry.stop
  if end != total:
    raise _damaged(file, f"its tensors end at byte {end}, the file has {total} bytes")
  return entries


def _entry(file: pathlib.Path, name: str, info, base: int) -> Entry:
  """One tensor's line of a header, with its place counted from the start of the file."""
  match info:
    case {"dtype": str(code), "shape": list(shape), "data_offsets": [start, stop]} if _counts(
      [*shape, start, stop]
    ):
      pass
    case _:
      raise _damaged(
        file, f"tensor {name!r} has the header {info!r:.200}, wanted dtype, shape and data_offsets"
      )
  if code not in DTYPES:
    raise ValueError(f"{file}: tensor {name!r} has dtype {code!r}, r1 reads {sorted(DTYPES)}")
  dtype = DTYPES[code]
  if stop - start != size(tuple(shape), dtype):
    raise _damaged(
      file,
      f"tensor {name!r} has bytes {start} to {stop}, but {code} {shape} takes "
      f"{size(tuple(shape), dtype)}",
    )
  return Entry(name, file, dtype, tuple(shape), base + start, base + stop)


def _counts(values: list) -> bool:
  """Whether all are whole numbers from 0 (JSON's true and 1.0 are none) that a file can have."""
  return all(type(value) is int and 0 <= value < 2**63 for value in values)


def _open_indexed(path: pathlib.Path) -> Index:
  """The entries of the shards that model.safetensors.index.json names."""
  home = _object(path, path.read_bytes(), "the index").get("weight_map")
  if not isinstance(home, dict) or not all(isinstance(file, str) for file in home.values()):
    raise _damaged(path, "wanted an object weight_map of tensor to file name")
  files = sorted(set(home.values()))
  if outside := [file for file in files if os.path.basename(file) != file]:
    raise ValueError(f"{path}: {outside[:5]} are no plain file names; shards lie beside the index")
  if missing := [file for file in files if not (path.parent / file).exists()]:
    raise ValueError(
      f"{path}: of its {len(files)} files {len(missing)} are not there: {missing[:5]}; fetch them"
    )
  index = open_files(path.parent / file for file in files)
  for name, file in home.items():
    if name not in index:
      raise ValueError(f"{path}: tensor {name!r} should be in {path.parent / file}, it is nowhere")
    if index[name].file.name != file:
      raise ValueError(f"{path}: tensor {name!r} should be in {file}, it is in {index[name].file}")
  if unnamed := sorted(set(index) - set(home)):
    raise ValueError(
      f"{path} does not name {len(unnamed)} tensors of its files, {unnamed[0]!r} of "
      f"{index[unnamed[0]].file} among them; without the index all would be read"
    )
  return index
