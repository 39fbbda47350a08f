"""One optimiser step: any split into micro-batches is the one big batch; NaN is never applied."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1 import sharding
from r1.algorithms import advantages, experts, minibatch
from r1.model import transformer
from r1.train import optimizer, rl, state, step
from tests.train import tiny

NOTHING = {"sum": {}, "max": {}, "count": 1.0}
CFG = tiny.model()
GRPO = tiny.grpo_config(kl=0.3, clip_low=0.1, clip_high=0.1)


def weighted(params, micro):
  """sum(weight x loss of a token x w): linear in w, so the gradient is the loss at w = 1."""
  return params["w"] * jnp.sum(micro["weight_BL"] * micro["loss_BL"]), NOTHING


def tokens_of(losses, weights, order):
  """One row per response, 900 wide; the response's tokens share a loss and a weight."""
  shape = (len(order), 1, 900)
  loss, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for u, i in enumerate(order):
    count = (100, 900)[i]
    loss[u, 0, :count], weight[u, 0, :count] = losses[i], weights[i]
  return {"loss_BL": jnp.asarray(loss), "weight_BL": jnp.asarray(weight)}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_losses_of_uneven_micro_batches_are_no_mean_of_means(order):
  """TRL #3021, verl #906: 2.0 over 100 tokens and 0.5 over 900 make .2 + .45 = .65, not 1.25."""
  weights = advantages.token_weights([100, 900], [True, True], GRPO)
  batch = tokens_of((2.0, 0.5), weights, order)
  params = {"w": jnp.float32(1.0)}
  grads, value, _ = step.accumulate(weighted, params, batch, 2)
  assert float(value) == pytest.approx(0.65, rel=1e-5)
  assert float(grads["w"]) == pytest.approx(0.65, rel=1e-5)


# The GRPO loss of a small transformer -----------------------------------------------------------


def assembled(row_tokens, rows, *, spare=0, count=12):
  """(batch, micro-batches in use) of the same twelve samples in another shape."""
  samples, rng = tiny.random_samples(count), np.random.default_rng(1)
  lengths = np.array([s.length for s in samples])
  counted = np.arange(count) % 5 != 4
  noise = [[rng.normal(-5.5, 0.5, len(s.tokens)) for s in samples] for _ in range(2)]
  return minibatch.assemble(
    samples,
    question_B=tiny.question_numbers(samples),
    advantage_B=rng.standard_normal(count),
    weight_B=advantages.token_weights(lengths, counted, GRPO),
    old=noise[0],
    ref=noise[1],
    cfg=tiny.batch_config(row_tokens, rows),
    microbatches=-(-count // rows) + spare,  # enough for a row per sample
  )


def with_heat(batch, value=1.0):
  return batch, np.full(batch.token_BL.shape[0], value, np.float32)


def numbers(metrics):
  return {name: float(x) for name, x in metrics.items()}


accumulated = jax.jit(functools.partial(step.accumulate, rl.make_loss(CFG, GRPO, experts.OFF)))


def added(batch, used):
  return accumulated(tiny.params(CFG), with_heat(batch), used)


@pytest.fixture(scope="module")
def whole():
  return added(*assembled(64, 12))


@pytest.mark.parametrize(("row_tokens", "rows"), [(64, 1), (64, 2), (32, 2), (128, 1)])
def test_loss_and_gradient_are_those_of_one_big_batch_for_any_split(whole, row_tokens, rows):
  batch, used = assembled(row_tokens, rows)
  assert used > 1, "the split must split"
  grads, value, total = added(batch, used)
  assert float(value) == pytest.approx(float(whole[1]), rel=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), grads, whole[0])
  assert float(total["count"]) == float(whole[2]["count"])
  for kind in ("sum", "max"):
    assert numbers(total[kind]) == pytest.approx(numbers(whole[2][kind]), rel=1e-4)


def poison(x, used):
  x = np.array(x)
  x[used:] = np.nan if x.dtype.kind == "f" else 0
  return x


def test_micro_batches_that_are_not_in_use_may_hold_anything(whole):
  batch, used = assembled(64, 3, spare=2)
  grads, value, _ = added(jax.tree.map(lambda x: poison(x, used), batch), used)
  assert float(value) == pytest.approx(float(whole[1]), rel=1e-5)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_a_step_without_any_sample_has_loss_zero_and_no_gradient():
  batch, _ = assembled(64, 3, spare=2)
  grads, value, total = added(batch, 0)
  assert float(value) == 0
  assert float(total["count"]) == 0
  assert not any(np.any(g) for g in jax.tree.leaves(grads))


# The update --------------------------------------------------------------------------------------


def update_of(loss, cfg=CFG, **changes):
  tx = optimizer.make(tiny.adam(**changes), transformer.specs(cfg))
  return tx, jax.jit(step.make_update(loss, tx))


@functools.cache
def grpo_update(cfg=CFG, **changes):
  return update_of(rl.make_loss(cfg, GRPO, experts.OFF), cfg, **changes)


def equal(a, b):
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def counters(made):
  return int(made.step), int(made.skipped), int(made.in_row)


