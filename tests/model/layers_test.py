"""RMS norm and SwiGLU against numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from r1.model import layers
from tests.model import reference, tiny


def test_rms_norm_by_hand():
  # mean(9, 16) = 12.5, so 3 and 4 become .848528 and 1.131371, times the gains 2 and 10.
  x_BL = layers.rms_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([2.0, 10.0]), 1e-12)
  np.testing.assert_allclose(x_BL, [[1.697056, 11.31371], [0, 0]], rtol=1e-6)


def test_rms_norm_ignores_scale_and_squares_in_float32():
  x_BL = jnp.array([[300.0, -100.0, 7.0]], jnp.bfloat16)
  y_BL = layers.rms_norm(x_BL, jnp.ones(3), 1e-6)
  assert y_BL.dtype == jnp.bfloat16
  x = np.asarray(x_BL, np.float64)
  want = x / np.sqrt(np.mean(x * x))
  np.testing.assert_allclose(np.asarray(y_BL, np.float64), want, rtol=2**-7)
  np.testing.assert_array_equal(layers.rms_norm(4 * x_BL, jnp.ones(3), 0.0), y_BL)


def test_swiglu_by_hand():
  # silu(1) = 1 / (1 + e^-1) = .7310586, times 3; silu(0) = 0.
  x_BLD, gate_DF, up_DF = jnp.ones((1, 1, 1)), jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 5.0]])
  hidden_BLF = layers.swiglu(x_BLD, gate_DF, up_DF)
  np.testing.assert_allclose(hidden_BLF[0, 0], [2.193176, 0], rtol=1e-6)


def test_the_written_gradient_of_swiglu_is_the_true_one():
  rng = np.random.default_rng(0)
  shapes = (2, 3, 4), (4, 5), (4, 5), (2, 3, 5)
  *arrays, cotangent = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes)

  def plain(x_BLD, gate_DF, up_DF):
    return jax.nn.silu(x_BLD @ gate_DF) * (x_BLD @ up_DF)

  def pull(f):
    return jax.jit(lambda *a: jax.vjp(f, *a)[1](cotangent))(*arrays)

  for got, want in zip(pull(layers.swiglu), pull(plain), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_the_mlp_equals_the_float64_reference():
  cfg = tiny.config()
  p = {name: w[0] for name, w in tiny.params(cfg)["dense"]["feed"].items()}
  x_BLD = np.random.default_rng(0).standard_normal((1, 3, cfg.D)).astype(np.float32)
  want = reference.feed({name: w.astype(np.float64) for name, w in p.items()}, x_BLD[0])
  np.testing.assert_allclose(
    layers.mlp(p, jnp.asarray(x_BLD), None, cfg)[0][0], want, rtol=1e-4, atol=1e-5
  )


def test_the_biases_of_the_mlp_by_hand():
  # gate 0 + 1, up 0 + 3: silu(1) * 3 = 2.193176; down 2 * that + .5.
  cfg = tiny.config(feed_bias=True)
  p = {"gate_DF": jnp.zeros((1, 1)), "up_DF": jnp.zeros((1, 1)), "down_FD": jnp.full((1, 1), 2.0)}
  p |= {"gate_bias_F": jnp.ones(1), "up_bias_F": jnp.full(1, 3.0), "down_bias_D": jnp.full(1, 0.5)}
  y_BLD, _ = layers.mlp(p, jnp.ones((1, 1, 1)), None, cfg)
  np.testing.assert_allclose(y_BLD, [[[4.886352]]], rtol=1e-6)
