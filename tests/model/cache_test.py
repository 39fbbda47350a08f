"""The cache: a length per row, no common cursor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import cache
from tests.model import latent, tiny


def test_buffers_are_declared_per_stack():
  cfg = tiny.config(stacks=(("first", 1), ("rest", 3)), dtype="bfloat16")
  rest = cache.specs(cfg, rows=5, slots=7)["rest"]
  assert rest["key_ZBNKM"] == jax.ShapeDtypeStruct((3, 5, 2, 8, 7), jnp.bfloat16)
  assert rest["value_ZBNMK"] == jax.ShapeDtypeStruct((3, 5, 2, 7, 8), jnp.bfloat16)
  held = cache.empty(cfg, 5, 7)
  assert held.stacks["first"]["key_ZBNKM"].shape == (1, 5, 2, 8, 7)
  np.testing.assert_array_equal(held.length_B, np.zeros(5))


def extend(start, new, slots=5, z=1):
  """Keys 10 b + l + 1 and values ten times that, put into layer z of an empty cache of 2 layers.

  Each of the K = 4 numbers of a head adds a thousand.
  """
  buffers = cache.empty(tiny.config(K=4), len(start), slots).stacks["dense"]
  number_BL = 10 * np.arange(len(start))[:, None] + np.arange(new)[None] + 1
  key_BLNK = number_BL[:, :, None, None] + np.float32(1000) * np.arange(4) * np.ones((2, 1))
  return jax.jit(cache.extend)(buffers, z, np.asarray(start), key_BLNK, 10 * key_BLNK)


def test_new_tokens_stand_behind_each_rows_own():
  key_BNKM, value_BNMK, buffers = extend([0, 2, 3], new=2)
  want = np.array([[1, 2, 0, 0, 0], [0, 0, 11, 12, 0], [0, 0, 0, 21, 22]])
  for n in range(2):
    np.testing.assert_array_equal(key_BNKM[:, n, 0], want)
    np.testing.assert_array_equal(key_BNKM[:, n, 3], want + 3000 * (want > 0))
    np.testing.assert_array_equal(value_BNMK[:, n, :, 0], 10 * want)
    np.testing.assert_array_equal(value_BNMK[:, n, :, 3], 10 * want + 30000 * (want > 0))
  np.testing.assert_array_equal(buffers["key_ZBNKM"][1], key_BNKM)
  np.testing.assert_array_equal(buffers["value_ZBNMK"][1], value_BNMK)
  assert not buffers["key_ZBNKM"][0].any()  # the other layer
  assert not buffers["value_ZBNMK"][0].any()


def extend_latent(start, new, slots=5, z=1):
  """The same numbers as latents (C = 2) and rotated keys (P = 2), the latter ten times as large."""
  cfg = latent.config("query latent", C=2, P=2, stacks=(("dense", 2),))
  buffers = cache.empty(cfg, len(start), slots).stacks["dense"]
  number_BL1 = (10 * np.arange(len(start))[:, None] + np.arange(new)[None] + 1)[..., None]
  latent_BLC = number_BL1 + np.array([0, 1000], np.float32)
  return jax.jit(cache.extend_latent)(buffers, z, np.asarray(start), latent_BLC, 10 * latent_BLC)


def test_latents_stand_behind_each_rows_own_and_too_many_are_dropped():
  latent_BMC, rotary_BMP, buffers = extend_latent([0, 2, 4], new=2)
  want = np.array([[1, 2, 0, 0, 0], [0, 0, 11, 12, 0], [0, 0, 0, 0, 21]])
  both = np.stack([want, want + 1000 * (want > 0)], axis=-1)
  np.testing.assert_array_equal(latent_BMC, both)
  np.testing.assert_array_equal(rotary_BMP, 10 * both)
  np.testing.assert_array_equal(buffers["latent_ZBMC"][1], latent_BMC)
  np.testing.assert_array_equal(buffers["rotary_ZBMP"][1], rotary_BMP)
  assert not buffers["latent_ZBMC"][0].any()  # the other layer
  assert not buffers["rotary_ZBMP"][0].any()


def test_what_does_not_fit_is_dropped_and_overwrites_nothing():
  key_BNKM, value_BNMK, _ = extend([4, 5], new=2)
  np.testing.assert_array_equal(key_BNKM[:, 0, 0], [[0, 0, 0, 0, 1], [0, 0, 0, 0, 0]])
  np.testing.assert_array_equal(value_BNMK[:, 0, :, 0], [[0, 0, 0, 0, 10], [0, 0, 0, 0, 0]])


def test_slots_beyond_a_rows_length_are_not_seen():
  cfg = tiny.config()
  held = cache.empty(cfg, 2, 4).replace(length_B=jnp.array([1, 3]))
  position_BM, segment_BM = cache.seen(held, jnp.array([1, 0]))
  np.testing.assert_array_equal(position_BM, [[0, 1, 2, 3]] * 2)
  np.testing.assert_array_equal(segment_BM, [[1, 1, 0, 0], [1, 1, 1, 0]])


@pytest.mark.parametrize("cfg", [tiny.config(), latent.config("query latent")])
def test_a_row_cut_back_continues_as_if_it_had_never_been_longer(cfg):
  """Speculative rollback: lower the length and the forgotten tokens are gone."""
  params = tiny.params(cfg)

  def run(held, tokens, start):
    token_BL = jnp.asarray([tokens], jnp.int32)
    position_BL = start + jnp.arange(len(tokens), dtype=jnp.int32)[None]
    return tiny.forward(params, token_BL, position_BL, jnp.ones_like(token_BL), cfg, held)

  first = run(cache.empty(cfg, 1, 9), [5, 6, 7, 8], 0)
  back = first.cache.replace(length_B=jnp.array([2]))
  got = run(back, [9, 10], 2)
  want = run(run(cache.empty(cfg, 1, 9), [5, 6], 0).cache, [9, 10], 2)
  np.testing.assert_allclose(got.hidden_BLD, want.hidden_BLD, rtol=1e-5, atol=1e-5)
  assert got.cache.length_B.tolist() == [4]
