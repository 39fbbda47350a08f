"""8-bit codes: how far off they are, that a token's stand for themselves, and what they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import pages, quantise
from tests.model import latent, tiny

RNG = np.random.default_rng(0)


def kept(x, dtype, axis=-1):
  codes, scale = quantise.pack(jnp.asarray(x), jnp.dtype(dtype), axis)
  return np.array(quantise.unpack(codes, scale, axis, jnp.float32))


def half_step(x, dtype):
  """The farthest that a number may be off. Numbers of e4m3 have three bits behind the first one, so
  they are off by 1/16 of a power of 2, which is 1/17 of a number just above it, and by 2^-10 where
  the exponents end. Rounding float32 on the way adds a few parts in 1e7."""
  top = np.abs(x).max(axis=-1, keepdims=True)
  if dtype == "int8":
    return top / 127 / 2 * (1 + 1e-4)
  return np.maximum(np.abs(x) / 17, top / 448 * 2.0**-10) * (1 + 1e-4)


@pytest.mark.parametrize("dtype", quantise.DTYPES)
def test_a_number_is_off_by_half_a_step_at_most(dtype):
  x = (RNG.normal(size=(500, 2, 32)) * 10.0 ** RNG.uniform(-6, 6, (500, 2, 1))).astype(np.float32)
  error = np.abs(kept(x, dtype) - x) / half_step(x, dtype)
  assert error.max() <= 1
  assert error.max() > 0.97  # the bound is met: there are no fewer steps than it says


@pytest.mark.parametrize(("dtype", "largest"), [("int8", 127), ("float8_e4m3fn", 448)])
def test_a_heads_largest_number_has_the_largest_code(dtype, largest):
  x = RNG.normal(size=(20, 8)).astype(np.float32)
  codes, scale = quantise.pack(x, jnp.dtype(dtype), -1)
  assert codes.dtype == dtype
  np.testing.assert_array_equal(
    np.abs(codes.astype(jnp.float32)).max(axis=-1), np.full(20, largest)
  )
  np.testing.assert_allclose(scale, np.abs(x).max(axis=-1) / largest, rtol=1e-6)


@pytest.mark.parametrize("dtype", quantise.DTYPES)
def test_a_tokens_codes_depend_on_no_other_token_and_no_other_head(dtype):
  """[rows, heads, numbers, tokens], as keys lie."""
  x = RNG.normal(size=(3, 2, 8, 5)).astype(np.float32)
  louder = x.copy()
  louder[1, 1, :, 3] *= 1000
  a, b = kept(x, dtype, axis=-2), kept(louder, dtype, axis=-2)
  a[1, 1, :, 3] = b[1, 1, :, 3] = 0
  np.testing.assert_array_equal(a, b)
  alone = kept(x[2:, 1:, :, 4:], dtype, axis=-2)
  np.testing.assert_array_equal(a[2:, 1:, :, 4:], alone)


@pytest.mark.parametrize("dtype", quantise.DTYPES)
def test_zeros_stay_and_what_is_not_finite_is_not_hidden(dtype):
  np.testing.assert_array_equal(kept(np.zeros((2, 4), np.float32), dtype), np.zeros((2, 4)))
  small = np.full((1, 4), 1e-38, np.float32)
  assert np.abs(kept(small, dtype)).max() < 2e-38
  for bad in (np.nan, np.inf):
    found = kept(np.array([[1.0, bad, 2.0], [1.0, 2.0, 3.0]], np.float32), dtype)
    assert np.isnan(found[0]).any()
    assert np.isfinite(found[1]).all()


def test_a_buffer_of_codes_is_known_by_its_scales():
  assert quantise.scale_name("key_ZBNKM") == "key_scale_ZBNM"
  assert quantise.scale_name("latent_ZBMC") == "latent_scale_ZBM"
  assert quantise.scale_name("rotary_ZBMP") == "rotary_scale_ZBM"
  plain = {"key_ZBNKM": np.ones((2, 3, 2, 8, 4), np.float32)}
  assert quantise.packed(plain, plain)["key_ZBNKM"] is plain["key_ZBNKM"]
  assert quantise.unpacked(plain, jnp.bfloat16)["key_ZBNKM"] is plain["key_ZBNKM"]
  assert quantise.codes_of(plain) == ""
  for dtype in quantise.DTYPES:
    coded = pages.empty(tiny.config(), 3, 4, "cpu", dtype)["dense"]
    assert quantise.codes_of(coded) == dtype
    new = quantise.packed({"key_ZBNKM": np.ones((3, 2, 8, 4), np.float32)}, coded)
    assert {name: x.shape for name, x in new.items()} == {
      "key_ZBNKM": (3, 2, 8, 4),
      "key_scale_ZBNM": (3, 2, 4),
    }


def nbytes(cfg, dtype):
  return sum(x.nbytes for x in jax.tree.leaves(pages.empty(cfg, 6, 4, "cpu", dtype)))


@pytest.mark.parametrize("dtype", quantise.DTYPES)
def test_the_cache_shrinks_to_a_byte_a_number_and_four_a_scale(dtype):
  wide = tiny.config(K=128)
  tokens = 6 * 4 * 2  # of two layers
  assert nbytes(wide, dtype) == tokens * 2 * 2 * (128 + 4)  # keys and values of two heads
  assert nbytes(wide, "") / nbytes(wide, dtype) == pytest.approx(4, rel=0.04)
  half = tiny.config(K=128, dtype="bfloat16")
  assert nbytes(half, "") / nbytes(half, dtype) == pytest.approx(2, rel=0.04)
  mla = latent.config("query latent")
  assert nbytes(mla, "") == 6 * 4 * 4 * (10 + 6)
  assert nbytes(mla, dtype) == 6 * 4 * (10 + 4 + 6 + 4)


@pytest.mark.parametrize("dtype", quantise.DTYPES)
def test_this_machine_keeps_every_type(dtype):
  quantise.check.cache_clear()
  quantise.check(dtype)


def test_a_platform_that_has_no_such_type_says_so(monkeypatch):
  def refuse(*_):
    raise jax.errors.JaxRuntimeError("UNIMPLEMENTED: F8E4M3FN")

  quantise.check.cache_clear()
  monkeypatch.setattr(quantise, "pack", refuse)
  with pytest.raises(
    ValueError, match=r"cache_dtype='float8_e4m3fn': cpu .* cannot store .*UNIMPLEMENTED"
  ):
    quantise.check("float8_e4m3fn")