def test_an_update_with_a_loss_of_nan_changes_nothing_but_the_count_of_them():
  tx, update = grpo_update()
  batch, used = assembled(64, 3)
  broken = batch.replace(advantage_BL=np.where(batch.weight_BL > 0, np.nan, 0.0))
  good = update(state.init(tiny.params(CFG), tx), with_heat(batch), used)[0]
  bad, metrics = update(good, with_heat(broken), used)
  assert np.isnan(metrics["policy/loss"])
  assert equal((bad.params, bad.opt), (good.params, good.opt))
  assert counters(good) == (1, 0, 0)
  assert counters(bad) == (1, 1, 1)
  bad, metrics = update(bad, with_heat(broken), used)
  assert counters(bad) == (1, 2, 2)
  assert (int(metrics["policy/skipped"]), int(metrics["policy/skipped_in_row"])) == (2, 2)
  after = update(bad, with_heat(batch), used)[0]
  assert counters(after) == (2, 2, 0)
  assert equal(after.params, update(good, with_heat(batch), used)[0].params)


def test_an_update_with_a_gradient_of_nan_is_not_applied_though_its_loss_is_finite():
  def loss(params, micro):
    # sqrt(0) is 0, its derivative infinite, and infinity x 0 is NaN.
    return jnp.sum(params["norm_D"]) + jnp.sqrt(0.0 * params["norm_D"][0]) + 0 * micro, NOTHING

  tx, update = update_of(loss)
  before = state.init(tiny.params(CFG), tx)
  after, metrics = update(before, jnp.zeros(1), 1)
  assert np.isfinite(metrics["policy/loss"])
  assert np.isnan(metrics["policy/grad_norm"])
  assert equal((after.params, after.opt), (before.params, before.opt))
  assert counters(after) == (0, 1, 1)


def test_the_gradient_norm_is_reported_before_the_clip():
  def loss(params, micro):
    return 3 * params["norm_D"][0] + 4 * params["norm_D"][1] + 0 * micro, NOTHING

  tx, update = update_of(loss, clip=0.5)
  after, metrics = update(state.init(tiny.params(CFG), tx), jnp.zeros(2), 2)
  # Two micro-batches: twice (3, 4), whose norm is 10; clipped to .5 the first moment is .1 of it.
  assert float(metrics["policy/grad_norm"]) == pytest.approx(10, rel=1e-6)
  moment_D = optax.tree_utils.tree_get(after.opt, "mu")["norm_D"]
  np.testing.assert_allclose(moment_D[:2], [0.03, 0.04], rtol=1e-5)


SLOW = [pytest.param({axis: 8}, marks=pytest.mark.slow) for axis in ("data", "fsdp")]


@pytest.mark.parametrize("sizes", [*SLOW, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_eight_devices_give_the_numbers_of_one(sizes):
  batch, used = assembled(64, 8, spare=1)
  tx, update = grpo_update()
  alone, wanted = update(state.init(tiny.params(CFG), tx), with_heat(batch), used)
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh(sizes)
  cfg = dataclasses.replace(CFG, rules=rules)
  specs = transformer.specs(cfg)
  with sharding.on(mesh):
    tx, update = update_of(rl.make_loss(cfg, GRPO, experts.OFF), cfg)
    weights = state.initial_params(jax.random.key(0), specs, mesh, rules)
    placed = sharding.place(with_heat(batch), mesh=mesh, rules=rules)
    spread, metrics = update(state.init(weights, tx), placed, used)
  assert numbers(metrics) == pytest.approx(numbers(wanted), rel=1e-4, abs=1e-6)
  moments = [optax.tree_utils.tree_get(made.opt, "mu") for made in (alone, spread)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), *moments)


def test_a_run_ends_where_updates_in_a_row_were_not_finite(tmp_path):
  step.check_finite({"policy/skipped_in_row": 2.0}, 3, 7, tmp_path)
  with pytest.raises(FloatingPointError, match="in 3 updates in a row at update 7; none of them"):
    step.check_finite({"policy/skipped_in_row": 3.0}, 3, 7, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_computation_may_be_in_bfloat16_while_all_that_adds_up_is_float32(dtype):
  """Weights, moments, gradients and the loss; an update smaller than bfloat16 tells is not lost."""
  cfg = dataclasses.replace(CFG, dtype=dtype)
  batch, used = assembled(64, 3)
  tx, update = grpo_update(cfg, learning_rate=1e-6)
  before = state.init(tiny.params(cfg), tx)
  after, metrics = update(before, with_heat(batch), used)
  kinds = {x.dtype for x in jax.tree.leaves((after.params, after.opt, metrics["policy/loss"]))}
  assert kinds <= {jnp.dtype("float32"), jnp.dtype("int32")}
  moved = after.params["embed_VD"] - before.params["embed_VD"]
  assert 1e-7 < float(jnp.abs(moved).max()) < 1e-5
  moments = optax.tree_utils.tree_get(after.opt, "mu")
  tx, plain = grpo_update(CFG, learning_rate=1e-6)
  exact = plain(state.init(tiny.params(CFG), tx), with_heat(batch), used)[0]
  wanted = optax.tree_utils.tree_get(exact.opt, "mu")
  error = optax.tree.norm(jax.tree.map(jnp.subtract, moments, wanted)) / optax.tree.norm(wanted)
  assert error < (1e-6 if dtype == "float32" else 0.05)
  assert (error > 1e-4) == (dtype == "bfloat16"), "bfloat16 must be seen in the numbers"
