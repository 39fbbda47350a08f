"""The mixture of experts: oracle against the equations, dispatch against the oracle, padding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import grouped, moe
from tests.model import sparse, tiny

ROUTINGS = {"v3": sparse.V3, "v2": sparse.V2, "plain": sparse.PLAIN}


@functools.partial(jax.jit, static_argnames=("feed", "cfg"))
def learned(feed, p, x_BLD, real_BL, d_BLD, cfg):
  """((y, aux), gradients of all weights and of x) for a loss of every real token and the balance.

  The cotangent of padding is 0, as it is in a model, where no real token sees it.
  """

  def loss(p, x_BLD):
    y_BLD, aux = feed(p, x_BLD, real_BL, cfg)
    seen_BLD = jnp.where(real_BL[..., None], y_BLD, 0)
    return jnp.sum(seen_BLD * d_BLD) + aux["balance"], (y_BLD, aux)

  (_, out), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(p, x_BLD)
  return out, gradients


def agree(got, want, tolerance=2e-5):
  """Relative to the largest element of each array."""

  def near(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(np.abs(b).max(), 1e-6))

  jax.tree.map(near, got, want)


# The oracle --------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", ROUTINGS.values(), ids=ROUTINGS)
def test_the_oracle_equals_the_equations(routing):
  cfg = sparse.config(routing | {"dispatch": "dense"})
  p, (x_BLD, real_BL, _) = sparse.params(cfg), sparse.batch()
  y_BLD, aux = moe.feed(p, x_BLD, real_BL, cfg)
  want_BLD, choices = sparse.feed(p, x_BLD, real_BL, cfg)
  agree(y_BLD, want_BLD, 1e-5)
  load_E = np.zeros(cfg.E)
  for b, l, weights in choices:
    load_E[list(weights)] += 1
    assert aux["expert_BLS"][b, l].tolist() == sorted(weights)
    np.testing.assert_allclose(
      aux["weight_BLS"][b, l], [weights[e] for e in sorted(weights)], rtol=1e-5
    )
  np.testing.assert_array_equal(aux["load_E"], load_E)
  assert aux["load_E"].dtype == jnp.float32


def test_shared_experts_are_added_as_they_are():
  cfg = sparse.config(sparse.V3 | {"dispatch": "dense"})
  p, (x_BLD, real_BL, _) = sparse.params(cfg), sparse.batch()
  with_shared, _ = moe.feed(p, x_BLD, real_BL, cfg)
  without, _ = moe.feed(p, x_BLD, real_BL, dataclasses.replace(cfg, Y=0))
  gate, up = x_BLD @ p["shared_gate_DY"], x_BLD @ p["shared_up_DY"]
  agree(with_shared - without, (jax.nn.silu(gate) * up) @ p["shared_down_YD"])


# The dispatch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", ROUTINGS.values(), ids=ROUTINGS)
def test_dropless_equals_the_oracle_in_values_and_gradients(routing):
  cfg = sparse.config(routing)
  p, batch = sparse.params(cfg), sparse.batch()
  want = learned(moe.dense, p, *batch, cfg)
  agree(learned(moe.feed, p, *batch, cfg), want)
  for name, gradient in want[1][0].items():
    trained = moe.specs(cfg)[name].trained and name != "norm_D"
    assert (np.abs(gradient).max() > 1e-3) == trained, name


@pytest.mark.parametrize(
  ("favoured", "S"), [((5,), 1), ((0, 7), 2), ((2, 3, 4), 3)], ids=["one", "two", "three"]
)
def test_all_tokens_may_go_to_the_same_experts(favoured, S):
  """No capacity: none is dropped; and the experts that receive nothing learn nothing."""
  cfg = sparse.config(sparse.PLAIN | {"scores": "sigmoid", "bias": True}, S=S)
  p, batch = sparse.params(cfg), sparse.batch()
  p["router_bias_E"] = jnp.zeros(cfg.E).at[jnp.array(favoured)].set(9.0)
  got = learned(moe.dropless, p, *batch, cfg)
  agree(got, learned(moe.dense, p, *batch, cfg))
  (_, aux), (d_p, _) = got
  want_E = np.zeros(cfg.E)
  want_E[list(favoured)] = batch[1].sum()
  np.testing.assert_array_equal(aux["load_E"], want_E)
  for name in moe.MATRICES:
    idle = np.abs(d_p[name]).max(axis=(1, 2)) == 0
    assert idle.tolist() == (want_E == 0).tolist(), name


@pytest.mark.parametrize("block", [7, 1000])
def test_the_window_changes_nothing(block):
  cfg = sparse.config(sparse.V3 | {"block": block})
  p, batch = sparse.params(cfg), sparse.batch()
  agree(learned(moe.dropless, p, *batch, cfg), learned(moe.dense, p, *batch, cfg))


def test_the_primitive_of_accelerators_gives_the_same(monkeypatch):
  """On a CPU it is computed densely, but it is the code that TPUs and GPUs get."""
  cfg = sparse.config(sparse.V3 | {"block": 5})
  p, batch = sparse.params(cfg), sparse.batch()
  want = learned(moe.dense, p, *batch, cfg)
  looped = lambda *a, **k: pytest.fail("this test is about the other sibling")
  monkeypatch.setattr(grouped, "looped", looped)
  monkeypatch.setattr(grouped, "looped_gradients", looped)
  pick = lambda *arrays, cpu, default: default(*arrays)
  monkeypatch.setattr(jax.lax, "platform_dependent", pick)
  agree(learned(moe.dropless, p, *batch, cfg), want)


def test_bfloat16_stays_bfloat16_and_near():
  cfg = sparse.config(dtype="bfloat16")
  p, batch = sparse.params(cfg), sparse.batch()
  exact, _ = moe.dense(p, *batch[:2], cfg)
  half = {name: w if "router" in name else w.astype(jnp.bfloat16) for name, w in p.items()}
  x_BLD = batch[0].astype(jnp.bfloat16)
  for feed in (moe.dense, moe.dropless):
    y_BLD, aux = feed(half, x_BLD, batch[1], cfg)
    assert y_BLD.dtype == jnp.bfloat16
    assert aux["weight_BLS"].dtype == aux["balance"].dtype == jnp.float32
    agree(y_BLD, exact, 0.02)


def test_no_array_holds_every_expert_for_every_token():
  cfg = sparse.config(sparse.PLAIN, D=16, E=64, X=16, S=2, Y=0)
  p, batch = sparse.params(cfg), sparse.batch(8, 64)
  T, pairs = 8 * 64, 8 * 64 * cfg.S
  run = lambda feed: tiny.largest(lambda *a: learned(feed, *a, cfg), p, *batch)
  # The choices as numbers 0 and 1 are the largest of the one: fused by XLA, never in memory.
  assert run(moe.dropless) <= max(pairs * cfg.E, cfg.E * cfg.D * cfg.X)
  assert run(moe.dense) >= T * cfg.E * cfg.X


# Padding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("feed", [moe.dense, moe.dropless])
def test_padding_neither_routes_nor_counts_nor_changes_anything(feed):
  cfg = sparse.config()
  p, (x_BLD, real_BL, d_BLD) = sparse.params(cfg), sparse.batch()
  want = learned(feed, p, x_BLD, real_BL, d_BLD, cfg)
  real_BL1 = real_BL[..., None]
  got = learned(feed, p, jnp.where(real_BL1, x_BLD, 100.0), real_BL, d_BLD, cfg)
  (y_BLD, aux), gradients = got
  agree((aux, gradients), (want[0][1], want[1]))
  agree(jnp.where(real_BL1, y_BLD, 0), jnp.where(real_BL1, want[0][0], 0))
  assert aux["load_E"].sum() == cfg.S * real_BL.sum()
  assert ((aux["expert_BLS"] == -1).all(-1) == ~real_BL).all()
  assert ((aux["weight_BLS"] == 0).all(-1) == ~real_BL).all()
  assert (jnp.where(real_BL1, 0, gradients[1]) == 0).all()


@pytest.mark.parametrize("feed", [moe.dense, moe.dropless])
def test_a_token_of_padding_gets_the_shared_experts_alone(feed):
  cfg = sparse.config()
  p, (x_BLD, real_BL, _) = sparse.params(cfg), sparse.batch()
  y_BLD, _ = feed(p, x_BLD, jnp.zeros_like(real_BL), cfg)
  agree(y_BLD, moe.shared(p, x_BLD, cfg))
  y_BLD, _ = feed(p, x_BLD, jnp.zeros_like(real_BL), dataclasses.replace(cfg, Y=0))
  assert (y_BLD == 0).all()


def test_a_batch_of_nothing_but_padding_has_gradients_of_zero():
  cfg = sparse.config(Y=0)
  p, (x_BLD, real_BL, d_BLD) = sparse.params(cfg), sparse.batch()
  (_, aux), gradients = learned(moe.dropless, p, x_BLD, jnp.zeros_like(real_BL), d_BLD, cfg)
  assert aux["balance"] == 0
  assert all((g == 0).all() for g in jax.tree.leaves(gradients))


# Parameters --------------------------------------------------------------------------------------


def test_specs_by_hand():
  cfg = sparse.config()
  specs = moe.specs(cfg)
  assert {name: (s.shape, s.inputs) for name, s in specs.items()} == {
    "norm_D": ((16,), ""),
    "router_DE": ((16, 8), "D"),
    "router_bias_E": ((8,), ""),
    "gate_EDX": ((8, 16, 12), "D"),
    "up_EDX": ((8, 16, 12), "D"),
    "down_EXD": ((8, 12, 16), "X"),
    "shared_gate_DY": ((16, 6), "D"),
    "shared_up_DY": ((16, 6), "D"),
    "shared_down_YD": ((6, 16), "Y"),
  }
  assert [name for name, s in specs.items() if not s.trained] == ["router_bias_E"]
  small = moe.specs(sparse.config(sparse.V2, Y=0))
  assert set(specs) - set(small) == {name for name in specs if "shared" in name or "bias" in name}


def test_an_array_of_another_size_is_refused():
  cfg = sparse.config()
  p, (x_BLD, real_BL, _) = sparse.params(cfg), sparse.batch()
  with pytest.raises(ValueError, match=r"router_DE has shape \(16, 8\): D is 16 here and 15"):
    moe.feed(p, x_BLD[..., :15], real_BL, cfg)
