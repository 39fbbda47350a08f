"""What training a mixture of experts adds to a loss and to an update.

A sequence-wise balance loss (arXiv 2412.19437, eq. 17), and the bias of the router that balances
without a gradient (arXiv 2408.15664). In RL both are off unless asked for: the paper does not say
what it does with them.
"""

import dataclasses

import jax
import jax.numpy as jnp

from r1.model import router

BIAS = "router_bias_E"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertsConfig:
  """balance: alpha of the sequence-wise loss. bias_rate: step of the router's bias per update."""

  balance: float
  bias_rate: float

  def __post_init__(self):
    if self.balance < 0 or self.bias_rate < 0:
      raise ValueError(f"balance={self.balance} and bias_rate={self.bias_rate} must be >= 0")


OFF = ExpertsConfig(balance=0.0, bias_rate=0.0)


def regularise(value, metrics: dict, aux: dict, weight_BL, cfg: ExpertsConfig):
  """(loss, metrics) of a micro-batch, with the balance of its layers and the experts' loads.

  aux: of `transformer.Output`. weight_BL: the micro-batch's part of the step's weights; they say
  how much of the step it is, so that the balance adds up over micro-batches like the loss.
  """
  layers = {stack: kept for stack, kept in aux.items() if "load_E" in kept}
  if not layers:
    return value, metrics
  if cfg.balance:
    balance = sum(jnp.sum(kept["balance"]) for kept in layers.values())
    value += cfg.balance * jnp.sum(weight_BL) * balance
  load = {stack: jax.lax.stop_gradient(kept["load_E"]) for stack, kept in layers.items()}
  return value, metrics | {"load": load}


def update_bias(params, load: dict, rate: float) -> dict:
  """The parameters with each router's bias one step towards even loads. load: {stack: [Z, E]}.

  A model without such a bias, or whose weights are frozen beside adapters, stays as it is.
  """
  changed = dict(params)
  for stack, load_ZE in load.items():
    feed = params.get(stack, {}).get("feed", {})
    if BIAS in feed:
      feed = feed | {BIAS: router.update_bias(feed[BIAS], load_ZE, rate)}
      changed[stack] = params[stack] | {"feed": feed}
  return changed


def statistics(load: dict) -> dict:
  """router/* metrics of the loads of one whole step."""
  return router.statistics(jnp.concatenate(list(load.values())))
