"""Attention over pages equals attention over the same tokens in rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import attention, cache, pages, quantise
from tests.model import tiny

M, K, N, H = 4, 8, 2, 4
RNG = np.random.default_rng(0)


def normal(*shape):
  return RNG.normal(size=shape).astype(np.float32)


def entries(listed, lanes):
  room = 8
  page_I, start_I, fill_I = (np.zeros(room, np.int32) for _ in range(3))
  reader_IG = np.full((room, lanes), -1, np.int32)
  for i, (page, start, fill, readers) in enumerate(listed):
    page_I[i], start_I[i], fill_I[i] = page, start, fill
    reader_IG[i, : len(readers)] = readers
  return pages.Entries(*map(jnp.asarray, (page_I, start_I, fill_I, reader_IG, len(listed))))


def coded(buffers, codes):
  """These numbers as buffers that keep 8-bit codes, or as they are."""
  like = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in buffers.items()}
  return quantise.packed(buffers, quantise.specs(like, codes) if codes else like)


@pytest.mark.parametrize(
  ("window", "turned", "codes"),
  [
    (None, False, ""),
    (5, False, ""),
    (None, True, ""),
    (5, False, "int8"),
    (None, True, "int8"),
    (None, False, "float8_e4m3fn"),
  ],
)
def test_shared_and_own_pages_join_to_the_oracle(window, turned, codes):
  """Row 0 reads shared page 3 (three tokens), its own page 1 and two fresh tokens; row 1 the shared
  page and fresh ones alone; row 2 nothing but fresh ones. Of codes the oracle is shown what they
  stand for."""
  pool = {"key_ZBNKM": normal(1, 6, N, K, M), "value_ZBNMK": normal(1, 6, N, M, K)}
  fresh = {"key_ZBNKM": normal(1, 3, N, K, M), "value_ZBNMK": normal(1, 3, N, M, K)}
  pool, fresh = (coded(jax.tree.map(jnp.asarray, x), codes) for x in (pool, fresh))
  query, key, value = jnp.asarray(normal(3, 1, H, K)), normal(3, 1, N, K), normal(3, 1, N, K)
  shared, own = entries([(3, 0, 3, [0, 1])], 2), entries([(1, 3, 4, [0])], 1)
  held_so = pool | {"key_ZBNMK": jnp.swapaxes(pool["key_ZBNKM"], -1, -2)}
  del held_so["key_ZBNKM" if turned else "key_ZBNMK"]
  paged = pages.Paged({"": fresh}, jnp.int32(1), {"": held_so}, shared, own)
  position_BL = jnp.array([[8], [4], [1]], jnp.int32)
  places = attention.Places(
    position_BL,
    np.ones((3, 1), np.int32),
    *pages.seen(paged, position_BL),
    window=None if window is None else jnp.int32(window),
  )
  held = cache.Held(fresh, 0, 0, "", paged)
  out_BLHK, buffers = pages.gqa(held, query, key, value, places)
  pool, buffers = (quantise.unpacked(x, jnp.float32) for x in (pool, buffers))
  for b, listed in enumerate([[(3, 3), (1, 4)], [(3, 3)], []]):
    keys = [pool["key_ZBNKM"][0, p, :, :, :n].transpose(2, 0, 1) for p, n in listed]
    values = [pool["value_ZBNMK"][0, p, :, :n].transpose(1, 0, 2) for p, n in listed]
    keys += [np.asarray(buffers["key_ZBNKM"])[0, b, :, :, :2].transpose(2, 0, 1)]
    values += [np.asarray(buffers["value_ZBNMK"])[0, b, :, :2].transpose(1, 0, 2)]
    whole = np.concatenate(keys)[None], np.concatenate(values)[None]
    count = whole[0].shape[1]
    assert count == position_BL[b, 0] + 1
    at, one = np.arange(count, dtype=np.int32)[None], np.ones((1, count), np.int32)
    where = attention.Places(position_BL[b : b + 1], one[:, :1], at, one, places.window)
    wanted, _ = attention.einsum(query[b : b + 1], *whole, where)
    np.testing.assert_allclose(out_BLHK[b], wanted[0], atol=1e-5)
  new = {"key_ZBNKM": jnp.asarray(key[:, 0, :, :, None])}
  new = quantise.unpacked(coded(new, codes), jnp.float32)["key_ZBNKM"][..., 0]
  np.testing.assert_array_equal(buffers["key_ZBNKM"][0, :, :, :, 1], new)
  assert np.array_equal(new, key[:, 0]) == (not codes)


def test_attention_over_int8_is_off_by_what_rounding_may_do():
  """A key's number is off by 1/254 of its head's largest, so a score by d at most, the weights
  together by exp(2 d) - 1, and the result by as much of the largest value, beside 1/254 of it."""
  query_BNLK = jnp.asarray(normal(5, N, 1, K))
  key, value = jnp.asarray(normal(5, N, K, 32)), jnp.asarray(normal(5, N, 32, K))
  found = coded({"key_ZBNKM": key, "value_ZBNMK": value}, "int8")
  found = quantise.unpacked(found, jnp.float32)
  exact, _ = attention.few(query_BNLK, key, value, True)
  rough, _ = attention.few(query_BNLK, found["key_ZBNKM"], found["value_ZBNMK"], True)
  top_BN1M, top_BN = jnp.abs(key).max(axis=2)[:, :, None], jnp.abs(value).max(axis=(2, 3))
  d_BN = (jnp.abs(query_BNLK).sum(axis=-1) * top_BN1M[:, :, 0] / 254 * K**-0.5).max(axis=-1)
  bound_BN = (jnp.exp(2 * d_BN) - 1 + 1 / 254) * top_BN
  error_BN = jnp.abs(rough - exact).max(axis=(2, 3))
  assert (error_BN <= bound_BN).all()
  assert error_BN.min() > 1e-4


def test_a_lane_that_is_free_gives_nothing_away():
  """Its scores may be anything: a weight of 0 times infinity would be NaN."""
  carry = jnp.zeros((2, 1, 3)), jnp.zeros((2, 1)), jnp.ones((2, 1))
  out = jnp.full((2, 1, 1, 3), 7.0)
  found, _, total = pages.hand_out(carry, jnp.array([-1, 1]), out, jnp.array([[[1e4]], [[0.0]]]))
  np.testing.assert_allclose(found[:, 0, 0], [0.0, 7.0])
  np.testing.assert_allclose(total[:, 0], [1.0, 2.0])


def test_a_prompt_is_cut_into_pages_row_by_row():
  cfg = tiny.config()
  stacks = cache.empty(cfg, 2, 8).stacks
  counted = {
    name: {k: jnp.arange(x.size, dtype=jnp.float32).reshape(x.shape) for k, x in buffers.items()}
    for name, buffers in stacks.items()
  }
  for name, buffers in pages.cut(pages.Prompt(counted), 4).items():
    for key, paged in buffers.items():
      axis = cache.slot_axis(key)
      for row in range(2):
        for i in range(2):
          wanted = jnp.take(counted[name][key][:, row], jnp.arange(4 * i, 4 * i + 4), axis=axis - 1)
          np.testing.assert_array_equal(paged[:, 2 * row + i], wanted)


def test_a_tpus_pool_holds_the_same_numbers_turned():
  cfg = tiny.config()
  stacks = cache.empty(cfg, 2, 4).stacks
  fresh = {
    stack: {key: normal(*x.shape) for key, x in held.items()} for stack, held in stacks.items()
  }
  plain, turned = (
    pages.store(pages.empty(cfg, 5, 4, platform, ""), fresh, jnp.array([3, 5]))
    for platform in ("cpu", "tpu")
  )
  for stack, held in turned.items():
    assert set(held) == {"key_ZBNMK", "value_ZBNMK"}
    np.testing.assert_array_equal(held["key_ZBNMK"][:, 3], fresh[stack]["key_ZBNKM"][:, 0].mT)
    np.testing.assert_array_equal(held["key_ZBNMK"], plain[stack]["key_ZBNKM"].mT)
    np.testing.assert_array_equal(held["value_ZBNMK"], plain[stack]["value_ZBNMK"])
