"""What is written can be read, by us and by the safetensors package, and is there whole or not."""

import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest

from r1.model.hf import safetensors, write

TYPES = safetensors.DTYPES


def random_arrays(shapes, codes=tuple(TYPES), seed=0):
  """{name: array} with random bits, of which no float is NaN."""
  rng = np.random.default_rng(seed)
  arrays = {}
  for number, shape in enumerate(shapes):
    code = codes[number % len(codes)]
    x = rng.integers(0, 2 if code == "BOOL" else 100, shape)
    arrays[f"{code}.{number}"] = np.asarray(x).astype(TYPES[code])
  return arrays


def tensors_of(arrays):
  return [write.Tensor(name, x.shape, x.dtype) for name, x in arrays.items()]


def saved(folder, arrays, shard_bytes=10**9, **files):
  shards = write.plan(tensors_of(arrays), shard_bytes)
  return write.checkpoint(folder, shards, arrays.__getitem__, files)


def assert_read(folder, arrays):
  index = safetensors.open_folder(folder)
  assert sorted(index) == sorted(arrays)
  for name, x in arrays.items():
    np.testing.assert_array_equal(safetensors.read(index[name]), x, strict=True)


ARRAYS = random_arrays([(3, 5), (7,), (), (2, 3, 4), (1, 1), (0, 4)] * 5)


# Bytes -----------------------------------------------------------------------------------------


def test_the_bytes_of_a_file_by_hand(tmp_path):
  """112 bytes of JSON would do for the header; with the spaces it is a multiple of 8."""
  written = saved(tmp_path / "m", {"x": np.int16([1, -1]), "y": np.float32([[1.0]])})
  content = (tmp_path / "m" / "model.safetensors").read_bytes()
  text = (
    b'{"__metadata__":{"format":"pt"},"y":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
    b'"x":{"dtype":"I16","shape":[2],"data_offsets":[4,8]}}'
  )
  padded = text + b" " * (-len(text) % 8)
  assert len(text) % 8 != 0
  assert content == struct.pack("<Q", len(padded)) + padded + b"\0\0\x80\x3f\1\0\xff\xff"
  assert written == 8
  assert os.listdir(tmp_path / "m") == ["model.safetensors"]


@pytest.mark.parametrize("shard_bytes", [1, 100, 300, 10**9])
def test_every_type_and_shape_comes_back_from_any_number_of_shards(tmp_path, shard_bytes):
  written = saved(tmp_path / "m", ARRAYS, shard_bytes)
  assert written == sum(x.nbytes for x in ARRAYS.values())
  assert_read(tmp_path / "m", ARRAYS)


def test_shards_are_numbered_and_listed(tmp_path):
  arrays = {name: np.zeros(4, np.float32) for name in "abcde"}
  saved(tmp_path / "m", arrays, 32)
  files = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
  assert sorted(os.listdir(tmp_path / "m")) == [*files, "model.safetensors.index.json"]
  index = json.loads((tmp_path / "m" / safetensors.INDEX).read_text())
  assert index["metadata"] == {"total_size": 80}
  assert index["weight_map"] == dict(zip("abcde", [files[0]] * 2 + [files[1]] * 2 + [files[2]]))
  opened = safetensors.open_folder(tmp_path / "m")
  assert {name: entry.file.name for name, entry in opened.items()} == index["weight_map"]


def test_a_tensor_larger_than_a_shard_has_its_own():
  tensors = [write.Tensor(str(n), (n,), TYPES["U8"]) for n in (3, 9, 1, 2, 0, 8)]
  names = [[tensor.name for tensor in shard.tensors] for shard in write.plan(tensors, 4)]
  assert names == [["3"], ["9"], ["1", "2", "0"], ["8"]]


def test_tensors_are_aligned_to_their_type(tmp_path):
  """An odd number of bytes in front of a float64 would otherwise shift it."""
  arrays = {"a": np.uint8([1, 2, 3]), "b": np.float64([1.0]), "c": np.int16([4]), "d": np.int8([5])}
  saved(tmp_path / "m", arrays)
  for entry in safetensors.open_folder(tmp_path / "m").values():
    assert entry.start % entry.dtype.itemsize == 0, entry
  assert_read(tmp_path / "m", arrays)


def test_other_files_and_another_stem(tmp_path):
  arrays = {"a": np.uint8([1])}
  shards = write.plan(tensors_of(arrays), 10, stem="adapter_model")
  write.checkpoint(tmp_path / "m", shards, arrays.__getitem__, {"config.json": b"{}"})
  assert sorted(os.listdir(tmp_path / "m")) == ["adapter_model.safetensors", "config.json"]
  assert (tmp_path / "m" / "config.json").read_bytes() == b"{}"
  assert_read(tmp_path / "m", arrays)


