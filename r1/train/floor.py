"""How fast work could be: its FLOPs and bytes against what the device was measured to do.

N counts the weights that a token is multiplied with: without an embedding table that is only looked
up, and of a mixture's experts the chosen ones alone. A forward costs 2 N FLOPs a token and a
training step 6 N (arXiv 2001.08361, section 2.1), to which attention adds its own.

A decoding step of B rows reads the weights once and every row's keys and values, and takes at least

  max(bytes / bandwidth, FLOPs / matmul rate),
  bytes = weights in the type of the computation + B * held * (bytes of a token's keys and values),
  FLOPs = B * (2 N + attention over `held` keys),

where `held` is the mean number of tokens in the cache. Decoding all answers takes tokens / B such
steps where every slot is always full, and never fewer than the longest answer has tokens. Prefill
is not part of this floor, so a fraction of it, taken of a time that has prefill inside, is low by
that much.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from r1 import spec
from r1.model import pages, transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
  """What all devices together were measured to do. matmul: FLOP/s. bandwidth: bytes/s read."""

  matmul: float
  bandwidth: float


def active(cfg, tokens: float = 1) -> int:
  """Weights that so many tokens meet, which are N for one; no two tokens choose the same expert."""
  flat = spec.flatten(transformer.specs(cfg))
  if not cfg.tied:
    del flat["embed_VD"]
  share = min(1.0, tokens * cfg.S / cfg.E) if cfg.E else 1.0
  routed = {path: {"E", "X"} <= set(s.axes) for path, s in flat.items()}
  return round(sum(math.prod(s.shape) * (share if routed[p] else 1) for p, s in flat.items()))


def _per_key(cfg, *, decoding: bool) -> int:
  """FLOPs of one query token of one layer for each key that it sees: scores, and weighted values.

  Latent attention that decodes with absorbed queries works on the latents themselves.
  """
  if cfg.attention != "mla":
    return 2 * cfg.H * 2 * cfg.K
  if decoding and cfg.absorb:
    return 2 * cfg.H * (2 * cfg.C + cfg.P)
  return 2 * cfg.H * (cfg.K + cfg.P + cfg.W)


def attention(cfg, first: int, last: int, *, decoding: bool) -> int:
  """Forward FLOPs of the tokens at positions `first` .. `last` - 1 of a sequence, all layers."""
  keys = np.arange(first, last) + 1
  layers = sum(count for _, count in cfg.stacks)
  seen = sum(int(np.minimum(keys, window or last).sum()) for window in cfg.windows or (0,) * layers)
  return seen * _per_key(cfg, decoding=decoding)


def forward(cfg, lengths) -> int:
  """FLOPs of reading sequences of these lengths once: of scoring them with one policy."""
  total = 2 * active(cfg) * int(np.sum(lengths))
  return total + sum(attention(cfg, 0, int(n), decoding=False) for n in lengths)


def training(read: int) -> int:
  """FLOPs of a forward and a backward pass, from `forward`'s; recomputing layers is not work."""
  return 3 * read


def decoding(cfg, prompt: int, lengths) -> int:
  """FLOPs of decoding answers of these lengths behind prompts of `prompt` tokens."""
  total = 2 * active(cfg) * int(np.sum(lengths))
  ends = [prompt + int(n) for n in lengths]
  return total + sum(attention(cfg, prompt, end, decoding=True) for end in ends)


def token_bytes(cfg, cache_dtype: str) -> int:
  """Bytes that the cache keeps of one token, all layers, with the scales of 8-bit codes."""
  stacks = pages.specs(cfg, 1, 1, cache_dtype)
  buffers = [s for stack in stacks.values() for s in stack.values()]
  return sum(math.prod(s.shape) * s.dtype.itemsize for s in buffers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decode:
  """The floor of decoding a set of answers. bytes, flops, seconds: of the mean step."""

  steps: int
  held: float
  bytes: float
  flops: float
  seconds: float

  @property
  def total(self) -> float:
    """Seconds of all steps."""
    return self.steps * self.seconds


def decode(cfg, *, prompt: int, lengths, slots: int, cache_dtype: str, rates: Rates) -> Decode:
  """See the top of this file. slots: rows decoded together."""
  lengths = np.asarray(lengths)
  tokens = int(lengths.sum())
  steps = max(math.ceil(tokens / slots), int(lengths.max()))
  # The token number t of an answer, counted from 1, is drawn with prompt + t - 1 tokens held.
  held = prompt + float((lengths * (lengths - 1) / 2).sum()) / tokens
  rows = tokens / steps
  weights = active(cfg, rows) * jnp.dtype(cfg.dtype).itemsize
  size = weights + rows * held * token_bytes(cfg, cache_dtype)
  flops = decoding(cfg, prompt, lengths) / steps
  seconds = max(size / rates.bandwidth, flops / rates.matmul)
  return Decode(steps=steps, held=held, bytes=size, flops=flops, seconds=seconds)
