"""One function scores and is learned from: temperature, alignment, and its compiled form."""

import jax
import numpy as np
import pytest

from r1.algorithms import logp
from r1.data import packing
from r1.model import heads, transformer
from tests.train import tiny

CFG = tiny.model()
TOKENS = ([5, 9, 200, 7, 31, 2], [8, 8, 77])


def packed(sequences, row=16):
  return packing.pack([(list(t), [True] * len(t)) for t in sequences], row)


def by_hand(weights, tokens, temperature):
  """log softmax(logits / temperature)[next token], one sequence alone in its row."""
  row = packed([tokens], len(tokens))
  out = transformer.forward(weights, row.token_BL, row.position_BL, row.segment_BL, CFG)
  head_DV = heads.matrix(weights, CFG)
  logits_LV = np.asarray(heads.logits(head_DV, out.hidden_BLD, CFG), np.float64)[0] / temperature
  norm_L = np.log(np.exp(logits_LV).sum(axis=1))
  return [logits_LV[i, t] - norm_L[i] for i, t in enumerate(tokens[1:])]


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_packed_row_scores_each_token_as_its_sequence_alone_does(temperature):
  """The temperature divides the logits once (TRL #3029); index l speaks of token l + 1."""
  weights = tiny.params(CFG)
  row = packed(TOKENS)
  logp_BL = np.asarray(logp.score(weights, row, CFG, temperature))
  for at, tokens in zip((0, 6), TOKENS):
    scored = logp_BL[0, at : at + len(tokens) - 1]
    np.testing.assert_allclose(scored, by_hand(weights, tokens, temperature), atol=1e-5)


def test_the_entropy_is_that_of_the_same_softmax():
  weights, row = tiny.params(CFG), packed(TOKENS)
  _, entropy_BL, _ = logp.token_logp(weights, row, CFG, 0.5)
  out = transformer.forward(weights, row.token_BL, row.position_BL, row.segment_BL, CFG)
  logits_BLV = heads.logits(heads.matrix(weights, CFG), out.hidden_BLD, CFG) / 0.5
  prob_BLV = np.asarray(jax.nn.softmax(logits_BLV), np.float64)
  wanted_BL = -(prob_BLV * np.log(np.maximum(prob_BLV, 1e-30))).sum(axis=-1)
  np.testing.assert_allclose(entropy_BL, wanted_BL, atol=1e-4)


def test_scoring_twice_gives_the_same_bits():
  weights, row = tiny.params(CFG), packed(TOKENS)
  first, again = (np.asarray(logp.score(weights, row, CFG, 1.0)) for _ in range(2))
  np.testing.assert_array_equal(first, again)


def test_another_temperature_compiles_nothing_anew():
  weights, row = tiny.params(CFG), packed(TOKENS)
  logp.score(weights, row, CFG, 1.0)
  before = logp.score._cache_size()
  logp.score(weights, row, CFG, 0.3)
  assert logp.score._cache_size() == before
