"""From the rewards of a whole rollout to advantages and loss weights, on the host in NumPy.

Works on whole groups, before the rollout is shuffled into mini-batches: row q of an array _QG
holds the answers to question q, grouped by index, never by the prompt's text. `valid` is False
where the reward is unknown through our own fault (no verdict); such a sample has no part in
its group's baseline and none in the loss.
"""

import numpy as np

from r1.algorithms import grpo

NOISE = 1e-6  # rewards closer than this (relative, above 1) are equal: float32 sums differ by less


def group_advantages(reward_QG, valid_QG, cfg: grpo.GrpoConfig) -> np.ndarray:
  """(R - mean) / (std + eps) in each group, 2501.12948 eq. 3; float32, unitless.

  Mean and standard deviation are of the valid samples, in two passes in float64. Exactly 0 for
  invalid samples and for groups without spread. Raises ValueError on a group of another size
  than cfg.group and on a valid reward that is not finite.
  """
  reward_QG, valid_QG = checked(reward_QG, valid_QG, cfg)
  count_Q1 = np.maximum(valid_QG.sum(axis=1, keepdims=True), 1)
  mean_Q1 = reward_QG.sum(axis=1, keepdims=True) / count_Q1
  centred_QG = np.where(valid_QG, reward_QG - mean_Q1, 0.0)
  if cfg.std != "none":
    freedom_Q1 = np.maximum(count_Q1 - 1, 1) if cfg.std == "sample" else count_Q1
    std_Q1 = np.sqrt((centred_QG**2).sum(axis=1, keepdims=True) / freedom_Q1)
    centred_QG = centred_QG / np.where(std_Q1 > 0, std_Q1 + cfg.std_eps, 1.0)
  spread_Q = informative(reward_QG, valid_QG)
  return np.where(spread_Q[:, None], centred_QG, 0.0).astype(np.float32)


def informative(reward_QG, valid_QG) -> np.ndarray:
  """bool_Q: whether a group's valid rewards differ by more than float noise."""
  reward_QG, valid_QG = np.asarray(reward_QG, np.float64), np.asarray(valid_QG, bool)
  high_Q = np.where(valid_QG, reward_QG, -np.inf).max(axis=1)
  low_Q = np.where(valid_QG, reward_QG, np.inf).min(axis=1)
  high_Q, low_Q = (np.where(valid_QG.any(axis=1), x_Q, 0.0) for x_Q in (high_Q, low_Q))
  return high_Q - low_Q > NOISE * np.maximum(1.0, np.maximum(abs(high_Q), abs(low_Q)))


def apply_truncation(reward_QG, valid_QG, truncated_QG, cfg: grpo.GrpoConfig):
  """(reward_QG, valid_QG) after the policy for answers cut at the length limit.

  keep: graded as they are. zero: reward 0, in loss and baseline. mask: as if without verdict,
  so they leave the group's baseline as well as the loss (OpenRLHF #1239).
  """
  reward_QG, valid_QG = np.asarray(reward_QG, np.float64), np.asarray(valid_QG, bool)
  truncated_QG = np.asarray(truncated_QG, bool)
  if truncated_QG.shape != reward_QG.shape or valid_QG.shape != reward_QG.shape:
    raise ValueError(
      f"reward {reward_QG.shape}, valid {valid_QG.shape}, truncated {truncated_QG.shape}: "
      "wanted three arrays of one shape [questions, group]"
    )
  if cfg.truncated == "zero":
    reward_QG = np.where(truncated_QG & valid_QG, 0.0, reward_QG)
  if cfg.truncated == "mask":
    valid_QG = valid_QG & ~truncated_QG
  return reward_QG, valid_QG


def counted(reward_QG, valid_QG, cfg: grpo.GrpoConfig) -> np.ndarray:
  """bool_QG: the samples that the loss counts.

  All valid ones; under dynamic sampling (arXiv 2503.14476) those of informative groups only.
  Without it, groups of equal rewards have no gain but still feel the KL and stay in every
  normaliser.
  """
  reward_QG, valid_QG = checked(reward_QG, valid_QG, cfg)
  if not cfg.dynamic:
    return valid_QG
  return valid_QG & informative(reward_QG, valid_QG)[:, None]


def token_weights(lengths_B, counted_B, cfg: grpo.GrpoConfig) -> np.ndarray:
  """float32 weight_B of each token of a response, over ALL responses of one optimiser step.

  response: 1/(n |o|). token: 1/sum |o|. constant: 1/(n max_tokens), arXiv 2503.20783. n and the
  sum are of the counted responses; the others weigh 0, so a step without any weighs 0. Never
  call it per micro-batch or per host: means of means are not the mean (TRL #3021, verl #5625).
  lengths_B: tokens the loss scores, EOS included.
  """
  lengths_B, counted_B = np.asarray(lengths_B, np.int64), np.asarray(counted_B, bool)
  if lengths_B.shape != counted_B.shape or lengths_B.ndim != 1:
    raise ValueError(
      f"lengths {lengths_B.shape}, counted {counted_B.shape}: wanted two vectors of one length"
    )
  if (lengths_B[counted_B] < 1).any():
    b = int(np.argmax(counted_B & (lengths_B < 1)))
    raise ValueError(f"response {b} counts but has {lengths_B[b]} tokens; it has at least its EOS")
  if cfg.normalise == "constant" and (lengths_B[counted_B] > cfg.max_tokens).any():
    raise ValueError(
      f"a response has {lengths_B[counted_B].max()} tokens, more than max_tokens="
      f"{cfg.max_tokens}: set max_tokens to the longest limit of the run's schedule"
    )
  count, total = max(int(counted_B.sum()), 1), max(int(lengths_B[counted_B].sum()), 1)
  if cfg.normalise == "response":
    weight_B = 1.0 / (count * np.maximum(lengths_B, 1))
  else:
    share = 1.0 / total if cfg.normalise == "token" else 1.0 / (count * cfg.max_tokens)
    weight_B = np.full(lengths_B.shape, share)
  return np.where(counted_B, weight_B, 0.0).astype(np.float32)


def checked(reward_QG, valid_QG, cfg: grpo.GrpoConfig):
  """float64 rewards with 0 at invalid samples, and the flags, after a look at both."""
  reward_QG, valid_QG = np.asarray(reward_QG, np.float64), np.asarray(valid_QG, bool)
  if reward_QG.ndim != 2 or reward_QG.shape[1] != cfg.group or valid_QG.shape != reward_QG.shape:
    raise ValueError(
      f"reward {reward_QG.shape}, valid {valid_QG.shape}: wanted [questions, group={cfg.group}], "
      "whole groups of the rollout before its shuffle"
    )
  bad = np.argwhere(valid_QG & ~np.isfinite(reward_QG))
  if bad.size:
    q, g = bad[0]
    raise ValueError(
      f"reward of question {q}, answer {g} is {reward_QG[q, g]}: mark it invalid, or give a number"
    )
  return np.where(valid_QG, reward_QG, 0.0), valid_QG
