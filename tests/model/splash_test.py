"""The splash kernel, interpreted, equals the oracle in what training reads of it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import sharding
from r1.model import attention, blockwise, splash
from tests.model import attention_test, tiny

BLOCK = 128
body = functools.partial(splash.splash, block=BLOCK, rules=None, interpret=True)


def long():
  """Rows of 300 slots, more than two blocks: 190 + 60 + 50 of padding, and one whole document."""
  position, segment = np.tile(np.arange(300), (2, 1)), np.ones((2, 300), int)
  position[0, 190:250], segment[0, 190:250] = np.arange(60), 2
  position[0, 250:], segment[0, 250:] = 0, 0
  return attention_test.own(position, segment)


def values(body, places):
  return tiny.jit(lambda arrays: body(*arrays, places))(attention_test.draw(places))


def test_out_and_its_gradients_equal_the_oracles_over_several_blocks():
  places = long()

  def out(body):
    arrays = attention_test.draw(places)
    noise = np.random.default_rng(5).standard_normal((2, 300, attention_test.H, attention_test.W))
    loss = lambda arrays: jnp.sum(body(*arrays, places)[0] * noise.astype(np.float32))
    return tiny.jit(jax.value_and_grad(loss))(arrays)

  (value, got), (want_value, want) = out(body), out(attention.einsum)
  np.testing.assert_allclose(value, want_value, rtol=1e-5)
  for name, a, b in zip(("query", "key", "value"), got, want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5, err_msg=name)
    assert np.abs(b).max() > 0.1
    assert not np.asarray(a)[0, 250:].any()  # padding gives no gradient


def test_out_and_logsumexp_equal_the_oracles_where_rows_are_shorter_than_a_block():
  places = attention_test.packed()
  out, lse = values(body, places)
  want_out, want_lse = values(attention.einsum, places)
  np.testing.assert_allclose(out, want_out, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(lse, want_lse, rtol=1e-5, atol=1e-5)
  assert not np.asarray(out)[0, 8:].any()
  assert (np.asarray(lse)[0, 8:] == attention.NEVER).all()


def test_a_mesh_splits_rows_and_heads_without_changing_a_number():
  places = attention_test.packed()
  arrays = attention_test.draw(places)
  split = functools.partial(body, rules=sharding.FSDP_TENSOR)
  with sharding.on(sharding.make_mesh({"fsdp": 2, "tensor": 2, "context": 2})):
    out, lse = tiny.jit(split)(*arrays, places)
  assert out.addressable_shards[0].data.shape == (1, 11, 2, attention_test.W)
  want = values(body, places)
  np.testing.assert_array_equal(out, want[0])
  np.testing.assert_array_equal(lse, want[1])


def test_the_logsumexp_refuses_to_be_differentiated_rather_than_being_silent():
  places = attention_test.packed()
  arrays = attention_test.draw(places)
  with pytest.raises(NotImplementedError, match="logsumexp has no gradient here"):
    jax.make_jaxpr(jax.grad(lambda arrays: jnp.sum(body(*arrays, places)[1])))(arrays)


def test_windows_and_uneven_blocks_are_refused():
  places = attention_test.windowed()
  with pytest.raises(ValueError, match="splash' has no windows; take attend='blockwise'"):
    body(*attention_test.draw(places), places)
  places = attention_test.packed()
  with pytest.raises(ValueError, match="attention_block=100: attend='splash' needs a multiple of"):
    body(*attention_test.draw(places), places, block=100)


def test_a_config_picks_it():
  cfg = tiny.config(attend="splash", attention_block=256)
  chosen = blockwise.body(cfg)
  assert chosen.func is splash.splash
  assert chosen.keywords == {"block": 256, "rules": None, "interpret": False}
  assert blockwise.body(dataclasses.replace(cfg, attend="einsum")) is attention.einsum
