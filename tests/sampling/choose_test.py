"""From logits to a token: greedy, temperature and nucleus by hand; the distribution by chi^2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention
from r1.sampling import choose

PROB = (0.15, 0.5, 0.05, 0.3)


def logits(prob, rows=1):
  return jnp.log(jnp.broadcast_to(jnp.array(prob), (rows, len(prob))))


def keys(rows, seed=0):
  return jax.random.split(jax.random.key(seed), rows)


sample = jax.jit(choose.sample, static_argnames="top_p")


def test_temperature_zero_takes_the_most_likely_id_and_reports_its_probability():
  id_B, logp_B = sample(keys(3), logits(PROB, 3), 0.0, 1.0)
  assert id_B.tolist() == [1, 1, 1]
  np.testing.assert_allclose(logp_B, np.log([0.5] * 3), rtol=1e-6)


@pytest.mark.parametrize(
  ("temperature", "want"),
  [
    (1.0, PROB),
    # Squares .0225, .25, .0025, .09 over their sum .365.
    (0.5, (0.061644, 0.684932, 0.006849, 0.246575)),
    # Roots .387298, .707107, .223607, .547723 over 1.865735.
    (2.0, (0.207585, 0.378997, 0.119849, 0.293570)),
  ],
)
def test_log_probabilities_are_those_at_the_temperature(temperature, want):
  """Divided once: twice would give the squares of the roots back (TRL #3029)."""
  id_B, logp_B = sample(keys(200), logits(PROB, 200), temperature, 1.0)
  assert set(id_B.tolist()) == {0, 1, 2, 3}
  np.testing.assert_allclose(np.exp(logp_B), np.array(want)[id_B], rtol=1e-4)


@pytest.mark.parametrize(
  ("top_p", "kept"),
  [
    (1e-9, {1}),
    (0.45, {1}),
    (0.55, {1, 3}),
    (0.75, {1, 3}),
    (0.9, {0, 1, 3}),
    (0.99, {0, 1, 2, 3}),
  ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(top_p, kept):
  # Sorted .5 .3 .15 .05, running sums .5 .8 .95 1.
  masked_BV = choose.nucleus(logits(PROB), top_p)
  assert set(np.flatnonzero(masked_BV[0] > -1e29)) == kept
  np.testing.assert_array_equal(masked_BV[0, list(kept)], logits(PROB)[0, np.array(list(kept))])


def test_ids_as_likely_as_the_last_of_the_nucleus_stay_with_it():
  assert (choose.nucleus(logits((0.25,) * 4), 0.3) > -1e29).all()


def test_a_nucleus_is_per_row_and_its_probabilities_sum_to_one():
  both_BV = jnp.concatenate([logits(PROB), logits((0.97, 0.01, 0.01, 0.01))])
  id_B, logp_B = sample(keys(400), jnp.repeat(both_BV, 200, axis=0), 1.0, 0.75)
  assert set(id_B[:200].tolist()) == {1, 3}
  assert set(id_B[200:].tolist()) == {0}
  want = np.where(id_B[:200] == 1, 0.5 / 0.8, 0.3 / 0.8)
  np.testing.assert_allclose(np.exp(logp_B[:200]), want, rtol=1e-5)
  np.testing.assert_allclose(logp_B[200:], np.zeros(200), atol=1e-6)


@pytest.mark.parametrize(("temperature", "power"), [(1.0, 1), (0.5, 2)])
def test_draws_follow_the_distribution(temperature, power):
  """chi^2 with 3 degrees of freedom; 16.3 is passed once in a thousand."""
  draws = 4000
  id_B, _ = sample(keys(draws), logits(PROB, draws), temperature, 1.0)
  want = np.array(PROB) ** power / np.sum(np.array(PROB) ** power) * draws
  found = np.bincount(id_B, minlength=4)
  assert np.sum((found - want) ** 2 / want) < 16.3
  other = np.array(PROB) ** (3 - power)  # the test tells the two temperatures apart
  other *= draws / other.sum()
  assert np.sum((found - other) ** 2 / other) > 100


@pytest.mark.parametrize("temperature", [0.0, 0.01, 1.0, 100.0])
def test_masked_ids_are_never_drawn(temperature):
  masked_BV = logits(PROB, 500).at[:, 1].set(attention.NEVER)
  id_B, logp_B = sample(keys(500), masked_BV, temperature, 1.0)
  assert 1 not in id_B
  assert np.isfinite(logp_B).all()


def test_a_rows_draw_depends_on_its_key_and_logits_alone():
  some_BV, key_B = logits(PROB, 8), keys(8)
  id_B, logp_B = sample(key_B, some_BV, 1.0, 1.0)
  assert len(set(id_B.tolist())) > 1
  order = np.array([5, 2, 7])
  id_b, logp_b = sample(key_B[order], some_BV[:3], 1.0, 1.0)
  np.testing.assert_array_equal(id_b, id_B[order])
  np.testing.assert_array_equal(logp_b, logp_B[order])
