"""Rotary embedding and its stretched forms, against numbers worked by hand."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import rope
from tests.model import latent

YARN = dataclasses.replace(latent.YARN, original=64, mscale=0.0, mscale_all=0.0)


def test_rotary_angles_by_hand():
  # Width 4, base 100: frequencies 1 and 100^(-2/4) = .1.
  cos, sin = rope.rotary(jnp.array([[0, 1, 3]]), 4, 100.0, None)
  np.testing.assert_allclose(cos[0], np.cos([[0, 0], [1, 0.1], [3, 0.3]]), rtol=1e-6)
  np.testing.assert_allclose(sin[0], np.sin([[0, 0], [1, 0.1], [3, 0.3]]), rtol=1e-6)


def test_halves_turns_the_pairs_i_and_i_plus_half():
  cos_sin = rope.rotary(jnp.array([[2]]), 4, 100.0, None)
  first = rope.halves(jnp.array([1.0, 0, 0, 0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(first[0, 0, 0], [np.cos(2), 0, np.sin(2), 0], rtol=1e-6)
  fourth = rope.halves(jnp.array([0, 0, 0, 1.0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(fourth[0, 0, 0], [0, -np.sin(0.2), 0, np.cos(0.2)], rtol=1e-6)


@pytest.mark.parametrize("turn", [rope.halves, rope.pairs])
def test_scores_depend_on_the_distance_of_positions_alone(turn):
  rng = np.random.default_rng(0)
  query, key = (jnp.asarray(rng.standard_normal((1, 1, 1, 8)), jnp.float32) for _ in range(2))

  def score(m, n):
    turned = [
      turn(x, rope.rotary(jnp.array([[at]]), 8, 1e4, None)) for x, at in ((query, m), (key, n))
    ]
    return float(jnp.sum(turned[0] * turned[1]))

  assert abs(score(7, 3) - score(104, 100)) < 1e-4
  assert abs(score(7, 3) - score(7, 4)) > 1e-2


def test_pairs_turns_neighbours():
  cos_sin = rope.rotary(jnp.array([[2]]), 4, 100.0, None)
  first = rope.pairs(jnp.array([1.0, 0, 0, 0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(first[0, 0, 0], [np.cos(2), np.sin(2), 0, 0], rtol=1e-6)
  fourth = rope.pairs(jnp.array([0, 0, 0, 1.0]).reshape(1, 1, 1, 4), cos_sin)
  np.testing.assert_allclose(fourth[0, 0, 0], [0, 0, -np.sin(0.2), np.cos(0.2)], rtol=1e-6)


def test_linear_scaling_divides_every_frequency():
  scaling = dataclasses.replace(YARN, kind="linear", factor=8.0)
  np.testing.assert_allclose(rope.shrink(6, 100.0, scaling), [1 / 8] * 3, rtol=1e-6)


def test_llama3_scaling_by_hand():
  """Width 8, base 10,000: frequencies 1, .1, .01, .001 turn 64 / 2 pi times that over 64 tokens.

  10.19 turns are above high = 4 and stay; 1.0186 turns lie (1.0186 - 1) / 3 = .0062 up the ramp;
  the rest turn less than once and are divided by 4.
  """
  scaling = dataclasses.replace(YARN, kind="llama3")
  ramp = (64 * 0.1 / (2 * math.pi) - 1) / 3
  want = [1, ramp + (1 - ramp) / 4, 0.25, 0.25]
  np.testing.assert_allclose(rope.shrink(8, 1e4, scaling), want, rtol=1e-6)


@pytest.mark.parametrize(("truncate", "first", "last"), [(True, 0, 2), (False, 0.406, 1.008)])
def test_yarn_by_hand(truncate, first, last):
  """Pair i turns 64 / (2 pi 10^i) times: 4 times at i = log10(2.5465) = .406, once at 1.008.

  Rounded outwards the ramp runs from pair 0 to pair 2.
  """
  scaling = dataclasses.replace(YARN, truncate=truncate)
  ramp = [min(max((i - first) / (last - first), 0), 1) for i in range(4)]
  want = [(1 - share) + share / 4 for share in ramp]
  np.testing.assert_allclose(rope.shrink(8, 1e4, scaling), want, rtol=2e-3)


def test_yarn_of_deepseek_v3_is_plain_up_to_pair_10_and_divided_from_23():
  scaling = dataclasses.replace(YARN, factor=40.0, original=4096, high=32.0)
  shrunk = np.asarray(rope.shrink(64, 1e4, scaling))
  assert (shrunk[:11] == 1).all()
  assert 1 / 40 < shrunk[22] < shrunk[11] < 1
  np.testing.assert_allclose(shrunk[23:], 1 / 40, rtol=1e-6)


def test_yarns_corrections_of_attention_by_hand():
  strength = 0.1 * math.log(40) + 1  # 1.36889
  base = dataclasses.replace(YARN, factor=40.0)
  assert rope.amplitude(base) == pytest.approx(strength)
  assert rope.sharpness(base) == 1
  both = dataclasses.replace(base, mscale=1.0, mscale_all=1.0)
  assert rope.amplitude(both) == 1
  assert rope.sharpness(both) == pytest.approx(1.873856, rel=1e-5)  # .135234 / .072169
  other = dataclasses.replace(base, mscale=0.5, mscale_all=1.0)
  assert rope.amplitude(other) == pytest.approx((0.05 * math.log(40) + 1) / strength)
  assert rope.amplitude(dataclasses.replace(both, amplitude=1.25)) == 1.25
  cos, _ = rope.rotary(jnp.array([[0]]), 4, 100.0, base)
  np.testing.assert_allclose(cos, np.full((1, 1, 2), strength), rtol=1e-6)
  assert rope.amplitude(None) == rope.sharpness(None) == 1


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"kind": "dynamic"}, "rope scaling 'dynamic' is not implemented"),
    ({"factor": 0.5}, "factor=0.5 must be >= 1"),
    ({"low": 5.0}, "0 < low=5.0 <= high=4.0"),
  ],
)
def test_scalings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(YARN, **changes)
