"""What a run carries, where it lives, and that it starts from nothing."""

import jax
import numpy as np
import optax
import pytest

from r1 import sharding, spec
from r1.model import transformer
from r1.train import optimizer, state
from tests.train import tiny


def moments(made):
  return {name: optax.tree_utils.tree_get(made.opt, name) for name in ("mu", "nu")}


def test_a_fresh_state_counts_nothing_and_has_moments_of_zero():
  cfg = tiny.model()
  weights = tiny.params(cfg)
  made = state.init(weights, optimizer.make(tiny.adam(), transformer.specs(cfg)))
  assert [int(x) for x in (made.step, made.skipped, made.in_row)] == [0, 0, 0]
  for tree in moments(made).values():
    assert jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, weights)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(tree))


def test_a_fresh_state_has_buffers_of_its_own():
  """The update takes the state's buffers over; the reference policy must keep its own."""
  cfg = tiny.model()
  weights = tiny.params(cfg)
  made = state.init(weights, optimizer.make(tiny.adam(), transformer.specs(cfg)))
  jax.tree.map(lambda x: x.delete(), made.params)
  assert np.isfinite(np.asarray(weights["embed_VD"])).all()


@pytest.mark.parametrize("sizes", [{"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_parameters_and_moments_live_where_the_rules_say(sizes):
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh(sizes)
  specs = transformer.specs(tiny.model(rules=rules))
  wanted = spec.flatten(sharding.shardings(specs, mesh, rules))
  with sharding.on(mesh):
    weights = state.initial_params(jax.random.key(0), specs, mesh, rules)
    made = state.init(weights, optimizer.make(tiny.adam(), specs))
  for tree in (weights, made.params, *moments(made).values()):
    for path, leaf in spec.flatten(tree).items():
      assert leaf.sharding.is_equivalent_to(wanted[path], leaf.ndim), path
  counters = [made.step, made.skipped, made.in_row, *jax.tree.leaves(made.opt)[:1]]
  assert {len(x.sharding.device_set) for x in counters} == {8}, "a counter sits on one device"


def test_the_same_key_gives_the_same_parameters_on_any_mesh():
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh({"fsdp": 4, "tensor": 2})
  cfg = tiny.model()
  alone = tiny.params(cfg, seed=3)
  spread = state.initial_params(jax.random.key(3), transformer.specs(cfg), mesh, rules)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), alone, spread)
  other = tiny.params(cfg, seed=4)
  assert np.abs(alone["embed_VD"] - other["embed_VD"]).max() > 1e-3
