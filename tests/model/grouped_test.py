"""The grouped matmul: both siblings against a loop over rows, and which platform gets which."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import grouped

SIZES = {
  "even": [4, 4, 4, 4],
  "uneven": [5, 1, 9, 2],
  "one": [0, 17, 0, 0],
  "ends": [8, 0, 0, 3],
  "none": [0, 0, 0, 0],
}
D, X, BLOCK = 6, 5, 4


def arrays(sizes, block=BLOCK, garbage=0.0):
  """(x_TD, w_EDX, sizes_E, d_TX) with `block` spare rows, in which stands garbage."""
  rng = np.random.default_rng(0)
  rows, total = sum(sizes) + block, sum(sizes)
  x_TD, w_EDX = rng.standard_normal((rows, D)), rng.standard_normal((len(sizes), D, X))
  d_TX = rng.standard_normal((rows, X))
  x_TD[total:] = garbage
  x_TD, w_EDX, d_TX = (jnp.asarray(a, jnp.float32) for a in (x_TD, w_EDX, d_TX))
  return x_TD, w_EDX, jnp.asarray(sizes, jnp.int32), d_TX


def by_rows(x_TD, w_EDX, sizes_E, d_TX):
  """(y_TX, d_x_TD, d_w_EDX), one row at a time in float64."""
  x_TD, w_EDX, d_TX = (np.asarray(a, np.float64) for a in (x_TD, w_EDX, d_TX))
  y_TX, d_x_TD, d_w_EDX = np.zeros(d_TX.shape), np.zeros(x_TD.shape), np.zeros(w_EDX.shape)
  for t, e in enumerate(np.repeat(np.arange(len(w_EDX)), sizes_E)):
    y_TX[t], d_x_TD[t] = x_TD[t] @ w_EDX[e], w_EDX[e] @ d_TX[t]
    d_w_EDX[e] += np.outer(x_TD[t], d_TX[t])
  return y_TX, d_x_TD, d_w_EDX


def agree(got, want):
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["looped", "ragged"])
def test_both_siblings_equal_a_loop_over_rows(kind, sizes):
  """Infinities in rows of no group reach neither the output nor any gradient."""
  x_TD, w_EDX, sizes_E, d_TX = arrays(sizes, garbage=np.inf)
  if kind == "looped":
    forward = functools.partial(grouped.looped, block=BLOCK)
    backward = functools.partial(grouped.looped_gradients, block=BLOCK)
  else:
    forward, backward = grouped.ragged, grouped.ragged_gradients
  got = jax.jit(forward)(x_TD, w_EDX, sizes_E), *jax.jit(backward)(x_TD, w_EDX, sizes_E, d_TX)
  agree(got, by_rows(x_TD, w_EDX, sizes_E, d_TX))


@pytest.mark.parametrize("block", [1, 3, 17, 40])
def test_the_window_changes_nothing(block):
  x_TD, w_EDX, sizes_E, d_TX = arrays(SIZES["uneven"], block)
  y_TX, pull = jax.vjp(lambda x, w: grouped.matmul(x, w, sizes_E, block), x_TD, w_EDX)
  agree((y_TX, *pull(d_TX)), by_rows(x_TD, w_EDX, sizes_E, d_TX))


def test_bfloat16_in_and_out_with_sums_in_float32():
  """Ones, added window by window: in bfloat16 the sum of 512 would stand still at 256."""
  x_TD, w_EDX = jnp.ones((512 + 1, 2), jnp.bfloat16), jnp.ones((1, 2, 3), jnp.bfloat16)
  loss = lambda x, w: jnp.sum(grouped.matmul(x, w, jnp.array([512]), 1).astype(jnp.float32))
  d_x_TD, d_w_EDX = jax.grad(loss, argnums=(0, 1))(x_TD, w_EDX)
  assert d_x_TD.dtype == d_w_EDX.dtype == jnp.bfloat16
  np.testing.assert_array_equal(d_w_EDX.astype(jnp.float32), np.full((1, 2, 3), 512.0))


def test_what_a_platform_leaves_in_rows_of_no_group_is_not_used(monkeypatch):
  """A kernel for ragged rows writes the groups' rows and may leave the memory behind them alone."""
  primitive = jax.lax.ragged_dot

  def spoil(rows, sizes_E):
    return jnp.where((jnp.arange(len(rows)) < jnp.sum(sizes_E))[:, None], rows, jnp.nan)

  @jax.custom_vjp
  def kernel(x_TD, w_EDX, sizes_E):
    return spoil(primitive(x_TD, w_EDX, sizes_E), sizes_E)

  def pull(kept, d_TX):
    x_TD, w_EDX, sizes_E = kept
    d_x_TD, d_w_EDX = jax.vjp(lambda x, w: primitive(x, w, sizes_E), x_TD, w_EDX)[1](d_TX)
    return spoil(d_x_TD, sizes_E), d_w_EDX, None

  kernel.defvjp(lambda *a: (kernel(*a), a), pull)
  monkeypatch.setattr(jax.lax, "ragged_dot", lambda *a, preferred_element_type: kernel(*a))
  x_TD, w_EDX, sizes_E, d_TX = arrays(SIZES["uneven"])
  got = grouped.ragged(x_TD, w_EDX, sizes_E), *grouped.ragged_gradients(x_TD, w_EDX, sizes_E, d_TX)
  agree(got, by_rows(x_TD, w_EDX, sizes_E, d_TX))


@pytest.mark.parametrize(("platform", "primitive"), [("cpu", False), ("tpu", True), ("cuda", True)])
def test_the_platform_of_the_program_picks_the_sibling(platform, primitive):
  """Of the program, not of the machine that compiles it: a CPU may compile for a described TPU."""
  x_TD, w_EDX, sizes_E, _ = arrays(SIZES["even"])

  def loss(x, w):
    return jnp.sum(grouped.matmul(x, w, sizes_E, BLOCK) ** 2)

  traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(x_TD, w_EDX)
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  assert ("ragged_dot" in text) == primitive
  assert ("while" in text) != primitive
