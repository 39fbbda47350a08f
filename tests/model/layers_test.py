"""RMS norm, rotary embedding and SwiGLU against numbers worked by hand."""

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


def test_rotary_angles_by_hand():
  # Width 4, base 100: frequencies 1 and 100^(-2/4) = .1.
  cos, sin = layers.rotary(jnp.array([[0, 1, 3]]), 4, 100.0)
  np.testing.assert_allclose(cos[0], np.cos([[0, 0], [1, 0.1], [3, 0.3]]), rtol=1e-6)
  np.testing.assert_allclose(sin[0], np.sin([[0, 0], [1, 0.1], [3, 0.3]]), rtol=1e-6)


def test_rotate_turns_the_pairs_i_and_i_plus_half():
  cos_sin = layers.rotary(jnp.array([[2]]), 4, 100.0)
  first = layers.rotate(jnp.array([1.0, 0, 0, 0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(first[0, 0, 0], [np.cos(2), 0, np.sin(2), 0], rtol=1e-6)
  fourth = layers.rotate(jnp.array([0, 0, 0, 1.0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(fourth[0, 0, 0], [0, -np.sin(0.2), 0, np.cos(0.2)], rtol=1e-6)


def test_scores_depend_on_the_distance_of_positions_alone():
  rng = np.random.default_rng(0)
  query, key = (jnp.asarray(rng.standard_normal((1, 1, 1, 8)), jnp.float32) for _ in range(2))

  def score(m, n):
    turned = [
      layers.rotate(x, layers.rotary(jnp.array([[at]]), 8, 1e4)) for x, at in ((query, m), (key, n))
    ]
    return float(jnp.sum(turned[0] * turned[1]))

  assert abs(score(7, 3) - score(104, 100)) < 1e-4
  assert abs(score(7, 3) - score(7, 4)) > 1e-2


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
  np.testing.assert_allclose(layers.mlp(p, jnp.asarray(x_BLD), cfg)[0], want, rtol=1e-4, atol=1e-5)
