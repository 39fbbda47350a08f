"""Writes safetensors checkpoints: planned first, then streamed, and there whole or not at all."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np

from r1.model.hf import safetensors

CODES = {dtype: code for code, dtype in safetensors.DTYPES.items()}

# A tensor's values: all of them, or chunks of its rows in order.
Values = np.ndarray | Iterable[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """What a header says of a tensor, known before its values are."""

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file and what it holds, in the order of its bytes."""

  file: str
  tensors: tuple[Tensor, ...]


def plan(tensors: Iterable[Tensor], shard_bytes: int, stem: str = "model") -> tuple[Shard, ...]:
  """Deals tensors out to files of at most shard_bytes each, or of one tensor that is larger.

  One file is STEM.safetensors, several are STEM-00001-of-00003.safetensors and so on. Tensors stay
  in the given order from file to file; within a file wide types come first, so that every tensor is
  aligned to its type. Raises ValueError for a name given twice and a type the format lacks.
  """
  if shard_bytes < 1:
    raise ValueError(f"shard_bytes={shard_bytes}: wanted at least 1, such as 5 * 10**9")
  groups: list[list[Tensor]] = []
  names, room = set(), 0
  for tensor in tensors:
    if tensor.name in names or tensor.name == "__metadata__":
      raise ValueError(f"tensor {tensor.name!r}: the name is given twice, or is the header's own")
    if tensor.dtype not in CODES:
      raise ValueError(
        f"tensor {tensor.name!r} is {tensor.dtype}; files hold {sorted(safetensors.DTYPES)}"
      )
    names.add(tensor.name)
    need = _bytes(tensor)
    if not groups or need > room:
      groups.append([])
      room = shard_bytes
    groups[-1].append(tensor)
    room -= need
  if not groups:
    raise ValueError("no tensors: a checkpoint holds at least one")
  files = [f"{stem}-{n:05d}-of-{len(groups):05d}.safetensors" for n in range(1, len(groups) + 1)]
  files = files if len(groups) > 1 else [f"{stem}.safetensors"]
  order = lambda tensor: -tensor.dtype.itemsize
  return tuple(Shard(file, tuple(sorted(g, key=order))) for file, g in zip(files, groups))


def checkpoint(
  folder: str | pathlib.Path,
  shards: Sequence[Shard],
  values: Callable[[str], Values],
  files: Mapping[str, bytes],
) -> int:
  """Writes a folder of shards and other files ({name: content}); returns the tensors' bytes.

  values(name) is asked for each tensor once, in the order of the plan, and may return a generator
  of chunks: no more than what it returned last is held here. Several shards get the index that
  names them. All is written to a hidden neighbour of the folder, flushed to the disk and renamed at
  the end, so the folder is complete or not there; what a killed run left is overwritten. Where
  several processes share a disk, one of them calls this.
  Raises ValueError where the folder holds something already, and where values do not have the
  planned shape and type.
  """
  total = sum(_bytes(tensor) for shard in shards for tensor in shard.tensors)
  with _staged(folder) as stage:
    for shard in shards:
      with _flushed(stage / shard.file) as file:
        file.write(_header(shard.tensors))
        for tensor in shard.tensors:
          _write_values(file, tensor, values(tensor.name))
    index = {safetensors.INDEX: _index(shards, total)} if len(shards) > 1 else {}
    for name, content in {**files, **index}.items():
      with _flushed(stage / name) as file:
        file.write(content)
  return total


def _bytes(tensor: Tensor) -> int:
  return safetensors.size(tensor.shape, tensor.dtype)


def _header(tensors: Sequence[Tensor]) -> bytes:
  """The length and the header, padded with spaces to a multiple of 8."""
  header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
  start = 0
  for tensor in tensors:
    stop = start + _bytes(tensor)
    header[tensor.name] = {
      "dtype": CODES[tensor.dtype],
      "shape": list(tensor.shape),
      "data_offsets": [start, stop],
    }
    start = stop
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % 8)
  if len(text) > safetensors.MAX_HEADER:
    raise ValueError(
      f"a header of {len(text)} bytes for {len(tensors)} tensors: the format allows "
      f"{safetensors.MAX_HEADER}; make shard_bytes smaller"
    )
  return struct.pack("<Q", len(text)) + text


def _index(shards: Sequence[Shard], total: int) -> bytes:
  home = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
  return (
    json.dumps({"metadata": {"total_size": total}, "weight_map": home}, indent=2) + "\n"
  ).encode()


def _write_values(file: BinaryIO, tensor: Tensor, values: Values) -> None:
  """Writes all values of a tensor; checks what comes against the plan before it is written."""
  left = _bytes(tensor)
  for chunk in [values] if hasattr(values, "dtype") else values:
    chunk = np.asarray(chunk)
    fits = chunk.ndim == len(tensor.shape) and chunk.shape[1:] == tensor.shape[1:]
    if not fits or chunk.dtype != tensor.dtype or chunk.nbytes > left:
      raise ValueError(
        f"tensor {tensor.name!r} was planned as {tensor.dtype} {tensor.shape}; got rows of "
        f"{chunk.dtype} {chunk.shape} where {left} bytes were left to write"
      )
    file.write(chunk.reshape(-1).view(np.uint8).data)
    left -= chunk.nbytes
    del chunk  # or it would live beside the next one
  if left:
    raise ValueError(
      f"tensor {tensor.name!r} was planned as {tensor.dtype} {tensor.shape}; its values ended "
      f"{left} bytes too early"
    )


@contextlib.contextmanager
def _flushed(path: pathlib.Path) -> Iterator[BinaryIO]:
  """A new file that is on the disk, and not only in memory, when the block ends."""
  with path.open("xb") as file:
    yield file
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _staged(folder: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """A hidden folder that takes its name when the block ends, and vanishes where it fails."""
  folder = pathlib.Path(os.path.abspath(folder))
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise ValueError(f"{folder} holds something already; give a folder that is new or empty")
  stage = folder.with_name(f".{folder.name}.partial")
  shutil.rmtree(stage, ignore_errors=True)
  stage.mkdir(parents=True)
  try:
    yield stage
    _flush_folder(stage)
    stage.rename(folder)  # refused by the system if someone filled the folder meanwhile
  except BaseException:
    shutil.rmtree(stage, ignore_errors=True)
    raise
  _flush_folder(folder.parent)


def _flush_folder(folder: pathlib.Path) -> None:
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
