"""FP8 matrices against a product element by element."""

import json
import os
import tracemalloc

import numpy as np
import pytest

from r1.model.hf import blocks, safetensors, write

E4M3, E5M2 = blocks.STORED
CASES = [  # shape, block
  ((3, 3), (1, 2)),
  ((48, 48), (16, 24)),
  ((50, 49), (16, 24)),
  ((33, 130), (16, 16)),
  ((5, 7), (128, 128)),
  ((1, 40), (24, 16)),
  ((20, 20), (1, 1)),
]


def example(shape, block, dtype=E4M3, seed=0):
  """Stored numbers of all sizes but NaN, and factors of which no two are alike."""
  rng = np.random.default_rng(seed)
  weight = (rng.choice([-1, 1], shape) * 2.0 ** rng.uniform(-8, 8, shape)).astype(dtype)
  grid = tuple(-(-length // edge) for length, edge in zip(shape, block))
  return weight, rng.uniform(0.5, 2, grid).astype(np.float32)


def one_by_one(weight, factors, block):
  """The definition: each element times the factor of the block it is in."""
  out = np.empty(weight.shape, np.float32)
  for i, j in np.ndindex(*weight.shape):
    out[i, j] = np.float32(weight[i, j]) * factors[i // block[0], j // block[1]]
  return out


def opened(folder, arrays):
  tensors = [write.Tensor(name, x.shape, x.dtype) for name, x in arrays.items()]
  write.checkpoint(folder / "m", write.plan(tensors, 10**9), arrays.__getitem__, {})
  return safetensors.open_folder(folder / "m")


def test_a_matrix_by_hand():
  weight = np.array([[1, 2, 448], [-1, 0.5, 0]]).astype(E4M3)
  factors = np.float32([[2, 10], [3, 100]])
  got = blocks.dequantise(weight, factors, (1, 2))
  np.testing.assert_array_equal(got, np.float32([[2, 4, 4480], [-3, 1.5, 0]]), strict=True)


def test_all_256_codes_of_e4m3():
  """OCP 8-bit floating point 1.0: 4 bits of exponent with bias 7, 3 of mantissa, no infinity."""

  def value(code):
    sign, exponent, mantissa = (-1) ** (code >> 7), code >> 3 & 15, code & 7
    if code & 127 == 127:
      return np.nan
    if exponent == 0:
      return sign * 2.0**-6 * mantissa / 8
    return sign * 2.0 ** (exponent - 7) * (1 + mantissa / 8)

  codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
  got = blocks.dequantise(codes.view(E4M3), np.float32([[1]]), (16, 16))
  want = np.float32([[value(int(code)) for code in row] for row in codes])
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("shape", "block"), CASES)
@pytest.mark.parametrize("dtype", [E4M3, E5M2])
def test_blocks_equal_the_product_element_by_element(shape, block, dtype):
  weight, factors = example(shape, block, dtype)
  got = blocks.dequantise(weight, factors, block)
  np.testing.assert_array_equal(got, one_by_one(weight, factors, block), strict=True)


@pytest.mark.parametrize("piece", [1, 150, 2**24])
@pytest.mark.parametrize(("shape", "block"), CASES[1:4])
def test_any_range_of_rows_and_columns_is_cut_out_of_the_whole(
  tmp_path, monkeypatch, shape, block, piece
):
  """Ranges that begin or end within a block among them, and pieces that do."""
  monkeypatch.setattr(safetensors, "PIECE", piece)
  weight, factors = example(shape, block)
  index = opened(tmp_path, {"w": weight, "w_scale_inv": factors})
  whole = blocks.dequantise(weight, factors, block)
  np.testing.assert_array_equal(blocks.read_dequantised(index, "w", block), whole, strict=True)
  rng = np.random.default_rng(1)
  for _ in range(40):
    rows, columns = (slice(*sorted(rng.integers(0, length + 1, 2).tolist())) for length in shape)
    got = blocks.read_dequantised(index, "w", block, rows)
    np.testing.assert_array_equal(got, whole[rows], strict=True)
    got = blocks.read_dequantised(index, "w", block, rows, columns)
    np.testing.assert_array_equal(got, whole[rows, columns], strict=True)


def test_only_the_rows_and_factors_needed_are_read(tmp_path, monkeypatch):
  """Rows 20 to 35 of blocks of 16 touch the second and third row of blocks, of 3 factors each."""
  weight, factors = example((64, 49), (16, 24))
  index = opened(tmp_path, {"w": weight, "w_scale_inv": factors})
  spans, real = [], os.preadv

  def counted(descriptor, buffers, offset):
    spans.append((offset, sum(map(len, buffers))))
    return real(descriptor, buffers, offset)

  monkeypatch.setattr(os, "preadv", counted)
  blocks.read_dequantised(index, "w", (16, 24), slice(20, 35))
  w, f = index["w"], index["w_scale_inv"]
  assert spans == [(w.start + 20 * 49, 15 * 49), (f.start + 1 * 3 * 4, 2 * 3 * 4)]


def test_memory_is_the_result_and_a_piece(tmp_path, monkeypatch):
  """1,000 rows of 2,048 numbers take 8.2e6 bytes; the factors, spread out, would as well."""
  monkeypatch.setattr(safetensors, "PIECE", 2**18)
  weight = np.ones((4096, 2048), E4M3)
  index = opened(tmp_path, {"w": weight, "w_scale_inv": np.ones((32, 16), np.float32)})
  tracemalloc.start()
  got = blocks.read_dequantised(index, "w", (128, 128), slice(100, 1100))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert got.nbytes == 8_192_000
  assert peak < got.nbytes + 2**18 + 2**18 + 2**17  # a piece, and indices of 2^15 codes


def test_factors_may_be_stored_in_bfloat16(tmp_path):
  """As in the FP8 checkpoints of Qwen3."""
  weight, factors = example((50, 49), (16, 24))
  half = factors.astype(safetensors.DTYPES["BF16"])
  want = blocks.dequantise(weight, half.astype(np.float32), (16, 24))
  np.testing.assert_array_equal(blocks.dequantise(weight, half, (16, 24)), want)
  index = opened(tmp_path, {"w": weight, "w_scale_inv": half})
  np.testing.assert_array_equal(blocks.read_dequantised(index, "w", (16, 24)), want)


def test_what_does_not_fit_is_refused(tmp_path):
  weight, factors = example((50, 49), (16, 24))
  wanted = r"\(50, 49\) in blocks of \(16, 16\) needs factors of shape \(4, 4\), got \(4, 3\)"
  with pytest.raises(ValueError, match=wanted):
    blocks.dequantise(weight, factors, (16, 16))
  with pytest.raises(ValueError, match=r"blocks of \(0, 24\): wanted two sizes"):
    blocks.dequantise(weight, factors, (0, 24))
  with pytest.raises(ValueError, match=r"weight is float32 \(50, 49\): only FP8 matrices"):
    blocks.dequantise(weight.astype(np.float32), factors, (16, 24))
  with pytest.raises(ValueError, match=r"the factors of weight are int32, wanted floats"):
    blocks.dequantise(weight, factors.astype(np.int32), (16, 24))
  arrays = {
    "w": weight,
    "w_scale_inv": factors,
    "bare": weight,
    "b": factors,
    "b_scale_inv": factors,
  }
  index = opened(tmp_path, arrays)
  with pytest.raises(ValueError, match=wanted):
    blocks.read_dequantised(index, "w", (16, 16))
  with pytest.raises(ValueError, match=r"lacks \['bare_scale_inv'\]; a matrix in FP8 needs"):
    blocks.read_dequantised(index, "bare", (16, 24))
  with pytest.raises(ValueError, match=r"b is float32 \(4, 3\): only FP8 matrices"):
    blocks.read_dequantised(index, "b", (16, 24))
  with pytest.raises(ValueError, match=r"'w' .* within axis 0"):
    blocks.read_dequantised(index, "w", (16, 24), slice(0, 51))


def test_a_recorded_checkpoint_in_fp8(test_data):
  """It was stored with the largest number of each block at 448, so the blocks must lie so."""
  folder = test_data / "hf_parity" / "deepseek_v3_fp8"
  index = safetensors.open_folder(folder)
  config = json.loads((folder / "config.json").read_text())
  block = tuple(config["quantization_config"]["weight_block_size"])
  names = [name for name, entry in index.items() if entry.dtype == E4M3]
  assert len(names) > 20
  partial = 0
  for name in names:
    weight = safetensors.read(index[name])
    factors = safetensors.read(index[name + blocks.SUFFIX])
    got = blocks.read_dequantised(index, name, block)
    np.testing.assert_array_equal(got, one_by_one(weight, factors, block), strict=True)
    partial += any(length % edge for length, edge in zip(weight.shape, block))
    for i, j in np.ndindex(*factors.shape):
      part = got[i * block[0] :, j * block[1] :][: block[0], : block[1]]
      np.testing.assert_array_equal(np.abs(part).max(), np.float32(448) * factors[i, j])
  assert partial > 5