# Values ----------------------------------------------------------------------------------------


def one(folder, values, shape=(6, 2), dtype=TYPES["F32"]):
  return write.checkpoint(
    folder, write.plan([write.Tensor("w", shape, dtype)], 10**9), lambda name: values, {}
  )


X = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.mark.parametrize(
  "values",
  [
    X,
    np.ascontiguousarray(X.T).T,
    jnp.asarray(X),
    [X[:1], X[1:1], X[1:6]],
    (X[i : i + 4] for i in (0, 4)),
    iter([jnp.asarray(X[:5]), X[5:]]),
  ],
)
def test_values_come_whole_or_in_rows(tmp_path, values):
  one(tmp_path / "m", values)
  assert_read(tmp_path / "m", {"w": X})


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (X.astype(np.float64), r"planned as float32 \(6, 2\); got rows of float64 \(6, 2\)"),
    (X.astype(np.int32), r"got rows of int32 \(6, 2\)"),
    (X.T.copy(), r"got rows of float32 \(2, 6\)"),
    (X.reshape(-1), r"got rows of float32 \(12,\)"),
    (X[:5], "ended 8 bytes too early"),
    ([X[:3]], "ended 24 bytes too early"),
    ([], "ended 48 bytes too early"),
    ([X, X[:1]], r"got rows of float32 \(1, 2\) where 0 bytes were left"),
  ],
)
def test_values_that_are_not_as_planned_are_refused_and_nothing_is_left(tmp_path, values, message):
  with pytest.raises(ValueError, match=rf"tensor 'w' .*{message}"):
    one(tmp_path / "m", values)
  assert os.listdir(tmp_path) == []


def test_an_endless_stream_of_values_is_stopped(tmp_path):
  with pytest.raises(ValueError, match="0 bytes were left"):
    one(tmp_path / "m", itertools.repeat(X))


@pytest.mark.parametrize(
  ("tensors", "shard_bytes", "message"),
  [
    ([("a", (1,), "U8"), ("a", (2,), "U8")], 9, "tensor 'a': the name is given twice"),
    ([("__metadata__", (1,), "U8")], 9, "the header's own"),
    ([], 9, "no tensors"),
    ([("a", (1,), "U8")], 0, "shard_bytes=0"),
  ],
)
def test_a_plan_that_cannot_be_written_is_refused(tensors, shard_bytes, message):
  tensors = [write.Tensor(name, shape, TYPES[code]) for name, shape, code in tensors]
  with pytest.raises(ValueError, match=message):
    write.plan(tensors, shard_bytes)


@pytest.mark.parametrize("dtype", [np.dtype(np.complex64), np.dtype(">f4"), np.dtype(object)])
def test_a_type_that_files_do_not_have_is_refused(dtype):
  with pytest.raises(ValueError, match=r"tensor 'a' is .*; files hold \['BF16', 'BOOL'"):
    write.plan([write.Tensor("a", (1,), dtype)], 9)


def test_a_header_that_readers_would_refuse_is_not_written(tmp_path, monkeypatch):
  monkeypatch.setattr(safetensors, "MAX_HEADER", 50)
  with pytest.raises(ValueError, match="the format allows 50; make shard_bytes smaller"):
    one(tmp_path / "m", X)
  assert os.listdir(tmp_path) == []


def test_memory_is_one_chunk(tmp_path):
  """A tensor of 32 chunks of 1 MiB each."""
  chunks = (np.full((1, 2**18), n, np.float32) for n in range(32))
  tracemalloc.start()
  one(tmp_path / "m", chunks, (32, 2**18))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 1.5 * 2**20
  entry = safetensors.open_folder(tmp_path / "m")["w"]
  np.testing.assert_array_equal(safetensors.read(entry)[:, -1], np.arange(32))


# All or nothing ----------------------------------------------------------------------------------


def test_the_folder_appears_at_the_end(tmp_path):
  shards = write.plan(tensors_of(ARRAYS), 100)
  seen = []

  def values(name):
    assert not (tmp_path / "m").exists()
    seen.append(name)
    return ARRAYS[name]

  write.checkpoint(tmp_path / "m", shards, values, {})
  assert seen == [tensor.name for shard in shards for tensor in shard.tensors]
  assert os.listdir(tmp_path) == ["m"]


