"""Routing worked by hand: scores, bias, groups, balance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import moe, router
from tests.model import sparse


def routed(*score_E, S=2, bias=None, **changes):
  """The choice of one token whose sigmoid scores these are."""
  routing = sparse.PLAIN | {"scores": "sigmoid", "bias": bias is not None} | changes
  cfg = sparse.config(routing, D=1, E=len(score_E), S=S)
  p = {"router_DE": sparse.logits(*score_E), "router_bias_E": jnp.asarray(bias or [0.0])}
  return router.route(p, jnp.ones((1, 1)), cfg)


def near(got, want):
  np.testing.assert_allclose(got, want, rtol=1e-6)


# Choice and weights ------------------------------------------------------------------------------


def test_sigmoid_scores_are_renormalised_and_scaled():
  choice = routed(0.5, 0.8, 0.2, 0.9, scale=2.5)
  assert choice.expert_TS.tolist() == [[3, 1]]
  assert choice.expert_TS.dtype == jnp.int32
  near(choice.weight_TS, [[2.5 * 0.9 / 1.7, 2.5 * 0.8 / 1.7]])
  near(choice.score_TE, [[0.5, 0.8, 0.2, 0.9]])


def test_softmax_scores_are_scaled_and_not_renormalised_in_v2():
  # Odds 1 : 3 : 4, so scores 1/8, 3/8, 4/8.
  cfg = sparse.config(sparse.V2 | {"groups": 1, "groups_kept": 1}, D=1, E=3, S=2)
  router_DE = jnp.log(jnp.array([[1.0, 3.0, 4.0]]))
  choice = router.route({"router_DE": router_DE}, jnp.ones((1, 1)), cfg)
  assert choice.expert_TS.tolist() == [[2, 1]]
  near(choice.weight_TS, [[16 * 4 / 8, 16 * 3 / 8]])


def test_the_bias_selects_but_does_not_weigh():
  # 1.5, .8, .2, .9 are the biased scores; the weights are of .5 and .9.
  choice = routed(0.5, 0.8, 0.2, 0.9, bias=[1.0, 0, 0, 0])
  assert choice.expert_TS.tolist() == [[0, 3]]
  near(choice.weight_TS, [[0.5 / 1.4, 0.9 / 1.4]])
  near(choice.score_TE, [[0.5, 0.8, 0.2, 0.9]])


@pytest.mark.parametrize(("kind", "experts"), [("top2", [2, 3]), ("max", [0, 1])])
def test_a_group_counts_its_two_best_or_its_best(kind, experts):
  # Groups of two: sums 1.0, 1.1, .5; bests .9, .6, .3.
  choice = routed(0.9, 0.1, 0.6, 0.5, 0.3, 0.2, groups=3, groups_kept=1, group_score=kind)
  assert choice.expert_TS.tolist() == [experts]


def test_only_the_two_best_of_a_larger_group_count():
  # .5 + .4 of the first against .6 + .2 of the second, whose sum of all three is larger.
  scores = 0.5, 0.4, 0.01, 0.6, 0.2, 0.19
  choice = routed(*scores, groups=2, groups_kept=1, group_score="top2")
  assert choice.expert_TS.tolist() == [[0, 1]]


def test_the_bias_takes_part_in_the_choice_of_groups():
  bias = [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]
  scores = 0.9, 0.1, 0.6, 0.5, 0.3, 0.2
  choice = routed(*scores, groups=3, groups_kept=1, group_score="top2", bias=bias)
  assert choice.expert_TS.tolist() == [[4, 5]]


def test_a_dropped_group_loses_against_negative_scores_too():
  """Biased: -.1 -.9 | -.4 -.5 | -.7 -.8; the second group is kept. A mask of 0 would drop it."""
  scores = 0.9, 0.1, 0.6, 0.5, 0.3, 0.2
  choice = routed(*scores, groups=3, groups_kept=1, group_score="top2", bias=[-1.0] * 6)
  assert choice.expert_TS.tolist() == [[2, 3]]
  near(choice.weight_TS, [[0.6 / 1.1, 0.5 / 1.1]])


def test_ties_go_to_the_lower_id():
  assert routed(0.5, 0.5, 0.5, 0.5).expert_TS.tolist() == [[0, 1]]
  kept = routed(0.5, 0.5, 0.5, 0.5, groups=2, groups_kept=1, S=1)
  assert kept.expert_TS.tolist() == [[0]]


@pytest.mark.parametrize("routing", [sparse.V3, sparse.V2, sparse.PLAIN], ids=["v3", "v2", "plain"])
def test_every_token_equals_the_reference(routing):
  cfg = sparse.config(routing)
  p = sparse.params(cfg)
  x_TD = np.random.default_rng(3).standard_normal((200, cfg.D)).astype(np.float32)
  choice = router.route(p, jnp.asarray(x_TD), cfg)
  p = {name: np.asarray(w, np.float64) for name, w in p.items()}
  for t in range(len(x_TD)):
    weights, score_E = sparse.route(p, x_TD[t].astype(np.float64), cfg)
    assert choice.expert_TS[t].tolist() == list(weights)
    np.testing.assert_allclose(choice.weight_TS[t], list(weights.values()), rtol=1e-5)
    np.testing.assert_allclose(choice.score_TE[t], score_E, rtol=1e-5)


def test_scores_are_float32_whatever_the_model_computes_in():
  """In bfloat16 both logits would round to 1, and the tie would go to expert 0."""
  cfg = sparse.config(sparse.PLAIN, D=1, E=2, S=1, dtype="bfloat16")
  p = {"router_DE": jnp.array([[1.0, 1.0 + 2**-12]])}
  choice = router.route(p, jnp.ones((1, 1), jnp.bfloat16), cfg)
  assert choice.expert_TS.tolist() == [[1]]
  assert choice.weight_TS.dtype == choice.score_TE.dtype == jnp.float32


def test_accelerators_are_asked_for_the_exact_product():
  """Their float32 matmul rounds its inputs to bfloat16 or TF32 by default, and so moves choices."""
  cfg = sparse.config()
  program = jax.jit(lambda p, x_TD: router.route(p, x_TD, cfg)).lower(
    sparse.params(cfg), jnp.ones((2, cfg.D))
  )
  products = [line for line in program.as_text().splitlines() if "dot_general" in line]
  assert len(products) == 1
  assert "precision = [HIGHEST, HIGHEST]" in products[0]


def test_the_bias_has_no_gradient_and_the_router_that_of_its_weights():
  # d/dz of 2.5 s1 / (s1 + s3) by s1' = s1 (1 - s1): 2.5 s3 s1 (1 - s1) / (s1 + s3)^2.
  cfg = sparse.config(
    sparse.PLAIN | {"scores": "sigmoid", "bias": True, "scale": 2.5}, D=1, E=4, S=2
  )

  def first(p):
    return router.route(p, jnp.ones((1, 1)), cfg).weight_TS[0, 1]

  p = {"router_DE": sparse.logits(0.5, 0.8, 0.2, 0.9), "router_bias_E": 0.01 * jnp.ones(4)}
  gradient = jax.grad(first)(p)
  assert (gradient["router_bias_E"] == 0).all()
  by_own, by_other = 2.5 * 0.9 * 0.8 * 0.2 / 1.7**2, -2.5 * 0.8 * 0.9 * 0.1 / 1.7**2
  np.testing.assert_allclose(
    gradient["router_DE"], [[0, by_own, 0, by_other]], rtol=1e-5, atol=1e-7
  )


# Balance -----------------------------------------------------------------------------------------


def test_balance_by_hand():
  """f = E / (S n) * counts, P the mean normalised score; the mean over rows with real tokens."""
  cfg = sparse.config(sparse.PLAIN, E=2, S=1)
  even = [[0.6, 0.2], [0.1, 0.3]]  # f = 1, 1 and P = .5, .5: 1
  skewed = [[0.6, 0.2], [0.9, 0.1]]  # f = 2, 0 and P = .825, .175: 1.65
  half = [[0.2, 0.8], [9.0, 1.0]]  # the second is padding: f = 0, 2 and P = .2, .8: 1.6
  empty = [[5.0, 1.0], [7.0, 1.0]]
  score_BLE = jnp.array([even, skewed, half, empty])
  real_BL = jnp.array([[True, True], [True, True], [True, False], [False, False]])
  near(router.balance(score_BLE, real_BL, cfg), (1 + 1.65 + 1.6) / 3)
  assert router.balance(score_BLE, jnp.zeros((4, 2), bool), cfg) == 0


def test_balance_pushes_down_the_scores_of_the_experts_that_have_too_much():
  cfg = sparse.config(sparse.PLAIN, E=2, S=1)
  score_BLE = jnp.array([[[0.6, 0.2], [0.9, 0.1], [5.0, 1.0]]])
  real_BL = jnp.array([[True, True, False]])
  gradient = jax.grad(router.balance)(score_BLE, real_BL, cfg)
  # 2 * d(share_0)/ds_0 / n = s_1 / (s_0 + s_1)^2 and -s_0 / (s_0 + s_1)^2; f has no gradient.
  want = [[0.2 / 0.64, -0.6 / 0.64], [0.1, -0.9], [0, 0]]
  np.testing.assert_allclose(gradient[0], want, rtol=1e-5)


def test_the_bias_moves_towards_the_mean_of_its_own_layer():
  bias_ZE = jnp.array([[0.5, 0.0, -0.5], [0.0, 0.0, 0.0]])
  load_ZE = jnp.array([[3.0, 1.0, 2.0], [30.0, 30.0, 0.0]])
  moved = router.update_bias(bias_ZE, load_ZE, 0.001)
  near(moved, [[0.499, 0.001, -0.5], [-0.001, -0.001, 0.001]])


def test_the_bias_evens_out_a_router_that_favours_few():
  cfg = sparse.config(sparse.PLAIN | {"scores": "sigmoid", "bias": True}, S=2)
  rng = np.random.default_rng(0)
  x_TD = jnp.asarray(rng.standard_normal((512, cfg.D)), jnp.float32).at[:, 0].set(1.0)
  p = sparse.params(cfg) | {"router_bias_E": jnp.zeros(cfg.E)}
  p["router_DE"] = p["router_DE"].at[0].set(jnp.linspace(-1.5, 1.5, cfg.E))

  def step(bias_E, _):
    choice = router.route(p | {"router_bias_E": bias_E}, x_TD, cfg)
    load_E = router.count(choice.expert_TS[None], cfg.E)[0].astype(jnp.float32)
    return router.update_bias(bias_E, load_E, 0.01), load_E

  _, load_ZE = jax.lax.scan(step, p["router_bias_E"], length=100)
  before, after = (router.statistics(load_E[None]) for load_E in (load_ZE[0], load_ZE[-1]))
  assert before["router/max_load"] > 2
  assert before["router/min_load"] < 0.1
  assert after["router/max_load"] < 1.15
  assert after["router/min_load"] > 0.85


def test_statistics_by_hand():
  # Shares 1/2, 1/2, 0, 0 of mean 2: entropy log 2; and an even layer: log 4.
  got = router.statistics(jnp.array([[4.0, 4.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0]]))
  near(got["router/max_load"], 2)
  near(got["router/min_load"], 0)
  near(got["router/entropy"], (np.log(2) + np.log(4)) / 2)
  near(got["router/unused"], 2)
  assert all(x.dtype == jnp.float32 for x in got.values())
  nothing = router.statistics(jnp.zeros((2, 4)))
  assert all(np.isfinite(x) for x in nothing.values())


def test_counts_leave_out_what_is_no_expert():
  count_BE = router.count(jnp.array([[[0, 2], [2, -1]], [[3, 1], [-1, -1]]]), 3)
  assert count_BE.tolist() == [[1, 0, 2], [0, 1, 0]]


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "sizes", "message"),
  [
    ({"groups": 3}, {}, "E=8 experts do not form groups=3 of one size"),
    ({"groups": 4, "groups_kept": 1}, {}, "S=3 experts cannot be chosen from groups_kept=1 of 2"),
    ({}, {"S": 0}, "S=0 experts"),
    ({"groups": 8, "groups_kept": 8}, {}, "group_score='top2' adds two experts; groups=8 have 1"),
  ],
)
def test_a_choice_that_cannot_be_made_is_refused(changes, sizes, message):
  cfg = sparse.config(sparse.V3 | changes, **sizes)
  with pytest.raises(ValueError, match=message):
    router.route({}, jnp.ones((1, 16)), cfg)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"scores": "relu"}, r"scores='relu'; there are \('sigmoid', 'softmax'\)"),
    ({"group_score": "sum"}, r"group_score='sum'; there are \('top2', 'max'\)"),
    ({"dispatch": "fast"}, r"dispatch='fast'; there are \('dense', 'sorted'\)"),
    ({"groups_kept": 5}, r"groups_kept=5 must be 1 \.\. groups=4"),
    ({"block": 0}, "block=0 rows; it must be >= 1"),
  ],
)
def test_a_routing_that_does_not_exist_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    moe.Routing(**(sparse.V3 | changes))
