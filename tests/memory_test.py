"""What the compiler reserves for an update with a real vocabulary; nothing is allocated."""

import jax
import jax.numpy as jnp
import pytest

from r1 import spec
from r1.algorithms import experts, grpo
from r1.model import transformer
from r1.train import optimizer, rl
from r1.train import state as states
from r1.train import step as steps
from tests.algorithms import rows
from tests.model import tiny

QWEN = tiny.config(
  D=256,
  F=1024,
  V=151_936,  # Qwen2.5's
  ids=151_665,
  H=4,
  N=2,
  K=64,
  stacks=(("dense", 4),),
  context=2048,
  tied=False,
  attention_block=128,
  logit_chunk=256,
  remat="layer",
)
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


@pytest.mark.slow
def test_an_update_of_16k_tokens_and_152k_ids_reserves_under_one_and_a_half_gigabytes():
  """8 rows of 2,048 tokens: float32 [B, L, V] alone would be 10.0e9 bytes.

  Five copies of the 81 M parameters (.32e9 bytes each) live beside the state at most: gradients of
  the step and of the micro-batch, and the optimiser's; the logits of a chunk come and go.
  """
  U, B, L = 2, 8, 2048
  specs = transformer.specs(QWEN)
  tx = optimizer.make(optimizer.OptimizerConfig(**ADAMW), specs)
  state = jax.eval_shape(lambda params: states.init(params, tx), spec.abstract(specs))
  numbers, reals = (jax.ShapeDtypeStruct((U, B, L), dtype) for dtype in (jnp.int32, jnp.float32))
  batch = grpo.GrpoBatch(*[numbers] * 4, *[reals] * 5)
  heat = jax.ShapeDtypeStruct((U,), jnp.float32)

  # As experiments/r1_zero.py builds it.
  update = steps.make_update(rl.make_loss(QWEN, rows.config(kl=0.001), experts.OFF), tx)
  lowered = jax.jit(update, donate_argnums=0).lower(state, (batch, heat), 2)
  memory = lowered.compile().memory_analysis()
  print(
    f"temporary {memory.temp_size_in_bytes / 1e9:.2f}e9 bytes, {spec.count(specs):,} parameters"
  )
  assert memory.temp_size_in_bytes < 1.5e9
  assert memory.alias_size_in_bytes > 0.99 * 12 * spec.count(specs)  # weights and moments in place
