"""Files made byte by byte here are read; damaged ones are refused by name."""

import json
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest

from r1.model.hf import safetensors

# Bit patterns by hand, least byte first: 1, -2 and the largest or another telling value.
PATTERNS = {
  "F64": ("000000000000f03f 00000000000000c0 182d4454fb210940", [1, -2, math.pi]),
  "F32": ("0000803f 000000c0 0000c07f", [1, -2, math.nan]),
  "F16": ("003c 00c0 ff7b", [1, -2, 65504]),
  "BF16": ("803f 00c0 7f7f", [1, -2, 255 / 128 * 2.0**127]),
  "F8_E4M3": ("38 c0 7e", [1, -2, 448]),
  "F8_E5M2": ("3c c0 7b", [1, -2, 57344]),
  "I64": ("0100000000000000 feffffffffffffff ffffffffffffff7f", [1, -2, 2**63 - 1]),
  "I32": ("01000000 feffffff ffffff7f", [1, -2, 2**31 - 1]),
  "I16": ("0100 feff ff7f", [1, -2, 2**15 - 1]),
  "I8": ("01 fe 7f", [1, -2, 127]),
  "U64": ("0100000000000000 0002000000000000 ffffffffffffffff", [1, 512, 2**64 - 1]),
  "U32": ("01000000 00020000 ffffffff", [1, 512, 2**32 - 1]),
  "U16": ("0100 0002 ffff", [1, 512, 2**16 - 1]),
  "U8": ("01 02 ff", [1, 2, 255]),
  "BOOL": ("01 00 01", [True, False, True]),
}
# a is float32 [5, 3] with a[i, j] = 3 i + j; b is int16 [2].
A = np.arange(15, dtype=np.float32).reshape(5, 3)
DATA = A.tobytes() + struct.pack("<2h", 7, -7)


def line(dtype, shape, start, stop):
  return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def header(**changes):
  return {"a": line("F32", [5, 3], 0, 60), "b": line("I16", [2], 60, 64)} | changes


def packed(head, data=DATA):
  text = head if isinstance(head, bytes) else json.dumps(head).encode()
  return struct.pack("<Q", len(text)) + text + data


def saved(path, content):
  path.write_bytes(content)
  return path


def one(tmp_path, content=None):
  """The index of a folder with one file."""
  saved(tmp_path / "model.safetensors", packed(header()) if content is None else content)
  return safetensors.open_folder(tmp_path)


# One file --------------------------------------------------------------------------------------


def test_a_file_made_by_hand_is_read(tmp_path):
  index = one(tmp_path, packed({"__metadata__": {"format": "pt"}, **header()}))
  assert list(index) == ["a", "b"]
  assert index["a"].shape == (5, 3)
  assert index["a"].stop - index["a"].start == 60
  assert index["a"].file == tmp_path / "model.safetensors"
  np.testing.assert_array_equal(safetensors.read(index["a"]), A, strict=True)
  np.testing.assert_array_equal(safetensors.read(index["b"]), np.int16([7, -7]), strict=True)
  assert safetensors.total_bytes(index) == 64


def test_every_type_has_its_pattern():
  assert PATTERNS.keys() == safetensors.DTYPES.keys()


@pytest.mark.parametrize("code", PATTERNS)
def test_values_of_every_type(tmp_path, code):
  content, values = bytes.fromhex(PATTERNS[code][0]), PATTERNS[code][1]
  index = one(tmp_path, packed({"x": line(code, [3], 0, len(content))}, content))
  got = safetensors.read(index["x"])
  assert got.dtype == safetensors.DTYPES[code]
  if got.dtype.kind not in "iub":
    got = got.astype(np.float64)
  np.testing.assert_array_equal(got, values)


def test_scalars_and_empty_tensors_and_spaces_behind_the_header(tmp_path):
  head = {
    "more": line("U8", [1], 4, 5),
    "none": line("BF16", [0, 4], 4, 4),
    "one": line("F32", [], 0, 4),
  }
  content = packed(json.dumps(head).encode() + b"   ", struct.pack("<fB", 2.5, 9))
  index = one(tmp_path, content)
  assert safetensors.read(index["one"]).shape == ()
  assert safetensors.read(index["one"]) == 2.5
  assert safetensors.read(index["none"]).shape == (0, 4)
  assert safetensors.read(index["more"]) == [9]


