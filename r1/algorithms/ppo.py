"""Proximal policy optimisation, the alternative to GRPO: its settings and its value model.

arXiv 1707.06347; for language, arXiv 2402.03300 eq. 1-2; arXiv 2501.12948v2 section A.3 compares it
with GRPO. The policy's clipped loss is `r1.algorithms.grpo`'s. What differs is the advantage, which
each token has of its own, from what a value model expects of every prefix (`r1.algorithms.gae`),
and the KL penalty, which is part of each token's reward and so in neither loss. Every array is
aligned with `target_BL`: the value at index l is of the state in which target_BL[l] is drawn.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims
from r1.algorithms import grpo
from r1.data import packing
from r1.model import heads, transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class PpoConfig:
  """Symbols of 1506.02438 and 1707.06347.

  group, clip_low, clip_high, normalise, max_tokens, truncated, sampler_cap: as in
  `grpo.GrpoConfig`; no baseline needs the group, which makes the samples those of GRPO.
  gamma, lam: discount and lambda of the advantages, 0 to 1. kl: beta, in the tokens' rewards.
  whiten: advantages of mean 0 and deviation 1 over the rollout's tokens.
  value_clip: how far a value may move from the rollout's before its loss is flat; None: any far.
  """

  group: int
  gamma: float
  lam: float
  kl: float
  clip_low: float
  clip_high: float
  value_clip: float | None
  whiten: bool
  normalise: str
  max_tokens: int
  truncated: str
  sampler_cap: float | None

  def __post_init__(self):
    _ = self.policy  # refuses what GRPO refuses
    for name in ("gamma", "lam"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: wanted a number from 0 to 1")
    if not 0 <= self.kl < float("inf"):
      raise ValueError(f"kl={self.kl}: wanted a finite number, 0 or more")
    if self.value_clip is not None and not self.value_clip > 0:
      raise ValueError(f"value_clip={self.value_clip}: wanted more than 0, or None for off")

  @property
  def policy(self) -> grpo.GrpoConfig:
    """The policy's loss: token by token, without a KL, and without GRPO's baseline."""
    return grpo.GrpoConfig(
      group=self.group,
      clip_low=self.clip_low,
      clip_high=self.clip_high,
      kl=0.0,
      kl_estimator="k1",
      ratio="token",
      normalise=self.normalise,
      max_tokens=self.max_tokens,
      std="none",
      std_eps=0.0,
      truncated=self.truncated,
      dynamic=False,
      sampler_cap=self.sampler_cap,
    )


class ValueBatch(struct.PyTreeNode):
  """Packed rows of one micro-batch for the value model; other names as in `grpo.GrpoBatch`.

  return_BL: what the value should be. old_value_BL: what it was before the rollout's updates.
  Slots of weight 0 are never read.
  """

  token_BL: dims.Array
  position_BL: dims.Array
  segment_BL: dims.Array
  target_BL: dims.Array
  weight_BL: dims.Array
  return_BL: dims.Array
  old_value_BL: dims.Array
  parent_BL: dims.Array | None = None
  fork: packing.Fork | None = struct.field(pytree_node=False, default=None)


def token_value(params, batch, cfg):
  """(value_BL, aux) of the states before batch.target_BL, float32, in units of reward.

  batch: anything with token_BL, position_BL, segment_BL, parent_BL and fork. A value is no logit:
  it is not divided by the temperature. aux: see `transformer.Output`.
  """
  where = batch.token_BL, batch.position_BL, batch.segment_BL
  out = transformer.forward(params, *where, cfg, parent_BL=batch.parent_BL, fork=batch.fork)
  return heads.scalar(params, out.hidden_BLD, cfg), out.aux


@functools.partial(jax.jit, static_argnames="cfg")
def score(params, batch, cfg):
  """value_BL of packed rows, as a compiled program."""
  return token_value(params, batch, cfg)[0]


def value_loss(value_BL, batch: ValueBatch, cfg: PpoConfig):
  """sum(weight 0.5 (V - R)^2) over this micro-batch, and its metrics.

  value_BL: of the live value model. Weights are normalised over the whole optimiser step; slots of
  weight 0 may hold NaN and get gradient 0. With `value_clip` a token's loss is the larger of V's
  and that of V held within value_clip of the old value: a value that has overshot gets no gradient,
  and one that has gone the wrong way is drawn back.
  """
  given = {name: x for name, x in vars(batch).items() if dims.suffix(name) and x is not None}
  dims.check(value_BL=value_BL, **given)
  live_BL = batch.weight_BL > 0
  value_BL, return_BL = grpo.scored(value_BL, live_BL), grpo.scored(batch.return_BL, live_BL)
  old_BL = grpo.scored(batch.old_value_BL, live_BL)
  error_BL, flat_BL = jnp.square(value_BL - return_BL), jnp.zeros_like(live_BL)
  if cfg.value_clip is not None:
    moved_BL = value_BL - old_BL
    near_BL = old_BL + jnp.clip(moved_BL, -cfg.value_clip, cfg.value_clip)
    held_BL = jnp.square(near_BL - return_BL)
    flat_BL = (jnp.abs(moved_BL) > cfg.value_clip) & (held_BL > error_BL)
    error_BL = jnp.where(flat_BL, held_BL, error_BL)
  value = jnp.sum(grpo.scored(batch.weight_BL, live_BL) * 0.5 * error_BL)
  sums = {"value/clip_fraction": flat_BL, "value/mean": value_BL}
  tops = {"value/moved": jnp.abs(value_BL - old_BL)}
  return value, jax.lax.stop_gradient(grpo.metrics(sums, tops, live_BL))
