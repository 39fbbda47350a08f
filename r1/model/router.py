"""The router of a mixture of experts: which experts a token goes to, with what weight.

Scores and choice are float32 and exact to the top S, whatever the dtype of the model. Balance
without an auxiliary gradient comes from a bias on the choice (arXiv 2408.15664), which the
optimiser never touches: `update_bias` moves it between steps.
"""

import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1 import sharding

SCORES = {"sigmoid": jax.nn.sigmoid, "softmax": functools.partial(jax.nn.softmax, axis=-1)}
GROUP_SCORES = {
  "top2": lambda score: jnp.sum(jax.lax.top_k(score, 2)[0], axis=-1),
  "max": lambda score: jnp.max(score, axis=-1),
}


class Choice(struct.PyTreeNode):
  """expert_TS: int32, best first. weight_TS: of its output. score_TE: unbiased. Both float32."""

  expert_TS: jax.Array
  weight_TS: jax.Array
  score_TE: jax.Array


def check(cfg) -> None:
  """Raises ValueError where S of the E experts cannot be chosen from the groups that are kept."""
  routing = cfg.moe
  if cfg.E % routing.groups:
    raise ValueError(f"E={cfg.E} experts do not form groups={routing.groups} of one size")
  size = cfg.E // routing.groups
  if not 0 < cfg.S <= size * routing.groups_kept:
    raise ValueError(
      f"S={cfg.S} experts cannot be chosen from groups_kept={routing.groups_kept} of {size}"
    )
  if routing.group_score == "top2" and size < 2:
    raise ValueError(f"group_score='top2' adds two experts; groups={routing.groups} have {size}")


def route(p, x_TD, cfg) -> Choice:
  """The S experts of every token, and the weights of their outputs.

  Scores are a sigmoid (DeepSeek-V3, arXiv 2412.19437 eq. 15) or a softmax (V2, arXiv 2405.04434
  eq. 22) of x router. The bias takes part in the choice alone (V3 eq. 16): it never weighs and has
  no gradient. Weights are the chosen scores, on request divided by their sum, times `scale`.
  """
  check(cfg)
  router_DE = sharding.home(p["router_DE"], "DE", cfg.rules).astype(jnp.float32)
  router_DE = sharding.shard(router_DE, "DE", cfg.rules)  # whole: the tokens stay where they are
  logit_TE = jnp.einsum(
    "TD,DE->TE", x_TD.astype(jnp.float32), router_DE, precision=jax.lax.Precision.HIGHEST
  )
  score_TE = SCORES[cfg.moe.scores](logit_TE)
  biased_TE = jax.lax.stop_gradient(score_TE)
  if cfg.moe.bias:
    biased_TE += jax.lax.stop_gradient(p["router_bias_E"]).astype(jnp.float32)[None]
  expert_TS = choose(biased_TE, cfg)
  # A comparison, not a gather, whose gradient would be a scatter: slow, and in no fixed order.
  chosen_TSE = expert_TS[..., None] == jnp.arange(cfg.E)[None, None]
  weight_TS = jnp.sum(jnp.where(chosen_TSE, score_TE[:, None], 0.0), axis=-1)
  if cfg.moe.renormalise:
    weight_TS /= jnp.sum(weight_TS, axis=-1, keepdims=True) + 1e-20
  return Choice(expert_TS, weight_TS * cfg.moe.scale, score_TE)


def choose(score_TE, cfg):
  """expert_TS of the S best scores within the best groups; ties as in `jax.lax.top_k`."""
  best = functools.partial(_best, cfg=cfg)
  if cfg.rules is not None:
    # Left to itself XLA gathers the tokens of all devices to each before a top_k.
    scores, experts = (sharding.pspec(axes, cfg.rules.act) for axes in ("TE", "TS"))
    best = jax.shard_map(best, in_specs=scores, out_specs=experts)
  return best(score_TE)


def _best(score_TE, *, cfg):
  """Experts outside of the groups that are kept get -inf, as in DeepSeek's own code.

  With 0 they would win against a negative biased score of a group that is kept.
  """
  groups = cfg.moe.groups
  if groups > 1:
    within = score_TE.reshape(-1, groups, cfg.E // groups)
    _, kept = jax.lax.top_k(GROUP_SCORES[cfg.moe.group_score](within), cfg.moe.groups_kept)
    keep = jnp.any(kept[..., None] == jnp.arange(groups)[None, None], axis=1)
    score_TE = jnp.where(keep[..., None], within, -jnp.inf).reshape(score_TE.shape)
  return jax.lax.top_k(score_TE, cfg.S)[1]


def count(expert_BLS, E: int):
  """int32 count_BE of the choices of each expert in a row; ids outside of 0 .. E - 1 are none."""
  chosen_BLSE = expert_BLS[..., None] == jnp.arange(E)[None, None, None]
  return jnp.sum(chosen_BLSE, axis=(1, 2), dtype=jnp.int32)


def balance(score_BLE, real_BL, cfg):
  """The sequence-wise balance loss, before its factor alpha (V3 eq. 17-20): 1 when even.

  Per row sum_i f_i P_i: f_i = E / (S n) times the row's n real tokens whose top S (by score, bias
  left out) holds expert i, and P_i the mean of their scores, normalised to sum 1 per token. f has
  no gradient. A row counts as one sequence, whatever its segments; returns the mean over the rows
  that hold a real token, and 0 without any.
  """
  B, L, E = score_BLE.shape
  ideal_TS = choose(jax.lax.stop_gradient(score_BLE.reshape(-1, E)), cfg)
  ideal_BLS = jnp.where(real_BL[..., None], ideal_TS.reshape(B, L, cfg.S), -1)
  share_BLE = score_BLE / (jnp.sum(score_BLE, axis=-1, keepdims=True) + 1e-20)
  tokens_B = jnp.sum(real_BL, axis=1, dtype=jnp.float32)
  safe_B1 = jnp.maximum(tokens_B, 1.0)[:, None]
  f_BE = count(ideal_BLS, E) * (E / cfg.S) / safe_B1
  P_BE = jnp.sum(jnp.where(real_BL[..., None], share_BLE, 0.0), axis=1) / safe_B1
  return jnp.sum(f_BE * P_BE) / jnp.maximum(jnp.sum(tokens_B > 0), 1)


def update_bias(bias, load, rate: float):
  """The bias after a step whose experts received `load`: up by rate where below the mean, or down.

  Both end in the expert axis, [..., E]; each leading index (layer) has its own mean. V3, section
  2.1.2; rate 0.001 for most of its training.
  """
  return bias + rate * jnp.sign(jnp.mean(load, axis=-1, keepdims=True) - load)


def statistics(load_ZE) -> dict[str, jax.Array]:
  """Metrics of the loads of several layers, float32 scalars.

  max_load, min_load: of the fullest and the emptiest expert of any layer, over its layer's mean.
  entropy: of the share of the load, in nats, mean over layers; log E when even. unused: experts
  of all layers that received nothing.
  """
  mean_Z1 = jnp.maximum(jnp.mean(load_ZE, axis=-1, keepdims=True), 1e-20)
  share_ZE = load_ZE / (mean_Z1 * load_ZE.shape[-1])
  return {
    "router/max_load": jnp.max(load_ZE / mean_Z1),
    "router/min_load": jnp.min(load_ZE / mean_Z1),
    "router/entropy": jnp.mean(jnp.sum(jax.scipy.special.entr(share_ZE), axis=-1)),
    "router/unused": jnp.sum(load_ZE == 0, dtype=jnp.float32),
  }
