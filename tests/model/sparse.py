"""Small mixtures of experts for tests, and their equations token by token in float64 NumPy."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from r1 import sharding
from r1.model import moe

V3 = {
  "scores": "sigmoid",
  "groups": 4,
  "groups_kept": 2,
  "group_score": "top2",
  "renormalise": True,
  "scale": 2.5,
  "bias": True,
  "dispatch": "sorted",
  "block": 4,
}
V2 = V3 | {
  "scores": "softmax",
  "group_score": "max",
  "renormalise": False,
  "scale": 16.0,
  "bias": False,
}
PLAIN = V2 | {"groups": 1, "groups_kept": 1, "scale": 1.0, "renormalise": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """What a mixture of experts reads of a model's config."""

  D: int
  E: int
  X: int
  S: int
  Y: int
  rules: sharding.Rules | None
  moe: moe.Routing
  dtype: str


def config(routing=None, rules=None, dtype="float32", **changes) -> Sizes:
  """Eight experts, three chosen, one shared of width 6, unless changed."""
  sizes = {"D": 16, "E": 8, "X": 12, "S": 3, "Y": 6} | changes
  return Sizes(**sizes, rules=rules, moe=moe.Routing(**(routing or V3)), dtype=dtype)


def params(cfg, seed=0):
  """Random weights; the bias is as wide as the scores, so that it moves many choices."""
  rng = np.random.default_rng(seed)

  def draw(s):
    noise = rng.standard_normal(s.shape)
    size = np.prod([n for n, letter in zip(s.shape, s.axes) if letter in s.inputs])
    return jnp.asarray(noise / np.sqrt(size) if s.inputs else 0.2 * noise, jnp.float32)

  return {name: draw(s) for name, s in moe.specs(cfg).items()}


def batch(B=8, L=10, D=16, seed=1):
  """(x_BLD, real_BL, cotangent_BLD): rows of every fill, one of them padding throughout."""
  rng = np.random.default_rng(seed)
  x_BLD, d_BLD = (jnp.asarray(rng.standard_normal((B, L, D)), jnp.float32) for _ in range(2))
  filled_B = np.resize([L, 3, 0, L, 7, 1], B)
  return x_BLD, jnp.asarray(np.arange(L)[None] < filled_B[:, None]), d_BLD


def logits(*score_E):
  """A router_DE, of D = 1, whose sigmoid scores of the input 1 are these."""
  score_E = np.asarray(score_E)
  return jnp.asarray(np.log(score_E / (1 - score_E)), jnp.float32)[None]


def route(p, x_D, cfg):
  """({expert: weight}, score_E) of one token."""
  routing = cfg.moe
  logit_E = x_D @ p["router_DE"]
  if routing.scores == "sigmoid":
    score_E = 1 / (1 + np.exp(-logit_E))
  else:
    score_E = np.exp(logit_E - logit_E.max())
    score_E /= score_E.sum()
  biased_E = score_E + p["router_bias_E"] if routing.bias else score_E
  size = cfg.E // routing.groups
  groups = [range(i * size, (i + 1) * size) for i in range(routing.groups)]
  best = 2 if routing.group_score == "top2" else 1
  groups.sort(key=lambda group: -sum(sorted(biased_E[group])[-best:]))
  allowed = [e for group in groups[: routing.groups_kept] for e in group]
  chosen = sorted(allowed, key=lambda e: -biased_E[e])[: cfg.S]
  total = sum(score_E[e] for e in chosen) if routing.renormalise else 1.0
  return {e: routing.scale * score_E[e] / total for e in chosen}, score_E


def swiglu(x_D, gate, up, down):
  hidden = x_D @ gate
  return (hidden / (1 + np.exp(-hidden)) * (x_D @ up)) @ down


def feed(p, x_BLD, real_BL, cfg):
  """(y_BLD, [(b, l, {expert: weight}) of the real tokens])."""
  p = {name: np.asarray(w, np.float64) for name, w in p.items()}
  y_BLD, choices = np.zeros(x_BLD.shape), []
  for b, l in np.ndindex(*real_BL.shape):
    x_D = np.asarray(x_BLD[b, l], np.float64)
    if cfg.Y:
      y_BLD[b, l] = swiglu(x_D, p["shared_gate_DY"], p["shared_up_DY"], p["shared_down_YD"])
    if not real_BL[b, l]:
      continue
    weights, _ = route(p, x_D, cfg)
    choices.append((b, l, weights))
    for e, weight in weights.items():
      y_BLD[b, l] += weight * swiglu(x_D, *(p[name][e] for name in moe.MATRICES))
  return y_BLD, choices
