"""FP8 weights with a float32 factor per block, as DeepSeek-V3 and R1 are published.

value = stored * factor (DeepSeek-V3 report, arXiv 2412.19437, section 3.3; the checkpoints call the
factor of `NAME` `NAME_scale_inv`). A weight has [outputs, inputs] elements and a factor for each
block of, in those checkpoints, 128 x 128; blocks at the right and lower edge may be partial.
"""

import numpy as np

from r1.model.hf import safetensors

SUFFIX = "_scale_inv"
STORED = (safetensors.DTYPES["F8_E4M3"], safetensors.DTYPES["F8_E5M2"])

CODES = 2**15  # numbers looked up at a time

Block = tuple[int, int]  # outputs and inputs that share a factor: the config's weight_block_size


def dequantise(weight: np.ndarray, factors: np.ndarray, block: Block) -> np.ndarray:
  """float32 values of a matrix in FP8; the product is rounded once, to float32.

  factors: [ceil(outputs / block[0]), ceil(inputs / block[1])], in any float type.
  Raises ValueError where the types or shapes do not fit.
  """
  _check("weight", weight, factors, block)
  out = np.empty(weight.shape, np.float32)
  _expand(weight, out)
  _multiply(out, factors.astype(np.float32), block, 0, 0)
  return out


def read_dequantised(
  index: safetensors.Index,
  name: str,
  block: Block,
  rows: slice | None = None,
  columns: slice | None = None,
) -> np.ndarray:
  """float32 values of some rows and columns of a matrix in FP8; None is all of them.

  The ranges need not begin or end with a block. Of the file only these rows are read, and of its
  factors only the rows that they need. Beside the result, memory holds those factors and a piece of
  at most safetensors.PIECE bytes (or one row), and the indices of CODES numbers.
  Raises ValueError where the tensor or its factors are missing or do not fit each other.
  """
  if missing := [n for n in (name, name + SUFFIX) if n not in index]:
    raise ValueError(f"the checkpoint lacks {missing}; a matrix in FP8 needs its factors beside it")
  weight, factors = index[name], index[name + SUFFIX]
  _check(name, weight, factors, block)
  top, bottom = safetensors.span(weight, 0, rows)
  left, right = safetensors.span(weight, 1, columns)
  out = np.empty((bottom - top, right - left), np.float32)
  row_bytes = safetensors.size(weight.shape[1:], weight.dtype)
  for piece in safetensors.pieces(top, bottom, row_bytes):
    stored = safetensors.read(weight, piece)
    _expand(stored[:, left:right], out[piece.start - top : piece.stop - top])
  needed = slice(top // block[0], -(-bottom // block[0]))
  _multiply(out, safetensors.read(factors, needed).astype(np.float32), block, top, left)
  return out


def _check(name: str, weight, factors, block: Block) -> None:
  """Raises ValueError unless weight is FP8 and factors (both with shape, dtype) has its blocks."""
  if weight.dtype not in STORED or len(weight.shape) != 2:
    raise ValueError(
      f"{name} is {weight.dtype} {weight.shape}: only FP8 matrices have factors per block"
    )
  if len(block) != 2 or min(block) < 1:
    raise ValueError(f"blocks of {block}: wanted two sizes of at least 1, outputs and inputs")
  wanted = tuple(-(-length // edge) for length, edge in zip(weight.shape, block))
  if factors.shape != wanted:
    raise ValueError(
      f"{name} of shape {weight.shape} in blocks of {tuple(block)} needs factors of shape "
      f"{wanted}, got {factors.shape}; is weight_block_size of config.json the checkpoint's?"
    )
  if factors.dtype not in [safetensors.DTYPES[code] for code in ("F64", "F32", "F16", "BF16")]:
    raise ValueError(f"the factors of {name} are {factors.dtype}, wanted floats of 16 bits or more")


def _expand(stored: np.ndarray, out: np.ndarray) -> None:
  """Looks the value of each of the 256 codes up: five times as fast as a cast of ml_dtypes.

  Row by row, or some at a time, because numpy turns the codes into indices of 8 bytes each.
  """
  value_of = np.arange(256, dtype=np.uint8).view(stored.dtype).astype(np.float32)
  step = max(1, CODES // max(1, stored.shape[1]))
  for at in range(0, len(stored), step):
    codes = stored[at : at + step].view(np.uint8)
    np.take(value_of, codes, out=out[at : at + step], mode="clip")  # "raise" would buffer out


def _multiply(out: np.ndarray, factors: np.ndarray, block: Block, top: int, left: int) -> None:
  """Multiplies in place; out[0, 0] is the weight's [top, left], factors[0] its row of blocks."""
  block_of_column = (left + np.arange(out.shape[1])) // block[1]
  above = top - top % block[0]  # where the first block begins
  for number, row in enumerate(factors):
    first = above + number * block[0] - top
    out[max(first, 0) : first + block[0]] *= row[block_of_column]
