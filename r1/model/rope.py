"""Rotary position embedding (arXiv 2104.09864) and the ways to stretch it over longer contexts.

The two layouts differ in which numbers of a head form a pair: Qwen and Llama weights pair (i, i +
width/2), DeepSeek's pair neighbours (2i, 2i + 1). `llama3` and `yarn` (arXiv 2309.00071) divide the
slow frequencies by a factor, leave the fast ones alone and blend between.
"""

import dataclasses
import math

import jax.numpy as jnp

KINDS = ("linear", "llama3", "yarn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scaling:
  """How frequencies shrink.

  kind: one of KINDS; linear divides all of them by `factor` and reads nothing else.
  original: the context of the pre-training, in tokens. low, high: a frequency that turns less than
  `low` times over it is divided by `factor`, one that turns more than `high` times is left alone.
  truncate: yarn rounds the ramp's two ends outwards to whole pairs. mscale, mscale_all: yarn's
  strength of the correction of cos and sin, and of all of attention; 0 where not given.
  amplitude: yarn's factor of cos and sin where it is given as a number.
  """

  kind: str
  factor: float
  original: int
  low: float
  high: float
  truncate: bool
  mscale: float
  mscale_all: float
  amplitude: float | None

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"rope scaling {self.kind!r} is not implemented; there are {KINDS}")
    if self.factor < 1:
      raise ValueError(f"rope scaling factor={self.factor} must be >= 1")
    if self.kind != "linear" and (self.original < 1 or not 0 < self.low <= self.high):
      raise ValueError(
        f"rope scaling: original={self.original} must be >= 1 and 0 < low={self.low} <= "
        f"high={self.high}"
      )


def rotary(position_BL, width: int, base: float, scaling: Scaling | None):
  """cos and sin of each position's angles, each [B, L, width/2] in float32."""
  frequency = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
  if scaling is not None:
    frequency = frequency * shrink(width, base, scaling)
  angle = position_BL[..., None].astype(jnp.float32) * frequency.reshape(1, 1, -1)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  if (size := amplitude(scaling)) != 1:
    cos, sin = cos * size, sin * size
  return cos, sin


def shrink(width: int, base: float, scaling: Scaling):
  """What each of the width/2 frequencies is multiplied by, from 1/factor to 1."""
  if scaling.kind == "linear":
    return jnp.full(width // 2, 1 / scaling.factor, jnp.float32)
  if scaling.kind == "llama3":
    frequency = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    turns = scaling.original * frequency / (2 * math.pi)
    plain = jnp.clip((turns - scaling.low) / (scaling.high - scaling.low), 0, 1)
  else:
    plain = 1 - _ramp(width, base, scaling)
  return plain + (1 - plain) / scaling.factor


def _ramp(width: int, base: float, scaling: Scaling):
  """YaRN's share of interpolation per pair: 0 for the fast ones, 1 for the slow, linear between."""

  def pair(turns: float) -> float:
    """The (fractional) index of the pair that turns so often over the original context."""
    return width * math.log(scaling.original / (turns * 2 * math.pi)) / (2 * math.log(base))

  first, last = pair(scaling.high), pair(scaling.low)
  if scaling.truncate:
    first, last = math.floor(first), math.ceil(last)
  first, last = max(first, 0), min(last, width - 1)
  if first == last:
    last += 0.001  # a step, as the reference implementation has it
  index = jnp.arange(width // 2, dtype=jnp.float32)
  return jnp.clip((index - first) / (last - first), 0, 1)


def strength(factor: float, mscale: float) -> float:
  """YaRN's correction of attention for a stretch by `factor` (arXiv 2309.00071, eq. 22)."""
  return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def amplitude(scaling: Scaling | None) -> float:
  """What cos and sin are multiplied by."""
  if scaling is None or scaling.kind != "yarn":
    return 1.0
  if scaling.amplitude is not None:
    return scaling.amplitude
  if scaling.mscale and scaling.mscale_all:
    return strength(scaling.factor, scaling.mscale) / strength(scaling.factor, scaling.mscale_all)
  return strength(scaling.factor, 1.0)


def sharpness(scaling: Scaling | None) -> float:
  """What latent attention multiplies its scores by, beside the root of the head size."""
  if scaling is None or not scaling.mscale_all:
    return 1.0
  return strength(scaling.factor, scaling.mscale_all) ** 2


def halves(x_BLHK, cos_sin):
  """Rotates the pairs (i, i + K/2)."""
  cos, sin = (a[:, :, None, :].astype(x_BLHK.dtype) for a in cos_sin)
  first, second = jnp.split(x_BLHK, 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def pairs(x_BLHP, cos_sin):
  """Rotates the pairs (2i, 2i + 1) and leaves them where they are."""
  cos, sin = (a[:, :, None, :].astype(x_BLHP.dtype) for a in cos_sin)
  first, second = x_BLHP[..., 0::2], x_BLHP[..., 1::2]
  turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
  return turned.reshape(x_BLHP.shape)