def test_an_empty_folder_is_filled_and_a_full_one_left_alone(tmp_path):
  (tmp_path / "m").mkdir()
  saved(tmp_path / "m", ARRAYS)
  asked = []
  for place in (tmp_path / "m", tmp_path / "m" / "model.safetensors"):
    with pytest.raises(ValueError, match="holds something already; give a folder that is new"):
      write.checkpoint(place, write.plan(tensors_of(ARRAYS), 100), asked.append, {})
  assert asked == []
  assert_read(tmp_path / "m", ARRAYS)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_half_way_leaves_nothing(tmp_path, error):
  def values(name):
    if name == list(ARRAYS)[-1]:
      raise error
    return ARRAYS[name]

  with pytest.raises(type(error)):
    write.checkpoint(tmp_path / "m", write.plan(tensors_of(ARRAYS), 100), values, {})
  assert os.listdir(tmp_path) == []


KILLED = """
import os, signal, sys
import numpy as np
from r1.model.hf import write

def chunks():
  yield np.zeros((1, 1000), np.float32)
  os.kill(os.getpid(), signal.SIGKILL)

plan = write.plan([write.Tensor("w", (2, 1000), np.dtype(np.float32))], 10**9)
write.checkpoint(sys.argv[1], plan, lambda name: chunks(), {})
"""


def test_a_killed_run_leaves_no_folder_and_the_next_one_clears_up(tmp_path):
  done = subprocess.run(
    [sys.executable, "-c", KILLED, tmp_path / "m"],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    timeout=120,
    check=False,
  )
  assert done.returncode == -signal.SIGKILL
  assert os.listdir(tmp_path) == [".m.partial"]
  saved(tmp_path / "m", ARRAYS)
  assert os.listdir(tmp_path) == ["m"]
  assert_read(tmp_path / "m", ARRAYS)


# The safetensors package -------------------------------------------------------------------------

PACKAGE = "install r1[parity] to compare with the safetensors package and torch"
NUMPY_TYPES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
TORCH_TYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8")


def test_the_package_reads_our_files_as_numpy(tmp_path):
  theirs = pytest.importorskip("safetensors.numpy", reason=PACKAGE)
  arrays = random_arrays([(3, 5), (7,), (), (0, 4)] * 6, NUMPY_TYPES)
  saved(tmp_path / "m", arrays, 100)
  got = {}
  for file in sorted((tmp_path / "m").glob("*.safetensors")):
    got |= theirs.load_file(file)
  assert got.keys() == arrays.keys()
  for name, x in arrays.items():
    np.testing.assert_array_equal(got[name], x, strict=True)


def test_we_read_what_the_package_writes_from_numpy(tmp_path):
  theirs = pytest.importorskip("safetensors.numpy", reason=PACKAGE)
  arrays = random_arrays([(3, 5), (7,), (), (0, 4)] * 6, NUMPY_TYPES)
  theirs.save_file(arrays, tmp_path / "model.safetensors", {"format": "np"})
  assert_read(tmp_path, arrays)


def as_torch(torch, x):
  """The same bits as a tensor; torch takes no bfloat16 or FP8 from numpy."""
  if x.dtype.kind in "iufb" and x.dtype.isbuiltin == 1:
    return torch.from_numpy(x.copy())
  kind = {2: torch.int16, 1: torch.int8}[x.dtype.itemsize]
  bits = torch.from_numpy(x.copy().view(f"i{x.dtype.itemsize}")).to(kind)
  return bits.view(getattr(torch, x.dtype.name))


def test_torch_reads_our_files(tmp_path):
  torch = pytest.importorskip("torch", reason=PACKAGE)
  theirs = pytest.importorskip("safetensors.torch", reason=PACKAGE)
  arrays = random_arrays([(3, 5), (7,)] * 11, TORCH_TYPES)
  saved(tmp_path / "m", arrays)
  got = theirs.load_file(tmp_path / "m" / "model.safetensors")
  assert got.keys() == arrays.keys()
  for name, x in arrays.items():
    want = as_torch(torch, x)
    assert got[name].dtype == want.dtype
    assert torch.equal(got[name].to(torch.float64), want.to(torch.float64)), name


def test_we_read_what_torch_writes(tmp_path):
  torch = pytest.importorskip("torch", reason=PACKAGE)
  theirs = pytest.importorskip("safetensors.torch", reason=PACKAGE)
  arrays = random_arrays([(3, 5), (7,)] * 11, TORCH_TYPES)
  tensors = {name: as_torch(torch, x) for name, x in arrays.items()}
  theirs.save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
  assert_read(tmp_path, arrays)
