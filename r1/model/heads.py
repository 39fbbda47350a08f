"""What stands on the hidden states: next-token logits, log-probabilities in chunks, one number."""

import dataclasses

import jax
import jax.numpy as jnp

from r1 import dims, sharding
from r1.model import attention, layers


def matrix(params, cfg):
  """The head_DV of this model: its own, or the embedding table turned over.

  Raises ValueError where the model has a scalar head in its place.
  """
  if cfg.scalar:
    raise ValueError(
      "the model has a scalar head (a reward or value model), so it predicts no tokens: give a "
      "language model, such as the one that it was made from"
    )
  return params["head_DV"] if "head_DV" in params or not cfg.tied else params["embed_VD"].T


def scalar(params, hidden_BLD, cfg):
  """value_BL, float32: one number per token, of a reward or value model (`cfg.scalar`)."""
  if not cfg.scalar:
    raise ValueError("the model has no scalar head; make one of it with models.with_scalar")
  hidden_BLD = hidden_BLD.astype(jnp.float32)
  value_BL = jnp.einsum("BLD,D->BL", hidden_BLD, params["scalar_D"].astype(jnp.float32))
  return sharding.shard(value_BL, "BL", cfg.rules)


def by_ids(params, cfg):
  """(head_DV, cfg) for the chunks of a loss, their ids split over the devices with the weights.

  A chunk's tokens are gathered. Split over rows instead, every chunk would sum the whole head's
  gradient over all devices.
  """
  if cfg.rules and sharding.divides(cfg.V, "V", sharding.by_ids(cfg.rules).weight):
    cfg = dataclasses.replace(cfg, rules=sharding.by_ids(cfg.rules))
  return sharding.home(matrix(params, cfg), "DV", cfg.rules), cfg


def logits(head_DV, hidden_BLD, cfg):
  """Float32 logits_BLV; ids that the tokenizer does not have get -1e30."""
  if isinstance(head_DV, layers.Turned):
    logits_BLV = layers.product("BLD,DV->BLV", hidden_BLD, head_DV).astype(jnp.float32)
  else:
    head_DV = head_DV.astype(hidden_BLD.dtype)
    kind = {"preferred_element_type": jnp.float32}
    logits_BLV = jnp.einsum("BLD,DV->BLV", hidden_BLD, head_DV, **kind)
  if cfg.ids < cfg.V:
    logits_BLV = jnp.where(jnp.arange(cfg.V)[None, None] < cfg.ids, logits_BLV, attention.NEVER)
  return sharding.shard(logits_BLV, "BLV", cfg.rules)


def logp(params, hidden_BLD, target_BL, cfg, temperature):
  """(logp_BL, entropy_BL) of the targets, float32 nats, of softmax(logits / temperature).

  target_BL[:, l] is what hidden_BLD[:, l] predicts; the packer aligns them. Only
  `cfg.logit_chunk` tokens have logits at one time, forward and backward; the entropy has no
  gradient.
  """
  dims.check(hidden_BLD=hidden_BLD, target_BL=target_BL)
  B, L, D = hidden_BLD.shape
  width = max(1, min(L, cfg.logit_chunk // B))
  pad = -L % width
  hidden = jnp.pad(hidden_BLD, ((0, 0), (0, pad), (0, 0))).reshape(B, -1, width, D)
  target = jnp.pad(target_BL, ((0, 0), (0, pad))).reshape(B, -1, width)

  head_DV, cfg = by_ids(params, cfg)

  def chunk(head_DV, hidden_BLD, target_BL):
    hidden_BLD = sharding.shard(hidden_BLD, "BLD", cfg.rules)
    logits_BLV = logits(head_DV, hidden_BLD, cfg) / temperature
    logp_BLV = jax.nn.log_softmax(logits_BLV, axis=-1)
    logp_BL = jnp.take_along_axis(logp_BLV, target_BL[..., None], axis=-1)[..., 0]
    free_BLV = jax.lax.stop_gradient(logp_BLV)
    return logp_BL, -jnp.sum(jnp.exp(free_BLV) * free_BLV, axis=-1)

  # One chunk alone is kept for the backward pass: it is no larger than the recomputed one.
  kept = chunk if hidden.shape[1] == 1 else jax.checkpoint(chunk)

  def step(_, hidden_target):
    return None, kept(head_DV, *hidden_target)

  blocks = jnp.moveaxis(hidden, 1, 0), jnp.moveaxis(target, 1, 0)
  _, results = jax.lax.scan(step, None, blocks)
  return tuple(jnp.moveaxis(x, 0, 1).reshape(B, -1)[:, :L] for x in results)
