"""Blockwise attention equals the oracle, gradients included, without an [L, L] array."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention, blockwise, heads, transformer
from tests.model import attention_test, tiny

BODIES = {
  "packed": (attention_test.packed, 0),
  "packed, all blocks": (attention_test.packed, None),
  "cached": (attention_test.cached, None),
  "window": (attention_test.windowed, 0),
  "siblings": (attention_test.siblings, 0),
  "siblings, window": (attention_test.windowed_siblings, 0),
  "cached, window": (attention_test.cached_windowed, None),
}


def pull(body, arrays, places):
  """(out, logsumexp, gradients of query, key, value) under random cotangents of both results."""
  rng = np.random.default_rng(5)
  results, back = jax.vjp(lambda *a: body(*a, places), *arrays)
  cotangents = tuple(jnp.asarray(rng.standard_normal(x.shape), jnp.float32) for x in results)
  return *results, *back(cotangents)


def compare(got, want):
  names = ("out", "logsumexp", "d query", "d key", "d value")
  for name, a, b in zip(names, got, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=name)


@functools.cache
def pulled(make):
  """The oracle's results and gradients."""
  places = make()
  return tiny.jit(functools.partial(pull, attention.einsum))(attention_test.draw(places), places)


@pytest.mark.parametrize(
  ("layout", "block"),
  [
    ("packed", 1),
    ("packed", 4),
    ("packed", 64),
    ("packed, all blocks", 3),
    ("cached", 4),
    ("window", 2),
    ("siblings", 1),
    ("siblings", 3),
    ("siblings, window", 2),
    ("cached, window", 4),
  ],
)
def test_blockwise_equals_the_oracle_in_values_and_gradients(layout, block):
  """11 queries and 11 or 13 keys: 3 and 4 divide neither, and 64 is longer than both.

  Values are narrower than keys. A window of 3 leaves whole blocks of 2 keys unseen.
  """
  make, lead = BODIES[layout]
  places, want = make(), pulled(make)
  body = functools.partial(blockwise.blockwise, block=block, lead=lead)
  got = tiny.jit(functools.partial(pull, body))(attention_test.draw(places), places)
  compare(got, want)
  assert all(np.abs(x).max() > 0.1 for x in want)  # nothing was compared with zeros


def forks(trunk, window=None):
  """Two rows of a trunk and three branches of 4: answers of 4, of 2 and 1, of 3 tokens; and of 1,
  of 4, and none. The first prompt fills the trunk, the second leaves a slot of it empty.
  """
  segment = [[2, 2, 2, 2, 3, 3, 4, 0, 5, 5, 5, 0], [2, 0, 0, 0, 3, 3, 3, 3, 0, 0, 0, 0]]
  position = [[0, 1, 2, 3, 0, 1, 0, 0, 0, 1, 2, 0], [0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0]]
  held = (trunk, max(trunk - 1, 0))
  front = [[1] * n + [0] * (trunk - n) for n in held]
  position = [
    [*range(trunk), *(held[b] + p if s else 0 for p, s in zip(position[b], segment[b]))]
    for b in range(2)
  ]
  parent = [[0] * trunk + [int(s > 0 and held[b] > 0) for s in segment[b]] for b in range(2)]
  places = attention_test.own(position, [front[b] + segment[b] for b in range(2)])
  return places.replace(
    parent_BL=jnp.asarray(parent, jnp.int32),
    window=None if window is None else jnp.int32(window),
    fork=(trunk, 4),
  )


@functools.cache
def pulled_forks(trunk, window):
  """The oracle's results and gradients."""
  places = forks(trunk, window)
  return tiny.jit(functools.partial(pull, attention.einsum))(attention_test.draw(places), places)


@pytest.mark.parametrize("block", [2, 3, 8, 64])
@pytest.mark.parametrize(("trunk", "window"), [(0, None), (1, None), (4, None), (5, None), (4, 3)])
def test_rows_that_fork_equal_the_oracle_in_values_and_gradients(trunk, window, block):
  """Trunk and branch in one block of keys or in several, of a width that divides them or not."""
  places, want = forks(trunk, window), pulled_forks(trunk, window)
  body = functools.partial(blockwise.rows, block=block)
  got = tiny.jit(functools.partial(pull, body))(attention_test.draw(places), places)
  compare(got, want)
  assert all(np.abs(x).max() > 0.1 for x in want)


def test_rows_that_fork_take_no_scores_between_branches():
  """A fifth of the row's own, for one key head and one block: what the layout is for."""
  places = forks(4)
  lowered = jax.jit(functools.partial(blockwise.rows, block=64)).lower(
    *attention_test.draw(places), places
  )
  assert "6x2x2x4x8xf32" in (text := lowered.as_text())  # branches x heads x 4 queries x 8 keys
  assert "16x16xf32" not in text


def test_the_gradient_of_the_logsumexp_is_not_lost():
  """Half of a joined result flows through it; out alone would pass without."""
  places = attention_test.packed()
  arrays = attention_test.draw(places)

  def total(body):
    return lambda query: jnp.sum(jnp.where(lse(body, query) > -1e29, lse(body, query), 0.0))

  def lse(body, query):
    return body(query, *arrays[1:], places)[1]

  body = functools.partial(blockwise.blockwise, block=4, lead=0)
  got, want = (jax.jit(jax.grad(total(b)))(arrays[0]) for b in (body, attention.einsum))
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
  assert np.abs(want).max() > 0.1


def test_padding_gets_zeros_and_gives_no_gradient():
  places = attention_test.packed()
  arrays = attention_test.draw(places)
  body = functools.partial(blockwise.blockwise, block=4, lead=0)
  out, lse, *gradients = tiny.jit(functools.partial(pull, body))(arrays, places)
  assert (out[0, 8:] == 0).all()
  assert (lse[0, 8:] == attention.NEVER).all()
  assert all((gradient[0, 8:] == 0).all() for gradient in gradients)
  assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_poisoned_padding_changes_nothing():
  places = attention_test.packed()
  arrays = attention_test.draw(places)
  body = functools.partial(blockwise.blockwise, block=4, lead=0)
  poisoned = tuple(x.at[0, 8:].set(1e9) for x in arrays)
  plain, odd = (jax.jit(body)(*a, places)[0] for a in (arrays, poisoned))
  np.testing.assert_array_equal(plain[0, :8], odd[0, :8])


def test_large_scores_do_not_overflow():
  places = attention_test.packed()
  query, key, value = attention_test.draw(places)
  arrays = 60 * query, 60 * key, value
  body = functools.partial(blockwise.blockwise, block=3, lead=0)
  out, lse = jax.jit(body)(*arrays, places)
  want_out, want_lse = attention_test.einsum(*arrays, places)
  np.testing.assert_allclose(out, want_out, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(lse, want_lse, rtol=1e-5)


@pytest.mark.parametrize(("attend", "whole"), [("blockwise", False), ("einsum", True)])
def test_training_makes_no_array_of_length_by_length(attend, whole):
  """Forward and backward at 512 tokens, block 128: the oracle has one, blockwise has none."""
  L = 512
  cfg = tiny.config(attend=attend, attention_block=128, context=L, logit_chunk=64)
  row = jax.ShapeDtypeStruct((1, L), jnp.int32)

  def loss(params, token_BL, position_BL, segment_BL):
    out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg)
    return jnp.sum(heads.logp(params, out.hidden_BLD, token_BL, cfg, 1.0)[0])

  largest = tiny.largest(jax.value_and_grad(loss), tiny.params(cfg), row, row, row)
  assert (largest >= L * L) == whole
