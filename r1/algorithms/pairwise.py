"""The pairwise loss of the helpful reward model: Bradley-Terry on chosen and rejected answers.

P(chosen beats rejected) = sigmoid(s_w - s_l), so the loss is the mean of -log sigmoid(s_w - s_l)
(arXiv 2501.12948v2 section 3.1, which prints no formula; arXiv 2203.02155 eq. 1).
A score is the scalar head's number at an answer's last token.
"""

import jax
import jax.numpy as jnp

from r1 import dims
from r1.algorithms import ends

SIDES = 2


def loss(value_BL, batch: ends.EndsBatch):
  """(-sum(weight log sigmoid(s_w - s_l)) in nats, metrics) of a micro-batch of pairs.

  The weights are normalised over the whole optimiser step, so micro-batches add. Metrics are sums
  over `count` pairs; see `grpo.add`. Equal scores are half right.
  """
  dims.check(value_BL=value_BL, **vars(batch))
  most = value_BL.size // SIDES + 1  # a sequence has one token at least

  def by_pair(x_BL):
    return jax.ops.segment_sum(x_BL.reshape(-1), batch.item_BL.reshape(-1), most)[1:]

  gap, weight = by_pair(batch.side_BL * value_BL), by_pair(batch.weight_BL)
  live = weight > 0
  right = jnp.where(gap == 0, 0.5, gap > 0)
  metrics = {
    "sum": {
      "reward_model/accuracy": jnp.sum(jnp.where(live, right, 0.0)),
      "reward_model/gap": jnp.sum(jnp.where(live, gap, 0.0)),
    },
    "max": {},
    "count": jnp.sum(live.astype(jnp.float32)),
  }
  return -jnp.sum(weight * jax.nn.log_sigmoid(gap)), metrics
