"""Log-probabilities: chunked as dense, aligned with their tokens, at one temperature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import logp as token_logp
from r1.data import packing
from r1.model import heads, transformer
from tests.model import reference, tiny


def draw(cfg, B=3, L=7):
  rng = np.random.default_rng(2)
  hidden_BLD = jnp.asarray(rng.standard_normal((B, L, cfg.D)), jnp.float32)
  return hidden_BLD, jnp.asarray(rng.integers(0, cfg.ids, (B, L)), jnp.int32)


def dense(params, hidden_BLD, target_BL, cfg, temperature):
  """(logp_BL, entropy_BL) with all logits at one time."""
  logits_BLV = heads.logits(heads.matrix(params, cfg), hidden_BLD, cfg) / temperature
  logp_BLV = jax.nn.log_softmax(logits_BLV)
  logp_BL1 = jnp.take_along_axis(logp_BLV, target_BL[..., None], axis=-1)
  return logp_BL1[..., 0], -jnp.sum(jnp.exp(logp_BLV) * logp_BLV, axis=-1)


@functools.cache
def differentiated(body, chunk, tied):
  """((loss, (logp_BL, entropy_BL)), gradients of the weights and of the hidden states)."""
  cfg = tiny.config(logit_chunk=chunk, tied=tied, ids=29)
  params, (hidden_BLD, target_BL) = tiny.params(cfg), draw(cfg)
  weight_BL = np.random.default_rng(0).standard_normal(target_BL.shape).astype(np.float32)

  def loss(params, hidden_BLD):
    logp_BL, entropy_BL = body(params, hidden_BLD, target_BL, cfg, 0.7)
    return jnp.sum(weight_BL * logp_BL), (logp_BL, entropy_BL)

  return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, hidden_BLD)


@pytest.mark.parametrize(("chunk", "tied"), [(1, True), (6, True), (1000, True), (10, False)])
def test_chunked_equals_dense_in_values_and_gradients(chunk, tied):
  """3 rows of 7 tokens: chunks of 1, 2 and 3 tokens of each row, and all at once."""
  near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  want = differentiated(dense, 1000, tied)
  jax.tree.map(near, differentiated(heads.logp, chunk, tied), want)


def test_two_ids_by_hand():
  # Logits 2 and 0: log 1/(1 + e^-2) = -.126928, entropy .365334. At temperature 2, logits 1 and 0:
  # -.313262 and .582203. Dividing twice would give those of logits .5 and 0: -.474077 (TRL #3029).
  cfg = tiny.config(D=1, V=2, ids=2, tied=False)
  params = {"head_DV": jnp.array([[2.0, 0.0]])}
  for temperature, want, entropy in ((1.0, -0.126928, 0.365334), (2.0, -0.313262, 0.582203)):
    logp_BL, entropy_BL = heads.logp(
      params, jnp.ones((1, 1, 1)), jnp.zeros((1, 1), jnp.int32), cfg, temperature
    )
    np.testing.assert_allclose(logp_BL, [[want]], atol=1e-6)
    np.testing.assert_allclose(entropy_BL, [[entropy]], atol=1e-6)


def test_the_log_probability_of_token_i_belongs_to_token_i():
  """prime-rl #605: through packing and back, each number is its token's given those before it."""
  cfg = tiny.config(ids=29)
  params, sequences = tiny.params(cfg), tiny.documents([5, 7, 3, 1], tiny.config(ids=29))
  lengths = [len(tokens) for tokens in sequences]
  placement = packing.place(lengths, 9)
  assert max(len(members) for members in placement) > 1
  packed = tiny.packed(sequences, 9)
  found = packing.gather(np.asarray(token_logp.score(params, packed, cfg, 0.8)), placement, lengths)
  for tokens, logp in zip(sequences, found, strict=True):
    np.testing.assert_allclose(logp, reference.logp(params, tokens, cfg, 0.8), rtol=1e-5, atol=1e-5)


