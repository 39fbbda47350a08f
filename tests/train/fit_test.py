"""The described steps are the run's own: same arrays, same homes, same numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from r1 import sharding, spec
from r1.algorithms import experts, logp, minibatch
from r1.model import lora, transformer
from r1.sampling import chunk, engine, requests
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


SAMPLER = settings.sampler(slots=8, chunk=4, cache_tokens=256)


def test_the_pool_is_split_over_pages_and_heads(mesh):
  pool = fit.pool(CFG, SAMPLER, mesh)
  assert pool["dense"]["key_ZBNKM"].sharding.spec == P(
    None, ("data", "fsdp", "expert"), "tensor", None, None
  )
  twice = fit.pool(CFG, dataclasses.replace(SAMPLER, cache_tokens=512), mesh)
  assert 2 * cost.held(pool) == cost.held(twice)


def test_prompts_and_chunks_take_the_pools_place(mesh):
  params, pool = fit.weights(CFG, "float32", mesh), fit.pool(CFG, SAMPLER, mesh)
  for lowered in (
    fit.prefill(params, pool, 13, SAMPLER, CFG),
    fit.decode(params, pool, SAMPLER, CFG),
  ):
    assert cost.share(cost.measure(lowered), pool) > 0


def test_what_is_described_is_what_the_engine_compiles(mesh, monkeypatch):
  """The engine's calls, given the arguments that were lowered here: shapes, types, structure."""
  called = {name: [] for name in ("prefill", "run")}
  for name, calls in called.items():
    monkeypatch.setattr(chunk, name, recorder(getattr(chunk, name), calls))
  params = jax.device_put(
    tiny.params(CFG), sharding.shardings(transformer.specs(CFG), mesh, sharding.FSDP_TENSOR)
  )
  prompts = [(1,) * 14, *((n,) for n in range(2, 9))]
  wanted = [requests.Request(str(i), 0, 0, prompt, 3) for i, prompt in enumerate(prompts)]
  given = {"temperature": 1.0, "eos": (0,), "seed": 0}
  list(engine.generate(params, wanted, cfg=CFG, sampler=SAMPLER, **given))
  params, pool = fit.weights(CFG, "float32", mesh), fit.pool(CFG, SAMPLER, mesh)
  fit.prefill(params, pool, 13, SAMPLER, CFG)
  fit.decode(params, pool, SAMPLER, CFG)
  for name, (real, *_, described) in called.items():
    assert real == described, name


def recorder(compiled, calls):
  """The compiled function, which also notes what each call and each lowering was given."""

  def note(method):
    def call(*given, **kind):
      calls.append((jax.tree.map(lambda x: (x.shape, x.dtype), given), kind))
      return method(*given, **kind)

    return call

  noted = note(compiled)
  noted.lower = note(compiled.lower)
  return noted
