"""Grouped matmul: rows sorted by expert, each expert's rows times that expert's matrix.

Two siblings of one contract. Accelerators have a primitive for it. XLA's CPU backend would compute
that primitive densely, every row times every expert's matrix, so there a loop walks over windows
of `block` rows; the last window of an expert reaches into the next one's rows, which are masked
here and overwritten by the next, so no row is moved to align it. What a CPU wastes is half a window
for each expert.
"""

import functools

import jax
import jax.numpy as jnp


def matmul(x_TD, w_EDX, sizes_E, block: int):
  """y_TX: the first sizes_E[0] rows times w_EDX[0], the next sizes_E[1] times w_EDX[1], and on.

  Rows behind the last group are 0 and have no gradient. At least `block` of them must stand there:
  a window of the loop may reach that far. Sums are float32. Inside `jax.shard_map` the arrays must
  differ over the same mesh axes (`sharding.vary`).
  """
  return _matmul(x_TD, w_EDX, sizes_E, block)


def _forward(x_TD, w_EDX, sizes_E, block: int):
  # The platform picks when the program is lowered, so that one for a described TPU gets its own.
  loop = functools.partial(looped, block=block)
  return jax.lax.platform_dependent(x_TD, w_EDX, sizes_E, cpu=loop, default=ragged)


def _kept_forward(x_TD, w_EDX, sizes_E, block: int):
  return _forward(x_TD, w_EDX, sizes_E, block), (x_TD, w_EDX, sizes_E)


def _backward(block: int, kept, d_TX):
  loop = functools.partial(looped_gradients, block=block)
  d_x_TD, d_w_EDX = jax.lax.platform_dependent(*kept, d_TX, cpu=loop, default=ragged_gradients)
  return d_x_TD, d_w_EDX, None


_matmul = jax.custom_vjp(_forward, nondiff_argnums=(3,))
_matmul.defvjp(_kept_forward, _backward)


# The primitive -----------------------------------------------------------------------------------


def ragged(x_TD, w_EDX, sizes_E):
  """`matmul` by the primitive, whose rows behind the last group are what the platform leaves."""
  y_TX = jax.lax.ragged_dot(x_TD, w_EDX, sizes_E, preferred_element_type=jnp.float32)
  return jnp.where(_grouped(y_TX, sizes_E), y_TX, 0.0).astype(x_TD.dtype)


def ragged_gradients(x_TD, w_EDX, sizes_E, d_TX):
  """(d_x_TD, d_w_EDX) of `ragged`."""
  x_TD = jnp.where(_grouped(x_TD, sizes_E), x_TD, jnp.zeros_like(x_TD))
  d_x_TD, d_w_EDX = jax.vjp(lambda x, w: ragged(x, w, sizes_E), x_TD, w_EDX)[1](d_TX)
  return jnp.where(_grouped(x_TD, sizes_E), d_x_TD, jnp.zeros_like(d_x_TD)), d_w_EDX


def _grouped(rows, sizes_E):
  """bool [T, 1]: does the row belong to a group?"""
  return (jnp.arange(rows.shape[0]) < jnp.sum(sizes_E))[:, None]


# The loop ----------------------------------------------------------------------------------------


def looped(x_TD, w_EDX, sizes_E, *, block: int):
  """`matmul` by windows of `block` rows."""

  def product(x_TD, w_DX):
    return jnp.einsum("TD,DX->TX", x_TD, w_DX, preferred_element_type=jnp.float32)

  return _each_window(product, x_TD, w_EDX, sizes_E, w_EDX.shape[2], block)


def looped_gradients(x_TD, w_EDX, sizes_E, d_TX, *, block: int):
  """(d_x_TD, d_w_EDX) of `looped`."""

  def product(d_TX, w_DX):
    return jnp.einsum("TX,DX->TD", d_TX, w_DX, preferred_element_type=jnp.float32)

  d_x_TD = _each_window(product, d_TX, w_EDX, sizes_E, x_TD.shape[1], block)
  return d_x_TD, _weight_gradient(x_TD, d_TX, sizes_E, w_EDX.dtype, block)


def _weight_gradient(x_TD, d_TX, sizes_E, dtype, block: int):
  """d_w_EDX; the windows of an expert are summed in a buffer of its own, which stays in cache."""

  def expert(_, start_size):
    start, size = start_size

    def window(i, d_w_DX):
      at = start + i * block
      part_TD, part_TX = (
        _own(jax.lax.dynamic_slice_in_dim(rows, at, block), at, start + size)
        for rows in (x_TD, d_TX)
      )
      d_w_DX += jnp.einsum("TD,TX->DX", part_TD, part_TX, preferred_element_type=jnp.float32)
      return d_w_DX

    zero_DX = _zeros((x_TD.shape[1], d_TX.shape[1]), jnp.float32, x_TD)
    return None, jax.lax.fori_loop(0, _windows(size, block), window, zero_DX).astype(dtype)

  return jax.lax.scan(expert, None, (_starts(sizes_E), sizes_E))[1]


def _each_window(product, rows, w_EDX, sizes_E, width: int, block: int):
  """[T, width]: product(window of rows, its expert's matrix), window by window."""

  def expert(out, w_start_size):
    w_DX, start, size = w_start_size

    def window(i, out):
      at = start + i * block
      new = product(jax.lax.dynamic_slice_in_dim(rows, at, block), w_DX)
      new = _own(new.astype(out.dtype), at, start + size)
      return jax.lax.dynamic_update_slice_in_dim(out, new, at, 0)

    return jax.lax.fori_loop(0, _windows(size, block), window, out), None

  out = _zeros((rows.shape[0], width), rows.dtype, rows)
  return jax.lax.scan(expert, out, (w_EDX, _starts(sizes_E), sizes_E))[0]


def _own(window, at, end):
  """The window, that begins at row `at`, with 0 in the rows from `end` on."""
  row = at + jnp.arange(window.shape[0])
  return jnp.where((row < end)[:, None], window, jnp.zeros_like(window))


def _zeros(shape, dtype, like):
  """Zeros that differ over the manual mesh axes of `like`, as what a loop adds to them will."""
  zero = jnp.where(False, like.reshape(-1)[0], jnp.zeros((), like.dtype))
  return jnp.full(shape, zero, dtype)


def _windows(size, block: int):
  return (size + block - 1) // block


def _starts(sizes_E):
  return jnp.cumsum(sizes_E) - sizes_E
