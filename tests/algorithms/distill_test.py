"""A teacher's distribution: KL by hand, chunked as dense, in the weights of the whole step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import distill, experts, sft
from r1.model import heads, transformer
from r1.train import step
from tests.algorithms import sft_test
from tests.model import tiny as model_tiny
from tests.train import tiny

OWN = model_tiny.config(ids=29, logit_chunk=6)
TEACHER = model_tiny.config(D=24, V=40, ids=29, tied=False)  # wider, and padded otherwise


def hidden(cfg, seed, B=3, L=7):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.standard_normal((B, L, cfg.D)), jnp.float32)


def dense(own, teacher, temperature):
  """kl_BL with all logits of both at one time, over the ids that there are."""
  logp_BLV, wanted_BLV = (
    jax.nn.log_softmax(
      heads.logits(heads.matrix(params, cfg), x_BLD, cfg)[..., : cfg.ids] / temperature
    )
    for params, x_BLD, cfg in (own, teacher)
  )
  return jnp.sum(jnp.exp(wanted_BLV) * (wanted_BLV - logp_BLV), axis=-1)


@functools.cache
def differentiated(body, chunk):
  """(kl_BL, gradients of both models' weights and hidden states) of a weighted sum."""
  cfg = dataclasses.replace(OWN, logit_chunk=chunk)
  weight_BL = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)

  def loss(params, hidden_BLD, other, guide_BLD):
    kl_BL = body((params, hidden_BLD, cfg), (other, guide_BLD, TEACHER), 0.7)
    return jnp.sum(weight_BL * kl_BL), kl_BL

  given = model_tiny.params(cfg), hidden(cfg, 1), model_tiny.params(TEACHER), hidden(TEACHER, 2)
  (_, kl_BL), grads = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True))(*given)
  return kl_BL, grads


@pytest.mark.parametrize("chunk", [1, 6, 1000])
def test_chunked_equals_dense_in_values_and_gradients(chunk):
  """3 rows of 7 tokens: chunks of 1 and 2 tokens of each row, the last one padded, and all."""
  near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  found, (own, own_hidden, *_) = differentiated(distill.divergence, chunk)
  want, (plain, plain_hidden, *_) = differentiated(dense, 1000)
  assert np.asarray(want).min() > 0.05
  near(found, want)
  jax.tree.map(near, (own, own_hidden), (plain, plain_hidden))


def test_the_teacher_has_no_gradient():
  _, (*_, other, guide) = differentiated(distill.divergence, 6)
  assert not any(np.asarray(x).any() for x in jax.tree.leaves((other, guide)))
  _, (*_, plain, _) = differentiated(dense, 1000)
  assert any(np.asarray(x).any() for x in jax.tree.leaves(plain)), "the formula has one"


def test_two_ids_by_hand():
  # The teacher's logits 2 and 0 are (.880797, .119203) with entropy .365334; own 0 and 0 are even:
  # log 2 - .365334 = .327813, and the other way round it would be .433781. At temperature 2 the
  # teacher's 1 and 0 have entropy .582203: log 2 - .582203 = .110944. d/dz of KL at temperature t
  # is (own - teacher) / t: (.5 - .880797) and, at 2, (.5 - .731059) / 2.
  cfg = model_tiny.config(D=2, V=2, ids=2, tied=False)
  own, teacher = {"head_DV": jnp.eye(2)}, {"head_DV": 2 * jnp.eye(2)}
  guide_BLD = jnp.array([[[1.0, 0.0]]])
  for temperature, want, slope in ((1.0, 0.327813, -0.380797), (2.0, 0.110944, -0.115529)):

    def kl(x_BLD, temperature=temperature):
      return distill.divergence((own, x_BLD, cfg), (teacher, guide_BLD, cfg), temperature).sum()

    value, grad_BLD = jax.value_and_grad(kl)(jnp.zeros((1, 1, 2)))
    assert value == pytest.approx(want, abs=1e-6)
    np.testing.assert_allclose(grad_BLD, [[[slope, -slope]]], atol=1e-6)


def test_no_array_holds_the_logits_of_all_tokens():
  """8 rows of 64 tokens and 512 ids, 16 tokens at a time, forward and backward."""
  B, L, chunk = 8, 64, 16
  cfg = model_tiny.config(D=8, V=512, ids=512, logit_chunk=chunk)
  params, x_BLD = model_tiny.params(cfg), hidden(cfg, 0, B, L)

  def loss(params, x_BLD):
    return distill.divergence((params, x_BLD, cfg), (params, x_BLD + 1, cfg), 2.0).sum()

  assert model_tiny.largest(jax.grad(loss, argnums=(0, 1)), params, x_BLD) == chunk * cfg.V
  whole = dataclasses.replace(cfg, logit_chunk=B * L)

  def at_once(params, x_BLD):
    return distill.divergence((params, x_BLD, whole), (params, x_BLD + 1, whole), 2.0).sum()

  assert model_tiny.largest(jax.grad(at_once, argnums=(0, 1)), params, x_BLD) == B * L * cfg.V


