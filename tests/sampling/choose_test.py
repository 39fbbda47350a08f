"""From logits to a token: greedy, temperature, filters by hand; the distribution by chi^2."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention
from r1.sampling import choose
from tests.sampling import settings

PROB = (0.15, 0.5, 0.05, 0.3)


def logits(prob, rows=1):
  return jnp.log(jnp.broadcast_to(jnp.array(prob), (rows, len(prob))))


def keys(rows, seed=0):
  return jax.random.split(jax.random.key(seed), rows)


compiled = jax.jit(choose.sample, static_argnames="sampler")


def sample(key_B, logits_BV, temperature, **filters):
  return compiled(key_B, logits_BV, temperature, sampler=settings.sampler(**filters))


def kept(masked_BV):
  return set(np.flatnonzero(np.asarray(masked_BV[0]) > -1e29).tolist())


def test_temperature_zero_takes_the_most_likely_id_and_reports_its_probability():
  id_B, logp_B = sample(keys(3), logits(PROB, 3), 0.0)
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
  id_B, logp_B = sample(keys(200), logits(PROB, 200), temperature)
  assert set(id_B.tolist()) == {0, 1, 2, 3}
  np.testing.assert_allclose(np.exp(logp_B), np.array(want)[id_B], rtol=1e-4)


@pytest.mark.parametrize(
  ("top_p", "want"),
  [
    (1e-9, {1}),
    (0.45, {1}),
    (0.55, {1, 3}),
    (0.75, {1, 3}),
    (0.9, {0, 1, 3}),
    (0.99, {0, 1, 2, 3}),
  ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(top_p, want):
  # Sorted .5 .3 .15 .05, running sums .5 .8 .95 1.
  masked_BV = choose.nucleus(logits(PROB), top_p)
  assert kept(masked_BV) == want
  np.testing.assert_array_equal(masked_BV[0, list(want)], logits(PROB)[0, np.array(list(want))])


def test_ids_as_likely_as_the_last_of_the_nucleus_stay_with_it():
  assert (choose.nucleus(logits((0.25,) * 4), 0.3) > -1e29).all()


@pytest.mark.parametrize(
  ("top_k", "want"),
  [(0, {0, 1, 2, 3}), (1, {1}), (2, {1, 3}), (3, {0, 1, 3}), (4, {0, 1, 2, 3}), (9, {0, 1, 2, 3})],
)
def test_the_k_likeliest_stay(top_k, want):
  """More than there are ids is no error: the published default of 50 meets small vocabularies."""
  assert kept(choose.likeliest(logits(PROB), top_k)) == want


def test_ids_as_likely_as_the_kth_stay_with_it():
  assert kept(choose.likeliest(logits((0.2, 0.4, 0.2, 0.2)), 2)) == {0, 1, 2, 3}
  assert kept(choose.likeliest(logits((0.3, 0.3, 0.2, 0.2)), 2)) == {0, 1}


@pytest.mark.parametrize(
  # Over the likeliest's .5: .3, 1, .1, .6.
  ("min_p", "want"),
  [
    (0.0, {0, 1, 2, 3}),
    (0.09, {0, 1, 2, 3}),
    (0.11, {0, 1, 3}),
    (0.31, {1, 3}),
    (0.61, {1}),
    (1.0, {1}),
  ],
)
def test_ids_far_below_the_likeliest_go(min_p, want):
  assert kept(choose.within_reach(logits(PROB), min_p)) == want


def test_min_p_is_a_share_of_the_likeliest_and_not_of_all():
  """Forty even ids of .025 each are all kept at .9, where a bound on the probability keeps none."""
  assert len(kept(choose.within_reach(logits((0.025,) * 40), 0.9))) == 40


@pytest.mark.parametrize(
  ("temperature", "filters", "want"),
  [
    # The k first: .5 .3 are .625 .375 of what is left, so one id is a nucleus of .6. The nucleus
    # first would be .5 .3 and both would stay.
    (1.0, {"top_k": 2, "top_p": 0.6}, {1: 1.0}),
    # At temperature 2 the roots .387 .707 .224 .548: over the likeliest .548 1 .316 .775, so .5
    # leaves three, of which the sum is 1.642128.
    (2.0, {"min_p": 0.5}, {0: 0.235851, 1: 0.430604, 3: 0.333545}),
    # Temperature last would leave .5 and .3 and share them as roots.
    (2.0, {"top_k": 3, "min_p": 0.6}, {1: 0.563508, 3: 0.436492}),
  ],
)
def test_the_order_is_temperature_then_k_then_nucleus_then_reach(temperature, filters, want):
  id_B, logp_B = sample(keys(300), logits(PROB, 300), temperature, **filters)
  assert set(id_B.tolist()) == want.keys()
  np.testing.assert_allclose(np.exp(logp_B), [want[i] for i in id_B.tolist()], rtol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_filters_keep_the_likeliest_and_whatever_is_likelier_than_a_kept_id(seed):
  """Random logits with ties: what is left is an upper set, within each filter's own bound."""
  rng = np.random.default_rng(seed)
  rows = np.round(rng.normal(0, 3, (50, 20)), 1).astype(np.float32)
  top_k, top_p, min_p = int(rng.integers(1, 25)), rng.uniform(0.05, 1), rng.uniform(0.001, 1)
  for masked_BV, most in (
    (choose.likeliest(jnp.asarray(rows), top_k), lambda x, keep: (x > x[keep].min()).sum() < top_k),
    (choose.nucleus(jnp.asarray(rows), top_p), lambda x, keep: mass(x, x > x[keep].min()) < top_p),
    (
      choose.within_reach(jnp.asarray(rows), min_p),
      lambda x, keep: x[keep].min() >= x.max() + np.log(min_p) - 1e-5,
    ),
  ):
    for x, masked in zip(rows, np.asarray(masked_BV), strict=True):
      keep = masked > -1e29
      assert keep[x.argmax()]
      np.testing.assert_array_equal(keep, x >= x[keep].min())
      np.testing.assert_array_equal(masked[keep], x[keep])
      assert most(x, keep)


