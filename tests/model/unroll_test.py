"""Unrolled and turned-over weights compute what the stacked ones do."""

import numpy as np
import pytest

from r1.model import heads, layers, presets, transformer, unroll
from tests.model import tiny


@pytest.mark.parametrize("name", ["plain", "biased", "windows", "tiny-deepseek-v3", "tiny-qwen3"])
def test_the_model_is_the_same(name):
  cfg = {
    "plain": lambda: tiny.config(tied=True),
    "biased": lambda: tiny.config(feed_bias=True, o_bias=True, tied=False),
    "windows": lambda: tiny.config(windows=(0, 3)),
  }.get(name, lambda: presets.config(name, tiny.RUNTIME))()
  params = tiny.params(cfg)
  turned = unroll.unroll(params, cfg)
  token_BL = np.arange(12, dtype=np.int32).reshape(2, 6)
  at_BL, one_BL = np.tile(np.arange(6, dtype=np.int32), (2, 1)), np.ones((2, 6), np.int32)

  @tiny.jit
  def logits(p):
    out = transformer.forward(p, token_BL, at_BL, one_BL, cfg)
    return heads.logits(heads.matrix(p, cfg), out.hidden_BLD, cfg)

  np.testing.assert_allclose(logits(turned), logits(params), atol=2e-5, rtol=1e-5)


def test_a_product_is_the_einsum_it_names():
  rng = np.random.default_rng(0)
  x_BLHK = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  o_HKD = rng.normal(size=(4, 5, 6)).astype(np.float32)
  wanted = np.einsum("BLHK,HKD->BLD", x_BLHK, o_HKD)
  for weight in (o_HKD, layers.turn(o_HKD, 2)):
    found = layers.product("BLHK,HKD->BLD", x_BLHK, weight)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