def test_names_may_be_any_text(tmp_path):
  index = one(tmp_path, packed({"层/0 \n": line("U8", [1], 0, 1)}, b"\5"))
  assert safetensors.read(index["层/0 \n"]) == [5]


@pytest.mark.parametrize("piece", [1, 24, 2**24])
def test_every_range_of_rows_and_columns(tmp_path, monkeypatch, piece):
  """A row of a has 12 bytes: pieces of one row, of two, and of all."""
  monkeypatch.setattr(safetensors, "PIECE", piece)
  entry = one(tmp_path)["a"]
  ranges = lambda n: [None, *(slice(i, j) for i in range(n + 1) for j in range(i, n + 1))]
  for rows in ranges(5):
    want = A if rows is None else A[rows]
    np.testing.assert_array_equal(safetensors.read(entry, rows), want, strict=True)
    for columns in ranges(3):
      want_columns = want if columns is None else want[:, columns]
      got = safetensors.read(entry, rows, columns)
      np.testing.assert_array_equal(got, want_columns, strict=True)
      assert got.flags.c_contiguous
      assert got.flags.owndata


@pytest.mark.parametrize("part", [slice(0, 6), slice(-1, None), slice(3, 2), slice(0, 5, 2)])
def test_a_range_that_is_not_within_the_tensor_is_refused(tmp_path, part):
  """numpy would clip it, and a shard of the wrong size would follow."""
  entry = one(tmp_path)["a"]
  with pytest.raises(ValueError, match=r"tensor 'a' of shape \(5, 3\): .* within axis 0"):
    safetensors.read(entry, part)
  with pytest.raises(ValueError, match=r"within axis 1"):
    safetensors.read(entry, None, part)


def test_rows_of_a_scalar_and_columns_of_a_vector_are_refused(tmp_path):
  index = one(tmp_path, packed({"s": line("U8", [], 0, 1), "v": line("U8", [2], 1, 3)}, b"abc"))
  with pytest.raises(ValueError, match=r"'s' of shape \(\) has no axis 0"):
    safetensors.read(index["s"], slice(0, 1))
  with pytest.raises(ValueError, match=r"'v' of shape \(2,\): only matrices have columns"):
    safetensors.read(index["v"], None, slice(0, 1))


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
  entry = one(tmp_path)["a"]
  spans, real = [], os.preadv

  def counted(descriptor, buffers, offset):
    spans.append((offset, offset + sum(map(len, buffers))))
    return real(descriptor, buffers, offset)

  monkeypatch.setattr(os, "preadv", counted)
  safetensors.read(entry, slice(1, 3))
  assert spans == [(entry.start + 12, entry.start + 36)]


def test_reads_that_return_less_than_asked_are_continued(tmp_path, monkeypatch):
  """Linux hands out 2 GiB at most per call, network disks less."""
  entry, real = one(tmp_path)["a"], os.preadv
  monkeypatch.setattr(os, "preadv", lambda d, buffers, at: real(d, [buffers[0][:7]], at))
  np.testing.assert_array_equal(safetensors.read(entry), A)


def test_a_file_that_has_become_shorter_is_noticed(tmp_path):
  index = one(tmp_path)
  os.truncate(index["b"].file, index["b"].stop - 1)
  np.testing.assert_array_equal(safetensors.read(index["a"]), A)
  with pytest.raises(ValueError, match=r"model.safetensors ends at byte \d+, inside tensor 'b'"):
    safetensors.read(index["b"])


@pytest.mark.parametrize(("columns", "wide"), [(None, 4096), (slice(0, 1024), 1024)])
def test_memory_is_what_was_asked_for(tmp_path, monkeypatch, columns, wide):
  """A quarter of a 16 MB matrix, or of that a quarter and one piece."""
  monkeypatch.setattr(safetensors, "PIECE", 2**17)
  entry = one(tmp_path, packed({"m": line("F32", [1024, 4096], 0, 2**24)}, bytes(2**24)))["m"]
  tracemalloc.start()
  got = safetensors.read(entry, slice(256, 512), columns)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert got.shape == (256, wide)
  assert peak < got.nbytes + 2 * 2**17 + 2**16


# Damage ----------------------------------------------------------------------------------------

