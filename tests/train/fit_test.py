"""The described steps are the run's own: same arrays, same homes, same numbers."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from r1 import sharding, spec
from r1.algorithms import experts, logp, minibatch
from r1.model import cache as cache_lib
from r1.model import heads, lora
from r1.train import cost, fit, optimizer, rl
from tests import sharding_test
from tests.algorithms import rows
from tests.model import tiny
from tests.sampling import settings
from tests.train import tiny as tiny_rl

SIZES = {"data": 2, "fsdp": 2, "tensor": 2}
CFG = dataclasses.replace(sharding_test.CFG, rules=sharding.FSDP_TENSOR)


@pytest.fixture
def mesh():
  mesh = sharding.make_mesh(SIZES)
  with sharding.on(mesh):
    yield mesh


def homes(tree):
  return {path: s.sharding.spec for path, s in spec.flatten(tree).items()}


def test_weights_and_moments_are_described_where_they_live(mesh):
  params = fit.weights(CFG, "bfloat16", mesh)
  assert {s.dtype for s in spec.flatten(params).values()} == {jnp.dtype(jnp.bfloat16)}
  assert params["dense"]["attn"]["q_DHK"].sharding.spec == P(None, "fsdp", "tensor", None)
  tx = fit.optimiser(optimizer.OptimizerConfig(**sharding_test.RATE), CFG)
  state = fit.state(params, tx, mesh)
  moments = sharding_test.adam(state)
  assert homes(moments.mu) == homes(moments.nu) == homes(params) == homes(state.params)
  assert state.step.sharding.spec == P()


def test_of_a_model_with_adapters_they_alone_have_moments(mesh):
  cfg = dataclasses.replace(CFG, lora=lora.LoraConfig(rank=2, alpha=4.0, pattern=r".*q_DHK"))
  params = fit.weights(cfg, "bfloat16", mesh)
  state = fit.state(
    params, fit.optimiser(optimizer.OptimizerConfig(**sharding_test.RATE), cfg), mesh
  )
  assert set(state.params) == {"lora"} == set(sharding_test.adam(state).mu)
  assert "dense" in state.frozen
  adapter = state.params["lora"]["dense"]["attn"]["q_DHK"]["a_DJ"]
  assert adapter.dtype == jnp.float32  # the weights beside it are bfloat16


def test_the_update_takes_the_state_and_the_batch_and_nothing_else(mesh):
  params = fit.weights(CFG, "float32", mesh)
  tx = fit.optimiser(optimizer.OptimizerConfig(**sharding_test.RATE), CFG)
  algorithm, batch = rows.config(kl=0.1), tiny_rl.batch_config(16, rows=8)
  loss = rl.make_loss(CFG, algorithm, experts.OFF)
  given = fit.given(batch, algorithm, 2, CFG, mesh)
  used = cost.measure(fit.update(params, tx, loss, 0.0, given, mesh))
  held = 10 * 2 * 8 * 16 * 4 // 4 + 2 * 4  # ten arrays over four shards of rows, and U numbers
  numbers = 5 * 4 + 4  # counters of the state and the optimiser, and how many micro-batches run
  assert abs(used.arguments - (3 * cost.held(params) + held + numbers)) <= 64
  assert used.alias >= 3 * cost.held(params)
  assert "all-gather" in used.collectives


def kinds(tree):
  """The tree with the shape and the type of each array in its place."""
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("share_prompts", [True, False])
@pytest.mark.parametrize("kl", [0.0, 0.1])
@pytest.mark.parametrize("minibatches", [1, 2])
def test_the_described_batch_is_that_of_a_run(mesh, share_prompts, kl, minibatches):
  """Array for array, with the homes that a run gives them: so one program is compiled for both."""
  samples, cfg = tiny_rl.random_samples(8), tiny_rl.grpo_config(kl=kl)
  batch = tiny_rl.batch_config(64, 4, minibatches, share_prompts)
  values = [np.zeros(len(s.tokens), np.float32) for s in samples]
  scored = rl.Scored(
    samples=samples,
    rewards=None,
    advantage_B=np.arange(8.0),
    counted_B=np.ones(8, bool),
    old=values if minibatches > 1 else None,
    ref=values if kl else None,
  )
  own = {"mixture": experts.OFF, "rng": np.random.default_rng(0), "microbatches": 3}
  assembled, used = next(rl.steps(scored, batch=batch, cfg=cfg, **own))
  assert used > 0
  run = sharding.place((assembled, np.ones(3, np.float32)), mesh=mesh, rules=CFG.rules)
  described = fit.given(batch, cfg, 3, CFG, mesh)
  assert kinds(described) == kinds(run)
  same = jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, b.ndim), described, run)
  assert all(jax.tree.leaves(same))
  found = described[0]
  assert (found.parent_BL is not None) == share_prompts
  assert (found.ref_logp_BL is not None) == (kl > 0)
  assert (found.old_logp_BL is not None) == (minibatches > 1)


@pytest.mark.parametrize("share_prompts", [True, False])
def test_the_described_rows_are_those_that_a_run_scores(mesh, monkeypatch, share_prompts):
  scored, samples = [], tiny_rl.random_samples(8)
  batch = tiny_rl.batch_config(32, 8, share_prompts=share_prompts)
  given = {"params": None, "samples": samples, "model_cfg": CFG, "temperature": 1.0}
  numbers = tiny_rl.question_numbers(samples)

  def score(params, rows, cfg, temperature):
    scored.append(rows)
    return np.zeros(rows.token_BL.shape, np.float32)

  with monkeypatch.context() as patch:
    patch.setattr(logp, "score", score)
    minibatch.score(**given, cfg=batch, question_B=numbers)
  lowered = fit.score(fit.weights(CFG, "float32", mesh), batch, CFG, mesh)
  (_, described, _), _ = lowered.args_info
  assert kinds(described) == kinds(scored[0])
  assert (described.parent_BL is not None) == share_prompts


def test_scoring_is_compiled_for_packed_rows(mesh):
  params = fit.weights(CFG, "float32", mesh)
  used = cost.measure(fit.score(params, tiny_rl.batch_config(16, rows=8), CFG, mesh))
  assert used.outputs == 8 * 16 * 4 // 4
  assert used.flops


def test_the_cache_is_split_over_rows_and_heads(mesh):
  cache = fit.cache(CFG, 8, 32, mesh)
  assert cache.stacks["dense"]["key_ZBNKM"].sharding.spec == P(
    None, ("data", "fsdp", "expert"), "tensor", None, None
  )
  assert cost.held(cache.stacks) == cost.held(fit.cache(CFG, 8, 64, mesh).stacks) // 2


def test_prefill_and_decoding_take_the_caches_place(mesh):
  params = fit.weights(CFG, "float32", mesh)
  cache = fit.cache(CFG, 8, 32, mesh)
  prefill = functools.partial(fit.prefill_step, cfg=CFG)
  assert cost.overhead(prefill, cache, params, *fit.prompts(CFG, (8, 16), mesh)) > 0
  decode = functools.partial(fit.decode_step, cfg=CFG, sampler=settings.sampler())
  assert cost.overhead(decode, cache, params, *fit.decoding(CFG, 8, mesh)) > 0


def test_the_described_decoding_step_is_greedy_decoding():
  """What is compiled computes: the next id after a prompt is the full forward's most likely."""
  cfg = dataclasses.replace(CFG, rules=None)
  params = tiny.params(cfg)
  token_BL = np.array([[3, 5, 7, 2], [9, 8, 1, 4]], np.int32)
  at = np.tile(np.arange(4, dtype=np.int32), (2, 1)), np.ones((2, 4), np.int32)
  whole = tiny.forward(params, token_BL, *at, cfg)
  logits_BLV = heads.logits(heads.matrix(params, cfg), whole.hidden_BLD, cfg)
  cache, hidden_BLD = fit.prefill_step(
    cache_lib.empty(cfg, 2, 8), params, token_BL[:, :3], at[0][:, :3], at[1][:, :3], cfg=cfg
  )
  np.testing.assert_allclose(hidden_BLD, whole.hidden_BLD[:, :3], atol=1e-5)
  key_B = jax.random.split(jax.random.key(0), 2)
  cache, (id_B, _) = fit.decode_step(
    cache, params, token_BL[:, 3], key_B, 0.0, cfg=cfg, sampler=settings.sampler()
  )
  np.testing.assert_array_equal(id_B, np.argmax(logits_BLV[:, -1], axis=-1))
  np.testing.assert_array_equal(cache.length_B, [4, 4])