def test_ids_beyond_the_tokenizer_have_probability_zero():
  cfg = tiny.config(ids=29)
  params, (hidden_BLD, _) = tiny.params(cfg), draw(tiny.config(), B=2, L=1)
  prob = []
  for v in range(cfg.V):
    target_BL = jnp.full((2, 1), v, jnp.int32)
    prob.append(np.exp(tiny.logp(params, hidden_BLD, target_BL, cfg, 1.0)[0]))
  np.testing.assert_array_equal(prob[29:], np.zeros((3, 2, 1)))
  np.testing.assert_allclose(np.sum(prob, axis=0), np.ones((2, 1)), rtol=1e-5)
  logits_BLV = heads.logits(heads.matrix(params, cfg), hidden_BLD, cfg)  # what the sampler sees
  np.testing.assert_allclose(jax.nn.softmax(logits_BLV)[..., 29:], np.zeros((2, 1, 3)))


def test_ids_beyond_the_tokenizer_get_no_gradient():
  cfg = tiny.config(ids=29, tied=False)
  params, (hidden_BLD, target_BL) = tiny.params(cfg), draw(cfg)
  loss = lambda p: jnp.sum(heads.logp(p, hidden_BLD, target_BL, cfg, 1.0)[0])
  head_DV = jax.grad(loss)(params)["head_DV"]
  assert not head_DV[:, 29:].any()
  assert np.isfinite(head_DV).all()
  assert np.abs(head_DV[:, :29]).min() > 0


def test_the_entropy_of_equal_logits_is_the_log_of_the_ids_and_has_no_gradient():
  cfg = tiny.config(ids=29, tied=False)
  params = {"head_DV": jnp.zeros((cfg.D, cfg.V))}
  entropy = lambda p: jnp.sum(heads.logp(p, *draw(cfg), cfg, 1.0)[1])
  value, gradient = jax.value_and_grad(entropy)(params)
  np.testing.assert_allclose(value, 21 * np.log(29), rtol=1e-6)
  assert not gradient["head_DV"].any()
  drawn = jax.grad(entropy)({"head_DV": jnp.asarray(tiny.params(cfg)["head_DV"])})
  assert not drawn["head_DV"].any()


def test_the_scalar_head_is_a_product_in_float32_by_hand():
  # 3 * 2 + (-1) * 0.5 = 5.5; in bfloat16 256 + 1 would be 256.
  cfg = tiny.config(D=2, scalar=True, dtype="bfloat16")
  hidden_BLD = jnp.array([[[3.0, -1.0], [256.0, 2.0]]], jnp.bfloat16)
  value_BL = heads.scalar({"scalar_D": jnp.array([2.0, 0.5])}, hidden_BLD, cfg)
  assert value_BL.dtype == jnp.float32
  np.testing.assert_array_equal(value_BL, [[5.5, 513.0]])


def test_either_head_says_what_the_other_kind_of_model_lacks():
  hidden_BLD, target_BL = draw(tiny.config())
  with pytest.raises(ValueError, match="it predicts no tokens: give a language model"):
    heads.logp({}, hidden_BLD, target_BL, tiny.config(scalar=True), 1.0)
  with pytest.raises(ValueError, match="the model has no scalar head"):
    heads.scalar(tiny.params(tiny.config()), hidden_BLD, tiny.config())


def test_targets_of_another_length_are_refused():
  cfg = tiny.config()
  hidden_BLD, target_BL = draw(cfg)
  with pytest.raises(ValueError, match="L is 6 here and 7 elsewhere"):
    heads.logp(tiny.params(cfg), hidden_BLD, target_BL[:, 1:], cfg, 1.0)


@pytest.mark.parametrize(("chunk", "whole"), [(8, False), (96, True)])
def test_the_loss_makes_no_array_of_tokens_by_vocabulary(chunk, whole):
  """Forward and backward, 2 rows of 48 tokens, 256 ids: all tokens in one chunk make one."""
  cfg = tiny.config(V=256, ids=250, logit_chunk=chunk, context=48)
  row = jax.ShapeDtypeStruct((2, 48), jnp.int32)

  def loss(params, token_BL, position_BL, segment_BL):
    out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg)
    return jnp.sum(heads.logp(params, out.hidden_BLD, token_BL, cfg, 1.0)[0])

  largest = tiny.largest(jax.value_and_grad(loss), tiny.params(cfg), row, row, row)
  assert (largest >= 2 * 48 * 256) == whole