def mass(x, chosen):
  """The probability of the chosen ids."""
  prob = np.exp(x - x.max(), dtype=np.float64)
  return prob[chosen].sum() / prob.sum()


def test_filters_that_are_off_add_nothing_to_the_program():
  """They hand back what they were given, while it is traced; so the sampler sorts nothing."""
  off_BV = logits(PROB)
  assert choose.likeliest(off_BV, 0) is off_BV
  assert choose.nucleus(off_BV, 1.0) is off_BV
  assert choose.within_reach(off_BV, 0.0) is off_BV

  def sorts(**filters):
    sampler = settings.sampler(**filters)
    text = str(jax.make_jaxpr(lambda key_B: choose.sample(key_B, off_BV, 1.0, sampler))(keys(1)))
    return [name for name in ("top_k[", "sort[", "cumsum[") if name in text]

  assert sorts() == sorts(min_p=0.1) == []
  assert sorts(top_k=2, top_p=0.9) == ["top_k[", "sort[", "cumsum["]


def test_a_nucleus_is_per_row_and_its_probabilities_sum_to_one():
  both_BV = jnp.concatenate([logits(PROB), logits((0.97, 0.01, 0.01, 0.01))])
  id_B, logp_B = sample(keys(400), jnp.repeat(both_BV, 200, axis=0), 1.0, top_p=0.75)
  assert set(id_B[:200].tolist()) == {1, 3}
  assert set(id_B[200:].tolist()) == {0}
  want = np.where(id_B[:200] == 1, 0.5 / 0.8, 0.3 / 0.8)
  np.testing.assert_allclose(np.exp(logp_B[:200]), want, rtol=1e-5)
  np.testing.assert_allclose(logp_B[200:], np.zeros(200), atol=1e-6)


@pytest.mark.parametrize(("temperature", "power"), [(1.0, 1), (0.5, 2)])
def test_draws_follow_the_distribution(temperature, power):
  """chi^2 with 3 degrees of freedom; 16.3 is passed once in a thousand."""
  draws = 4000
  id_B, _ = sample(keys(draws), logits(PROB, draws), temperature)
  want = np.array(PROB) ** power / np.sum(np.array(PROB) ** power) * draws
  found = np.bincount(id_B, minlength=4)
  assert np.sum((found - want) ** 2 / want) < 16.3
  other = np.array(PROB) ** (3 - power)  # the test tells the two temperatures apart
  other *= draws / other.sum()
  assert np.sum((found - other) ** 2 / other) > 100


@pytest.mark.parametrize("temperature", [0.0, 0.01, 1.0, 100.0])
def test_masked_ids_are_never_drawn(temperature):
  masked_BV = logits(PROB, 500).at[:, 1].set(attention.NEVER)
  id_B, logp_B = sample(keys(500), masked_BV, temperature)
  assert 1 not in id_B
  assert np.isfinite(logp_B).all()


def test_a_rows_draw_depends_on_its_key_and_logits_alone():
  some_BV, key_B = logits(PROB, 8), keys(8)
  id_B, logp_B = sample(key_B, some_BV, 1.0)
  assert len(set(id_B.tolist())) > 1
  order = np.array([5, 2, 7])
  id_b, logp_b = sample(key_B[order], some_BV[:3], 1.0)
  np.testing.assert_array_equal(id_b, id_B[order])
  np.testing.assert_array_equal(logp_b, logp_B[order])


def test_a_draw_is_jax_random_categorical():
  logits_BV = jax.random.normal(jax.random.key(1), (64, 300)) * 3
  key_B = jax.random.split(jax.random.key(2), 64)
  id_B, _ = sample(key_B, logits_BV, 1.0)
  np.testing.assert_array_equal(id_B, jax.vmap(jax.random.categorical)(key_B, logits_BV))


def test_the_first_of_equally_large_ones_is_taken():
  x_BV = jnp.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [-jnp.inf, -jnp.inf, 0.0]])
  np.testing.assert_array_equal(choose.first_largest(x_BV), [1, 0, 2])