DAMAGED = {
  "empty": (b"", "0 bytes are too few"),
  "seven bytes": (b"1234567", "7 bytes are too few"),
  "length beyond the file": (struct.pack("<Q", 99) + b"{}", "claims 99 bytes; the file has 2"),
  "length of 2^63": (struct.pack("<Q", 2**63) + b"{}", "claims 9223372036854775808 bytes"),
  "no JSON": (packed(b'{"a"'), "its header is no proper JSON"),
  "no text": (packed(b'{"\xff": 1}'), "its header is no proper JSON .*decode byte 0xff"),
  "deep": (packed(b"[" * 100_000), "its header is no proper JSON"),
  "a list": (packed(b"[]"), "its header is a JSON list"),
  "a name twice": (
    packed(f'{{"a": {json.dumps(line("U8", [1], 0, 1))}, "a": 1}}'.encode(), b"a"),
    "the name 'a' occurs twice",
  ),
  "no dtype": (packed(header(b={"shape": [2], "data_offsets": [60, 64]})), "'b' has the header"),
  "a number": (packed(header(b=3)), "'b' has the header 3"),
  "negative": (packed(header(b=line("I16", [-2], 60, 64))), "'b' has the header"),
  "true": (packed(header(b=line("I16", [True], 60, 62))), "'b' has the header"),
  "fraction": (packed(header(b=line("I16", [2.0], 60, 64))), "'b' has the header"),
  "beyond counting": (packed(header(b=line("I16", [0, 2**63], 60, 60))), "'b' has the header"),
  "one offset": (
    packed(header(b={"dtype": "I16", "shape": [2], "data_offsets": [60]})),
    "'b' has the header",
  ),
  "unknown dtype": (packed(header(b=line("F4", [2], 60, 64))), "'b' has dtype 'F4', r1 reads"),
  "shape": (packed(header(b=line("I16", [3], 60, 64))), r"'b' .* I16 \[3\] takes 6"),
  "backwards": (packed(header(b=line("I16", [2], 64, 60))), "'b' has bytes 64 to 60"),
  "overlap": (packed(header(b=line("I16", [2], 58, 62))), "'b' starts at byte .* no overlap"),
  "gap": (packed(header(b=line("I16", [1], 62, 64))), "'b' starts at byte .*no gap"),
  "out of range": (packed(header(b=line("I16", [3], 60, 66))), "tensors end at byte .* the file"),
  "too long": (packed(header(), DATA + b"x"), "tensors end at byte .* the file has"),
  "metadata alone": (packed({"__metadata__": {}}), "tensors end at byte"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused_by_the_name_of_the_file(tmp_path, name):
  content, message = DAMAGED[name]
  with pytest.raises(ValueError, match=rf"(?s)model\.safetensors: .*{message}"):
    one(tmp_path, content)


def test_a_header_longer_than_the_format_allows_is_not_even_read(tmp_path, monkeypatch):
  monkeypatch.setattr(safetensors, "MAX_HEADER", 20)
  with pytest.raises(ValueError, match="the format allows 20"):
    one(tmp_path)


def test_every_shorter_file_is_refused(tmp_path):
  whole = packed(header())
  for length in range(len(whole)):
    with pytest.raises(ValueError, match=r"model\.safetensors"):
      one(tmp_path, whole[:length])


def test_a_flipped_bit_in_a_header_is_refused_or_renames_a_tensor(tmp_path):
  """Every one of them, the header's length included; there is no other error than ValueError.

  Names that pass: "a" with any of its seven lower bits flipped, and "b" with any but the one that
  makes it a quotation mark. In a published checkpoint the model's list of names finds those.
  """
  whole, accepted = packed(header()), 0
  for bit in range(8 * (len(whole) - len(DATA))):
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
      first, second = one(tmp_path, bytes(flipped)).values()
    except ValueError as error:
      message = str(error)
    else:
      message, accepted = "model.safetensors", accepted + 1
      np.testing.assert_array_equal(safetensors.read(first), A, strict=True)
      np.testing.assert_array_equal(safetensors.read(second), np.int16([7, -7]), strict=True)
    assert "model.safetensors" in message
  assert accepted == 7 + 6


# Folders ---------------------------------------------------------------------------------------


def folder_of(tmp_path, shards, weight_map=None):
  """{"1": ["x"]} becomes model-1.safetensors with tensor x of one byte; an index if asked for."""
  for number, (shard, names) in enumerate(shards.items()):
    head = {name: line("U8", [1], i, i + 1) for i, name in enumerate(names)}
    data = bytes([number]) * len(names)
    saved(tmp_path / f"model-{shard}.safetensors", packed(head, data))
  if weight_map is not None:
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    saved(tmp_path / safetensors.INDEX, json.dumps(index).encode())
  return tmp_path


def test_an_index_leads_to_its_shards(tmp_path):
  home = {"x": "model-1.safetensors", "y": "model-2.safetensors"}
  folder = folder_of(tmp_path, {"1": ["x"], "2": ["y"], "other": ["z"]}, home)
  index = safetensors.open_folder(str(folder))
  assert {name: entry.file.name for name, entry in index.items()} == home
  assert safetensors.read(index["y"]) == [1]


def test_without_an_index_all_files_are_read_and_a_single_model_goes_first(tmp_path):
  folder_of(tmp_path, {"1": ["x"], "2": ["y", "z"]})
  assert sorted(safetensors.open_folder(tmp_path)) == ["x", "y", "z"]
  assert sorted(one(tmp_path)) == ["a", "b"]


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path):
  saved(tmp_path / "pytorch_model.bin", b"")
  with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor .*index\.json nor"):
    safetensors.open_folder(tmp_path)
  with pytest.raises(ValueError, match="holds neither"):
    safetensors.open_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
  ("shards", "home", "message"),
  [
    ({"1": ["x"]}, {"x": "1", "y": "2"}, r"1 are not there: \['model-2\.safetensors'\]"),
    ({"1": ["x"]}, {"x": "1", "y": "1"}, r"'y' should be in .*model-1\.safetensors, it is nowhere"),
    ({"1": ["x"], "2": ["y"]}, {"x": "2", "y": "2"}, "'x' .* nowhere"),
    ({"1": ["x"], "2": ["y"]}, {"x": "2", "y": "1"}, r"'x' should be in .*-2.* it is in .*-1"),
    ({"1": ["x"], "2": ["y", "x"]}, {"x": "1", "y": "2"}, r"'x' is in .*-1.* again in .*-2"),
    ({"1": ["x", "y"]}, {"x": "1"}, r"does not name 1 tensors .* 'y' of .*model-1\.safetensors"),
  ],
)
def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path, shards, home, message):
  home = {name: f"model-{shard}.safetensors" for name, shard in home.items()}
  with pytest.raises(ValueError, match=message):
    safetensors.open_folder(folder_of(tmp_path, shards, home))