def test_other_ids_or_other_tokens_are_refused():
  params, x_BLD = model_tiny.params(OWN), hidden(OWN, 0)
  other = dataclasses.replace(OWN, ids=28)
  with pytest.raises(ValueError, match=r"\(3, 7\) tokens of 29 ids, the teacher's .* of 28"):
    distill.divergence((params, x_BLD, OWN), (params, x_BLD, other), 1.0)
  with pytest.raises(ValueError, match=r"the teacher's \(3, 6\) of 29"):
    distill.divergence((params, x_BLD, OWN), (params, x_BLD[:, :6], OWN), 1.0)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"logits": -0.1}, "logits=-0.1: wanted a share"),
    ({"logits": 1.5}, "logits=1.5: wanted a share"),
    ({"temperature": 0.0}, "temperature=0.0 must be > 0"),
    ({"teacher": ""}, "teacher='' and logits=0.5: a teacher needs a share"),
    ({"logits": 0.0}, "teacher='runs/r1' and logits=0.0: a teacher needs a share"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    distill.DistillConfig(**{"teacher": "runs/r1", "logits": 0.5, "temperature": 2.0} | changes)


# The loss of a step ------------------------------------------------------------------------------


CFG = sft_test.CFG
WIDE = tiny.model(D=24, stacks=(("dense", 1),))


def guide(logits, temperature):
  """A share of 0 takes no teacher; here it has one, to see that nothing comes of it."""
  teacher = "runs/r1" if logits else ""
  return distill.DistillConfig(teacher=teacher, logits=logits, temperature=temperature)


def given(row_tokens=64, rows=1):
  return sft_test.assembled(sft_test.sequences(), row_tokens, rows)


@functools.cache
def weights():
  return sft_test.params(), tiny.params(WIDE)


def stepped(logits, row_tokens=64, rows=1):
  """(gradient, loss, metrics) of a step with a share of the teacher's distribution."""
  guided = guide(logits, 2.0)
  loss = distill.make_loss(WIDE, guided, CFG, experts.OFF, 0.0)
  batch, used = given(row_tokens, rows)

  def whole(params, teacher, batch, used):
    return step.accumulate(lambda p, micro: loss(p, micro, teacher), params, batch, used)

  return model_tiny.jit(whole)(*weights(), batch, used)


@model_tiny.jit
def formula(params, teacher, batch, logits):
  """(gradient, loss) of the formula at temperature 2, all logits of all rows at one time."""
  live_BL = batch.weight_BL > 0

  def of_model(params, cfg):
    given = batch.token_BL, batch.position_BL, batch.segment_BL
    return params, transformer.forward(params, *given, cfg).hidden_BLD, cfg

  def loss(params):
    own, guide = of_model(params, CFG), of_model(teacher, WIDE)
    logp_BLV = jax.nn.log_softmax(heads.logits(heads.matrix(params, CFG), own[1], CFG))
    logp_BL = jnp.take_along_axis(logp_BLV, batch.target_BL[..., None], -1)[..., 0]
    both_BL = -(1 - logits) * logp_BL + logits * 4 * dense(own, guide, 2.0)
    return jnp.sum(jnp.where(live_BL, both_BL, 0)) / jnp.sum(live_BL)

  value, grads = jax.value_and_grad(loss)(params)
  return grads, value


@functools.cache
def plain(logits):
  """The same of conversations in rows of their own."""
  alone = [sft_test.assembled([one], 64, 1, microbatches=1)[0] for one in sft_test.sequences()]
  return formula(*weights(), jax.tree.map(lambda *x: np.concatenate(x)[:, 0], *alone), logits)


@pytest.mark.parametrize(("logits", "row_tokens", "rows"), [(0.4, 64, 1), (1.0, 48, 2)])
def test_a_packed_step_is_the_plain_formula(logits, row_tokens, rows):
  """Whatever the rows and micro-batches: the weights are of the whole step."""
  grads, value, metrics = stepped(logits, row_tokens=row_tokens, rows=rows)
  wanted, loss = plain(logits)
  assert value == pytest.approx(float(loss), rel=1e-5)
  assert sft_test.apart(grads, wanted) < 1e-5
  assert metrics["sum"]["sft/teacher_kl"] > 0


def test_without_a_share_it_is_the_loss_on_the_text():
  grads, value, _ = stepped(0.0)
  wanted, text, _ = sft_test.accumulated(*given())
  assert value == pytest.approx(float(text), rel=1e-6)
  assert sft_test.apart(grads, wanted) < 1e-6


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it():
  guided = guide(1.0, 1.0)
  loss = distill.make_loss(CFG, guided, CFG, experts.OFF, 0.0)
  batch, used = given()
  whole = lambda p, micro: loss(p, micro, sft_test.params())
  grads, value, metrics = model_tiny.jit(functools.partial(step.accumulate, whole))(
    sft_test.params(), batch, used
  )
  assert float(value) == pytest.approx(0, abs=1e-6)
  assert float(metrics["sum"]["sft/teacher_kl"]) == pytest.approx(0, abs=1e-4)
  assert sft_test.size(grads) < 1e-5 * sft_test.size(sft_test.accumulated(batch, used)[0])
  assert isinstance(batch, sft.SftBatch)
