"""GRPO in float64 NumPy, one response and one token at a time, written from the equations.

arXiv 2501.12948 eq. 1-3, arXiv 2402.03300 eq. 3-4, arXiv 2507.18071 eq. 7. Shares no code with
r1: the tests hold r1's packed float32 arrays against these loops. Gradients are analytic.
"""

import math
import statistics

import numpy as np


def advantages(reward_QG, valid_QG, std, eps):
  """Group by group; `None` and NaN rewards never get here: they are not valid."""
  out = np.zeros(np.shape(reward_QG))
  for q, (rewards, valid) in enumerate(zip(reward_QG, valid_QG)):
    known = [float(r) for r, v in zip(rewards, valid) if v]
    if len(known) < 2 or max(known) == min(known):
      continue
    deviation = {"sample": statistics.stdev, "population": statistics.pstdev}.get(std)
    scale = deviation(known) + eps if deviation else 1.0
    for g, v in enumerate(valid):
      if v:
        out[q, g] = (float(rewards[g]) - statistics.fmean(known)) / scale
  return out


def response_weight(lengths, counted, cfg):
  """The weight of each token of each response."""
  n = sum(counted)
  total = sum(length for length, c in zip(lengths, counted) if c)
  per_token = {
    "response": lambda length: 1 / (n * length),
    "token": lambda length: 1 / total,
    "constant": lambda length: 1 / (n * cfg.max_tokens),
  }[cfg.normalise]
  return [per_token(length) if c else 0.0 for length, c in zip(lengths, counted)]


def ratio(log, kind):
  """Ratios of one response's tokens, and d ratio_t / d logp_u as a matrix [t, u]."""
  n = len(log)
  if kind == "token":
    used, jacobian = log, np.eye(n)
  elif kind == "sequence":
    used, jacobian = np.full(n, log.sum()), np.ones((n, n))
  else:
    used, jacobian = np.full(n, log.sum() / n), np.full((n, n), 1 / n)
  inside = np.abs(used) <= 20
  value = np.exp(np.clip(used, -20, 20))
  return value, jacobian * (value * inside)[:, None]


def surrogate(r, a, cfg):
  """min(r a, clip(r) a), its derivative in r, and whether the clip acted."""
  bounded = min(max(r, 1 - cfg.clip_low), 1 + cfg.clip_high)
  if bounded * a < r * a:
    return bounded * a, 0.0, True
  return r * a, a, False


def penalty(d, kind):
  """KL estimate of d = ref - logp, and its derivative in logp."""
  if kind == "k1":
    return -d, 1.0
  if kind == "k2":
    return d * d / 2, -d
  if abs(d) > 20:
    return math.expm1(math.copysign(20, d)) - math.copysign(20, d), 0.0
  return math.expm1(d) - d, 1 - math.exp(d)


def loss(responses, cfg):
  """(loss, gradient per response, {kl, clip_fraction} per counted token).

  A response is a dict of float64 vectors logp, old, ref, sampler over its scored tokens, and a
  number advantage and a flag counted.
  """
  lengths = [len(o["logp"]) for o in responses]
  weights = response_weight(lengths, [o["counted"] for o in responses], cfg)
  value, gradients, kl, clips = 0.0, [], [], []
  for o, weight in zip(responses, weights):
    gradient = np.zeros(len(o["logp"]))
    gradients.append(gradient)
    if not o["counted"]:
      continue
    ratios, jacobian = ratio(o["logp"] - o["old"], cfg.ratio)
    for t, r in enumerate(ratios):
      trust = 1.0
      if cfg.sampler_cap is not None:
        trust = min(math.exp(o["old"][t] - o["sampler"][t]), cfg.sampler_cap)
      gain, slope, clipped = surrogate(r, o["advantage"], cfg)
      k, k_slope = penalty(o["ref"][t] - o["logp"][t], cfg.kl_estimator)
      value -= weight * (trust * gain - cfg.kl * k)
      gradient -= weight * trust * slope * jacobian[t]
      gradient[t] += weight * cfg.kl * k_slope
      kl.append(k)
      clips.append(clipped)
  means = {"policy/kl": np.mean(kl), "policy/clip_fraction": np.mean(clips)} if kl else {}
  return value, gradients, means
