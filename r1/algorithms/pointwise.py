"""The point-wise loss of the safety reward model: binary cross-entropy of safe against unsafe.

P(safe) = sigmoid(s), s the scalar head's number at the last token of the whole response (arXiv
2501.12948v2 section 3.1).
"""

import jax
import jax.numpy as jnp

from r1 import dims
from r1.algorithms import ends, grpo

SIDES = 1


def loss(value_BL, batch: ends.EndsBatch):
  """(-sum(weight log sigmoid(side s)) in nats, metrics) of a micro-batch of labelled responses.

  side is +1 for safe, -1 for unsafe. The weights are normalised over the whole optimiser step, so
  micro-batches add. Metrics are sums over `count` responses. A score of 0 is half right. What
  stands at other places than a response's last reaches neither loss nor gradient.
  """
  dims.check(value_BL=value_BL, **vars(batch))
  live_BL = batch.weight_BL > 0
  logit_BL = batch.side_BL * grpo.scored(value_BL, live_BL)
  right_BL = jnp.where(logit_BL == 0, 0.5, logit_BL > 0)
  metrics = {
    "sum": {
      "reward_model/accuracy": jnp.sum(jnp.where(live_BL, right_BL, 0.0)),
      "reward_model/gap": jnp.sum(jnp.where(live_BL, logit_BL, 0.0)),
    },
    "max": {},
    "count": jnp.sum(live_BL.astype(jnp.float32)),
  }
  return -jnp.sum(batch.weight_BL * jax.nn.log_sigmoid(logit_BL)), metrics