def test_a_tensor_in_two_files_is_refused_without_an_index_too(tmp_path):
  with pytest.raises(ValueError, match=r"'x' is in .*model-1.* and again in .*model-2"):
    safetensors.open_folder(folder_of(tmp_path, {"1": ["x"], "2": ["x"]}))


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b'{"weight_map": {"x": ', "the index is no proper JSON"),
    (b"[]", "the index is a JSON list"),
    (b"{}", "wanted an object weight_map"),
    (b'{"weight_map": {"x": 1}}', "wanted an object weight_map"),
    (b'{"weight_map": {"x": "a", "x": "b"}}', "the name 'x' occurs twice"),
    (b'{"weight_map": {"x": "../a.safetensors"}}', r"\['\.\./a\.safetensors'\] are no plain file"),
  ],
)
def test_a_damaged_index_is_refused_by_its_name(tmp_path, content, message):
  saved(tmp_path / safetensors.INDEX, content)
  with pytest.raises(ValueError, match=rf"model\.safetensors\.index\.json: .*{message}"):
    safetensors.open_folder(tmp_path)


# Files of others -------------------------------------------------------------------------------


def test_recorded_checkpoints_are_read(test_data):
  """Written by the safetensors package; the sizes are of the config, and of the index."""
  home = test_data / "hf_parity"
  for name in ("qwen2", "qwen3", "llama", "deepseek_v3"):
    index = safetensors.open_folder(home / name)
    config = json.loads((home / name / "config.json").read_text())
    table = safetensors.read(index["model.embed_tokens.weight"]).astype(np.float32)
    assert table.shape == (config["vocab_size"], config["hidden_size"])
    assert np.isfinite(table).all()
    assert 0 < table.std() < 10
  sharded = home / "deepseek_v3_fp8"
  index = safetensors.open_folder(sharded)
  listed = json.loads((sharded / safetensors.INDEX).read_text())
  assert safetensors.total_bytes(index) == listed["metadata"]["total_size"]
  assert {name: entry.file.name for name, entry in index.items()} == listed["weight_map"]
