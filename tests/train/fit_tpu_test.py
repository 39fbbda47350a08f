"""Qwen2.5-7B on 16 TPU v5p chips, by the TPU's own compiler; no TPU is needed."""

import pytest

from r1 import sharding
from r1.algorithms import experts, minibatch
from r1.model import presets
from r1.train import cost, fit, optimizer, rl, topology
from tests.algorithms import rows
from tests.sampling import settings

RUNTIME = {
  "dtype": "bfloat16",
  "attend": "splash",
  "attention_block": 512,
  "logit_chunk": 8192,
  "remat": "layer",
  "rules": sharding.FSDP_TENSOR,
}
ADAMW = {
  "learning_rate": 3e-6,
  "warmup": 1,
  "steps": 10,
  "final": 1.0,
  "b1": 0.9,
  "b2": 0.95,
  "eps": 1e-8,
  "weight_decay": 0.1,
  "clip": 1.0,
}
CFG = presets.config("qwen2.5-7b", RUNTIME)

pytestmark = pytest.mark.slow


@pytest.fixture
def described():
  """name, sizes -> a mesh of that machine."""
  pytest.importorskip("libtpu", reason="no libtpu: the TPU's compiler is not installed")
  return lambda name, sizes: sharding.make_mesh(sizes, topology.devices(name))


def test_an_update_of_16_rows_of_32k_tokens_needs_at_most_24_gigabytes_a_chip(described):
  mesh = described("v5p:2x2x4", {"fsdp": 16})
  tx = fit.optimiser(optimizer.OptimizerConfig(**ADAMW), CFG)
  algorithm = rows.config(kl=0.001)
  loss = rl.make_loss(CFG, algorithm, experts.OFF)
  batch = minibatch.BatchConfig(
    row_tokens=32_768, microbatch_tokens=16 * 32_768, minibatches=16, share_prompts=False, fork=()
  )
  minibatch.check_attention(batch, CFG.attend)
  with sharding.on(mesh):
    params = fit.weights(CFG, "float32", mesh)
    given = fit.given(batch, algorithm, 2, CFG, mesh)
    used = cost.measure(fit.update(params, tx, loss, 0.0, given, mesh))
  print("\n".join(cost.lines(used, topology.MEMORY["v5p"])))
  assert used.temporary <= 24e9
  assert used.alias >= 0.99 * 3 * cost.held(params)


@pytest.mark.parametrize("chunk", [32, 64])
def test_a_chunk_of_decoding_updates_its_pages_in_place(described, chunk):
  """28 layers of 64 rows x 4,096 slots, split over four chips by heads, in the engine's program."""
  mesh = described("v5p:2x2x1", {"tensor": 4})
  sampler = settings.sampler(slots=64, chunk=chunk, cache_tokens=64 * 4096)
  with sharding.on(mesh):
    params, pool = fit.weights(CFG, "bfloat16", mesh), fit.pool(CFG, sampler, mesh)
    used = cost.measure(fit.decode(params, pool, sampler, CFG))
  print("\n".join(cost.lines(used, topology.MEMORY["v5p"])))
  assert cost.share(used, pool) <= 0.08
