"""What a mixture adds to a loss and an update, by hand and on a tiny DeepSeek-V3."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1.algorithms import experts, grpo, logp
from r1.model import presets
from r1.train import state, step
from tests.model import tiny

ON = experts.ExpertsConfig(balance=0.5, bias_rate=0.001)
NOTHING = {"sum": {}, "max": {}, "count": jnp.float32(1)}
RUNTIME = {name: tiny.SETTINGS[name] for name in ("dtype", "attend", "remat", "rules")}
RUNTIME |= {"attention_block": 16, "logit_chunk": 64}


def aux(load, balance):
  return {"moe": {"load_E": jnp.asarray(load), "balance": jnp.asarray(balance)}, "dense": {}}


def test_the_balance_of_all_layers_counts_by_the_share_of_the_micro_batch():
  """Two layers of 1.2 and 1.4, a micro-batch with a quarter of the weights: .5 * .25 * 2.6."""
  weight_BL = jnp.array([[0.1, 0.15, 0.0]])
  given = aux([[3.0, 1.0], [2.0, 2.0]], [1.2, 1.4])
  value, found = experts.regularise(jnp.float32(2), NOTHING, given, weight_BL, ON)
  np.testing.assert_allclose(value, 2 + 0.325, rtol=1e-6)
  np.testing.assert_array_equal(found["load"]["moe"], [[3, 1], [2, 2]])


def test_a_dense_model_adds_nothing():
  value, found = experts.regularise(jnp.float32(2), NOTHING, {}, jnp.ones((1, 2)), ON)
  assert float(value) == 2
  assert found is NOTHING


def test_loads_of_micro_batches_add_up():
  one = NOTHING | {"load": {"moe": jnp.array([[1.0, 2.0]])}}
  total = grpo.add(one, NOTHING | {"load": {"moe": jnp.array([[3.0, 0.0]])}})
  np.testing.assert_array_equal(total["load"]["moe"], [[4, 2]])
  found = grpo.summary(jnp.float32(0), total)
  assert float(found["router/max_load"]) == pytest.approx(4 / 3)
  assert float(found["router/unused"]) == 0


def test_the_bias_moves_against_the_load_and_nothing_else_does():
  params = {"moe": {"feed": {experts.BIAS: jnp.zeros((1, 3)), "gate": 1}}, "dense": {"feed": {}}}
  after = experts.update_bias(params, {"moe": jnp.array([[4.0, 2.0, 0.0]])}, 0.5)
  np.testing.assert_array_equal(after["moe"]["feed"][experts.BIAS], [[-0.5, 0, 0.5]])
  assert after["moe"]["feed"]["gate"] == 1
  assert experts.update_bias({"lora": {}}, {"moe": jnp.ones((1, 3))}, 0.5) == {"lora": {}}


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_in_an_update_the_bias_is_frozen_unless_asked(rate):
  """Its gradient is zero; the other weights of the router learn."""
  cfg = presets.config("tiny-deepseek-v3", RUNTIME, mtp=False)
  params = tiny.params(cfg)
  packed = tiny.packed(tiny.documents([9, 7], cfg), 16, rows=2)
  weight_BL = packed.scored_BL / packed.scored_BL.sum()

  def loss(params, micro):
    del micro
    logp_BL, _, aux = logp.token_logp(params, packed, cfg, 1.0)
    value = -jnp.sum(weight_BL * logp_BL)
    return experts.regularise(value, NOTHING, aux, weight_BL, ON)

  tx = optax.sgd(1.0)
  update = jax.jit(step.make_update(loss, tx, rate))
  after, metrics = update(state.init(params, tx), jnp.zeros(1), 1)
  before, moved = params["moe"]["feed"], after.params["moe"]["feed"]
  steps = np.asarray(moved[experts.BIAS] - before[experts.BIAS])
  np.testing.assert_allclose(np.abs(steps), rate * (steps != 0), rtol=1e-5)
  assert (steps != 0).any() == bool(rate)
  assert np.abs(moved["router_DE"] - before["router_DE"]).max() > 0
  assert metrics["router/max_load"] >= 1


def test_negative_settings_are_refused():
  with pytest.raises(ValueError, match="bias_rate=-1"):
    experts.ExpertsConfig(balance=0.0, bias_rate=-1)
