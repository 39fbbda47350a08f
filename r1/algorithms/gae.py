"""Generalised advantage estimation (arXiv 1506.02438 eq. 16) on the host, in NumPy.

An answer is an episode and its tokens are the actions: state t is the prompt with the answer's
first t tokens, value_T[t] is what the value model expects of it, and token t is drawn there. Behind
the last token there is nothing: its value is 0, for answers that were cut at the limit too, since
the limit is part of the task and the reward has judged the answer as it stands. An axis T counts
the tokens of one answer, its end token included.
"""

import itertools
from collections.abc import Sequence

import numpy as np

NOISE = 1e-8  # added to the standard deviation


def token_rewards(reward: float, log_ratio_T, kl: float) -> np.ndarray:
  """-kl log(pi / ref) of each token, and the answer's own reward at its last (2402.03300 eq. 2).

  log_ratio_T: nats, of the policy that is learned from over the reference. float64.
  """
  reward_T = -kl * np.asarray(log_ratio_T, np.float64)
  reward_T[-1] += reward
  return reward_T


def advantages(reward_T, value_T, *, gamma: float, lam: float) -> np.ndarray:
  """A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t; float64.

  What the values are regressed on, the lambda-return, is advantage_T + value_T.
  """
  value_T = np.asarray(value_T, np.float64)
  delta_T = reward_T + gamma * np.append(value_T[1:], 0.0) - value_T
  decay = gamma * lam
  backwards = itertools.accumulate(delta_T[::-1].tolist(), lambda later, d: d + decay * later)
  return np.fromiter(backwards, np.float64, len(delta_T))[::-1]


def whitened(advantages_B: Sequence[np.ndarray], counted_B) -> list[np.ndarray]:
  """The advantages with mean 0 and standard deviation 1 over the tokens of all counted answers.

  Call it on the whole rollout, before its shuffle. Answers that do not count get 0, as does
  everything where the counted tokens have one advantage.
  """
  counted = [a for a, counts in zip(advantages_B, counted_B, strict=True) if counts]
  every_T = np.concatenate([*counted, np.zeros(0)])
  mean, std = (every_T.mean(), every_T.std()) if len(every_T) else (0.0, 0.0)
  scale = 1 / (std + NOISE) if std > NOISE else 0.0
  return [(a - mean) * (scale * bool(counts)) for a, counts in zip(advantages_B, counted_B)]


def explained_variance(value_T, return_T) -> float:
  """1 - Var(return - value) / Var(return): 1 for a perfect critic, 0 for a constant, below 0 for
  one that is worse than that; NaN where the returns do not vary."""
  spread = np.var(return_T)
  return float(1 - np.var(np.subtract(return_T, value_T)) / spread) if spread else float("nan")
