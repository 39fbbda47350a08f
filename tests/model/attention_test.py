"""The attention oracle against a float64 loop; joining and decoding against the oracle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention
from tests.model import reference

H, N, K, W = 4, 2, 8, 6

einsum = jax.jit(attention.einsum)


def draw(places, seed=0):
  """(query_BLHK, key_BMNK, value_BMNW) for these places."""
  rng = np.random.default_rng(seed)
  (B, L), M = places.position_BL.shape, places.position_BM.shape[1]
  shapes = (B, L, H, K), (B, M, N, K), (B, M, N, W)
  return tuple(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes)


def own(position, segment):
  """Places of queries whose keys are their own tokens."""
  at = jnp.asarray(position, jnp.int32), jnp.asarray(segment, jnp.int32)
  return attention.Places(*at, *at)


def packed():
  """Two rows of 11: documents of 4, 3 and 1 tokens with 3 of padding; and one document of 11."""
  position = [[0, 1, 2, 3, 0, 1, 2, 0, 0, 0, 0], list(range(11))]
  return own(position, [[1, 1, 1, 1, 2, 2, 2, 3, 0, 0, 0], [1] * 11])


def cached(tokens=5, slots=13):
  """Rows that hold 8 and 3 tokens before `tokens` new ones (the second row: 2 and padding)."""
  start, new = np.array([[8], [3]]), np.array([[tokens], [min(2, tokens)]])
  position = start + np.arange(tokens)
  slot = np.broadcast_to(np.arange(slots), (2, slots))
  at_query = position, np.arange(tokens) < new
  at_key = slot, slot < start + new
  return attention.Places(*(jnp.asarray(x, jnp.int32) for x in (*at_query, *at_key)))


def windowed():
  """`packed`, each token seeing itself and two before it."""
  return packed().replace(window=jnp.int32(3))


def cached_windowed(tokens=5, slots=13):
  """`cached`, each token seeing itself and three before it."""
  return cached(tokens, slots).replace(window=jnp.int32(4))


def siblings():
  """Two rows of 11. A prompt of 3 that answers of 3 and 2 continue, then a document of 2 and
  padding; and two prompts of 2, each with answers, the second's of 1 and 3 tokens.
  """
  position = [[0, 1, 2, 3, 4, 5, 3, 4, 0, 1, 0], [0, 1, 2, 3, 2, 0, 1, 2, 2, 3, 4]]
  segment = [[1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 0], [1, 1, 2, 2, 3, 4, 4, 5, 6, 6, 6]]
  parent = [[0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 4, 4, 4, 4]]
  return own(position, segment).replace(parent_BL=jnp.asarray(parent, jnp.int32))


def windowed_siblings():
  """`siblings`, each token seeing itself and two before it."""
  return siblings().replace(window=jnp.int32(3))


LAYOUTS = {
  "siblings": siblings,
  "siblings, window": windowed_siblings,
  "packed": packed,
  "cached": cached,
  "packed, window": windowed,
  "cached, window": cached_windowed,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_oracle_equals_a_float64_loop(layout):
  places = LAYOUTS[layout]()
  arrays = draw(places)
  out, lse = einsum(*arrays, places)
  want_out, want_lse = reference.attention(*arrays, places)
  np.testing.assert_allclose(out, want_out, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(lse, want_lse, rtol=1e-5, atol=1e-6)


def test_who_sees_whom_by_hand():
  places = own([[0, 1, 0, 0]], [[1, 1, 2, 0]])
  want = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]  # padding sees not even itself
  np.testing.assert_array_equal(jax.jit(attention.visible)(places)[0], np.array(want, bool))


def test_a_window_counts_positions_and_the_tokens_own_is_one_of_them():
  places = own([[0, 1, 2, 3, 0, 3]], [[1, 1, 1, 1, 2, 2]]).replace(window=jnp.int32(2))
  want = [
    [1, 0, 0, 0, 0, 0],
    [1, 1, 0, 0, 0, 0],
    [0, 1, 1, 0, 0, 0],
    [0, 0, 1, 1, 0, 0],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 0, 1],  # its neighbour stands three positions back
  ]
  np.testing.assert_array_equal(jax.jit(attention.visible)(places)[0], np.array(want, bool))


def test_one_key_gives_its_value_and_its_score():
  # K = 8, all ones: score 8 / sqrt(8) = 2.828427.
  places = own([[0]], [[1]])
  value = jnp.arange(N * K, dtype=jnp.float32).reshape(1, 1, N, K)
  out, lse = einsum(jnp.ones((1, 1, H, K)), jnp.ones((1, 1, N, K)), value, places)
  np.testing.assert_allclose(lse, np.full((1, 1, H), 2.828427), rtol=1e-6)
  # Heads 0 and 1 share the first key head, 2 and 3 the second.
  np.testing.assert_array_equal(out[0, 0], np.asarray(value)[0, 0][[0, 0, 1, 1]])


def test_large_scores_do_not_overflow():
  places = packed()
  query, key, value = draw(places)
  out, lse = einsum(200 * query, 200 * key, value, places)
  assert np.isfinite(out).all()
  assert np.isfinite(lse).all()
  assert np.abs(lse[1]).max() > 1000  # exp(89) would be infinite
  assert not out[0, 8:].any()
  assert (lse[0, 8:] == attention.NEVER).all()


@pytest.mark.parametrize(("make", "tokens"), [(cached, 1), (cached, 5), (cached_windowed, 1)])
def test_the_body_that_reads_the_cache_equals_the_loop(make, tokens):
  """Keys lie in it with their slots last, values with their slots before the head's numbers."""
  places = make(tokens)
  query, key, value = draw(places)
  layout = jnp.transpose(key, (0, 2, 3, 1)), jnp.transpose(value, (0, 2, 1, 3))
  out, lse = jax.jit(attention.held)(query, *layout, places)
  want_out, want_lse = reference.attention(query, key, value, places)
  np.testing.assert_allclose(out, want_out, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(lse, want_lse, rtol=1e-5, atol=1e-6)


def test_an_empty_slot_gets_zeros_and_disturbs_no_other():
  places = cached(tokens=1)
  arrays = draw(places)
  out, lse = einsum(*arrays, places)
  empty = places.replace(segment_BL=jnp.array([[0], [1]]))
  got_out, got_lse = einsum(*arrays, empty)
  assert not got_out[0].any()
  assert (got_lse[0] == attention.NEVER).all()
  np.testing.assert_array_equal(got_out[1], out[1])
  np.testing.assert_array_equal(got_lse[1], lse[1])
