"""Supervised fine-tuning: cross-entropy on what the assistant says in packed conversations.

arXiv 2501.12948 sections 2.3.1, 2.3.3 and 2.4: the cold start, the second SFT, the distilled
students. The paper leaves the mask and the normalisation open. Here prompts, marks and tools are
read and not learned, and ends of turns are learned. Rows are packed and their segments do not see
each other, as in the SFT of arXiv 2412.19437 section 5.1.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from r1 import dims
from r1.algorithms import experts, grpo, minibatch
from r1.data import packing
from r1.model import heads, mtp, transformer

NORMALISE = ("token", "response")


class SftBatch(struct.PyTreeNode):
  """Packed rows of one micro-batch. weight_BL: of the target in the loss; 0 is never counted."""

  token_BL: dims.Array
  position_BL: dims.Array
  segment_BL: dims.Array
  target_BL: dims.Array
  weight_BL: dims.Array


def token_weights(scored: Sequence[np.ndarray], normalise: str) -> list[np.ndarray]:
  """float32 weight of each token over ALL conversations of one optimiser step; they add to 1.

  token: 1 / all scored tokens. response: 1 / (all responses x tokens of its own), a response being
  a run of scored tokens, one turn of the assistant. A sequence's first token is nobody's target.
  Never call it per micro-batch or per host: means of means are not the mean (SkyRL #1504).
  """
  if normalise not in NORMALISE:
    raise ValueError(f"normalise={normalise!r}: choose one of {', '.join(NORMALISE)}")
  live = [np.asarray(flags, bool) & (np.arange(len(flags)) > 0) for flags in scored]
  if not any(flags.any() for flags in live):
    raise ValueError(f"none of {len(scored)} conversations has a token to learn; wanted one")
  if normalise == "token":
    total = sum(int(flags.sum()) for flags in live)
    return [(flags / total).astype(np.float32) for flags in live]
  runs = [responses(flags) for flags in live]
  count = sum(number for number, _ in runs)
  shares = [flags / np.maximum(length, 1) for flags, (_, length) in zip(live, runs)]
  return [(share / count).astype(np.float32) for share in shares]


def responses(flags: np.ndarray) -> tuple[int, np.ndarray]:
  """(how many runs of neighbours that are True, at each of these the length of its run, else 0)."""
  begins = flags & ~np.concatenate([[False], flags[:-1]])
  number = np.where(flags, np.cumsum(begins), 0)  # of the run, from 1
  return int(begins.sum()), np.where(flags, np.bincount(number)[number], 0)


def assemble(
  sequences: Sequence,
  *,
  normalise: str,
  cfg: minibatch.BatchConfig,
  microbatches: int | None,
) -> tuple[SftBatch, int]:
  """(batch [U, B, L], micro-batches in use) of one optimiser step.

  sequences: (tokens, scored) of each conversation. microbatches: U, the same for every step of a
  run, so that it compiles once; None for as many as these need.
  """
  placement = packing.place([len(tokens) for tokens, _ in sequences], cfg.row_tokens)
  used = math.ceil(len(placement) / cfg.rows)
  rows = cfg.rows * (used if microbatches is None else microbatches)
  packed = packing.fill(sequences, placement, cfg.row_tokens, rows)
  weights = token_weights([scored for _, scored in sequences], normalise)
  batch = SftBatch(
    token_BL=packed.token_BL,
    position_BL=packed.position_BL,
    segment_BL=packed.segment_BL,
    target_BL=packed.target_BL,
    weight_BL=packing.spread(weights, placement, cfg.row_tokens, rows),
  )
  return jax.tree.map(lambda x: x.reshape(-1, cfg.rows, cfg.row_tokens), batch), used


def hits(params, hidden_BLD, target_BL, cfg):
  """hit_BL: 1.0 where the target is the likeliest next token. No gradient.

  One more product with the head, in chunks like those of `heads.logp`: a thirtieth of an update
  where the head is a tenth of the parameters.
  """
  dims.check(hidden_BLD=hidden_BLD, target_BL=target_BL)
  B, L, D = hidden_BLD.shape
  width = max(1, min(L, cfg.logit_chunk // B))
  pad = -L % width
  head_DV, hidden_BLD = jax.lax.stop_gradient((heads.matrix(params, cfg), hidden_BLD))
  hidden = jnp.pad(hidden_BLD, ((0, 0), (0, pad), (0, 0))).reshape(B, -1, width, D)
  best = jax.lax.map(
    lambda part_BLD: jnp.argmax(heads.logits(head_DV, part_BLD, cfg), axis=-1),
    jnp.moveaxis(hidden, 1, 0),
  )
  best_BL = jnp.moveaxis(best, 0, 1).reshape(B, -1)[:, :L]
  return (best_BL == target_BL).astype(jnp.float32)


def loss(logp_BL, entropy_BL, hit_BL, batch: SftBatch):
  """-sum(weight logp) over this micro-batch in nats, and its metrics.

  The weights are normalised over the whole optimiser step (`token_weights`), so losses, gradients
  and metrics of micro-batches and devices add. Metrics: sums over `count` scored tokens; see
  `grpo.add` and `grpo.summary`.
  """
  dims.check(logp_BL=logp_BL, entropy_BL=entropy_BL, hit_BL=hit_BL, **vars(batch))
  live_BL = batch.weight_BL > 0
  means = {"sft/entropy": entropy_BL, "sft/accuracy": hit_BL}
  metrics = {
    "sum": {name: jnp.sum(grpo.scored(x_BL, live_BL)) for name, x_BL in means.items()},
    "max": {},
    "count": jnp.sum(live_BL.astype(jnp.float32)),
  }
  return -jnp.sum(batch.weight_BL * grpo.scored(logp_BL, live_BL)), metrics


def ahead(params, hidden_BLD, batch: SftBatch, cfg):
  """-sum(weight logp) of the tokens after the next, by the layer that predicts them, in nats.

  arXiv 2412.19437, eq. 24-25 with depth 1. A target is one that the loss counts anyway, seen from
  one token earlier, so what a prompt's last token predicts is its answer's second token.
  """
  inside_BL = batch.segment_BL[:, 1:] == batch.segment_BL[:, :-1]

  def later(x_BL):
    """What stands at the next token of the same segment; 0 where there is none."""
    return jnp.pad(jnp.where(inside_BL, x_BL[:, 1:], 0), ((0, 0), (0, 1)))

  knows_BL = later(batch.segment_BL)  # 0 where no next token is
  hidden_BLD, _ = mtp.hidden(params, hidden_BLD, batch.target_BL, batch.position_BL, knows_BL, cfg)
  logp_BL, _ = heads.logp(params, hidden_BLD, later(batch.target_BL), cfg, 1.0)
  weight_BL = later(batch.weight_BL)
  return -jnp.sum(weight_BL * grpo.scored(logp_BL, weight_BL > 0))


def make_loss(cfg, mixture: experts.ExpertsConfig, mtp_weight: float):
  """`loss(params, batch)` of one packed micro-batch.

  mtp_weight: lambda of the prediction of the token after the next (arXiv 2412.19437, eq. 25).
  """

  def of_batch(params, batch: SftBatch):
    out = transformer.forward(params, batch.token_BL, batch.position_BL, batch.segment_BL, cfg)
    logp_BL, entropy_BL = heads.logp(params, out.hidden_BLD, batch.target_BL, cfg, 1.0)
    right_BL = hits(params, out.hidden_BLD, batch.target_BL, cfg)
    value, found = loss(logp_BL, entropy_BL, right_BL, batch)
    if cfg.mtp and mtp_weight:
      value += mtp_weight * ahead(params, out.hidden_BLD, batch, cfg)
    return experts.regularise(value, found, out.aux, batch.weight_BL, mixture)

  return of_batch
