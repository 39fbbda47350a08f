"""A teacher's next-token distribution beside the text: forward KL in chunks, added to SFT.

An option beyond arXiv 2501.12948, whose students learn from text alone (section 2.4). The mixture
of both and the factor temperature^2, which keeps the size of the gradient, are those of arXiv
1503.02531 section 2.
"""

import dataclasses

import jax
import jax.numpy as jnp

from r1 import dims, sharding
from r1.algorithms import experts, grpo, sft
from r1.model import heads, transformer


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistillConfig:
  """What there is to learn from beside the text; without a teacher, nothing.

  teacher: a model with the student's tokenizer, or "". logits: the share of its distribution in the
  loss; the text has the rest. temperature: of both distributions, in the KL alone.
  """

  teacher: str
  logits: float
  temperature: float

  def __post_init__(self):
    if not 0 <= self.logits <= 1:
      raise ValueError(f"logits={self.logits}: wanted a share of the loss from 0 (text alone) to 1")
    if self.temperature <= 0:
      raise ValueError(f"temperature={self.temperature} must be > 0")
    if bool(self.teacher) != (self.logits > 0):
      raise ValueError(
        f"teacher={self.teacher!r} and logits={self.logits}: a teacher needs a share of the loss "
        "above 0, and such a share a teacher; text alone has neither"
      )


def divergence(own, teacher, temperature):
  """kl_BL: KL(teacher || own) of softmax(logits / temperature) in float32 nats.

  own, teacher: (params, hidden_BLD, cfg), each of its own width and padding of the vocabulary; the
  ids are the same. No gradient to the teacher. Only `logit_chunk` tokens of `own` have logits at
  one time, in both models, forward and backward: the backward pass computes them again.
  """
  (params, hidden_BLD, cfg), (other, guide_BLD, guide_cfg) = own, teacher
  dims.check(hidden_BLD=hidden_BLD)
  dims.check(guide_BLD=guide_BLD)
  if hidden_BLD.shape[:2] != guide_BLD.shape[:2] or cfg.ids != guide_cfg.ids:
    raise ValueError(
      f"own {hidden_BLD.shape[:2]} tokens of {cfg.ids} ids, the teacher's {guide_BLD.shape[:2]} of "
      f"{guide_cfg.ids}: wanted the same tokens and the same ids"
    )
  B, L, _ = hidden_BLD.shape
  width = max(1, min(L, cfg.logit_chunk // B))
  head_DV, cfg = heads.by_ids(params, cfg)
  guide_DV, guide_cfg = heads.by_ids(jax.lax.stop_gradient(other), guide_cfg)
  V = min(cfg.V, guide_cfg.V)  # what is beyond it in the wider one is padding

  def chunk(head_DV, hidden_BLD, guide_BLD):
    hidden_BLD = sharding.shard(hidden_BLD, "BLD", cfg.rules)
    guide_BLD = sharding.shard(guide_BLD, "BLD", guide_cfg.rules)
    logits_BLV = heads.logits(head_DV, hidden_BLD, cfg)[..., :V] / temperature
    wanted_BLV = heads.logits(guide_DV, guide_BLD, guide_cfg)[..., :V] / temperature
    logp_BLV, wanted_BLV = jax.nn.log_softmax(logits_BLV), jax.nn.log_softmax(wanted_BLV)
    return jnp.sum(jnp.exp(wanted_BLV) * (wanted_BLV - logp_BLV), axis=-1)

  def blocks(x_BLD):
    x_BLD = jnp.pad(x_BLD, ((0, 0), (0, -L % width), (0, 0)))
    return jnp.moveaxis(x_BLD.reshape(B, -1, width, x_BLD.shape[-1]), 1, 0)

  given = blocks(hidden_BLD), blocks(jax.lax.stop_gradient(guide_BLD))
  kept = chunk if width >= L else jax.checkpoint(chunk)
  _, kl = jax.lax.scan(lambda _, both: (None, kept(head_DV, *both)), None, given)
  return jnp.moveaxis(kl, 0, 1).reshape(B, -1)[:, :L]


def make_loss(teacher_cfg, guided: DistillConfig, cfg, mixture: experts.ExpertsConfig, mtp: float):
  """`loss(params, batch, teacher)` of one packed micro-batch; teacher: its weights, frozen.

  (1 - logits) x cross-entropy + logits x temperature^2 x KL(teacher || student), over the tokens
  and with the weights of SFT; mtp: as mtp_weight of `sft.make_loss`. The teacher is run forward
  here, so of its work only hidden states of one micro-batch exist at a time.
  """

  def of_batch(params, batch: sft.SftBatch, teacher):
    given = batch.token_BL, batch.position_BL, batch.segment_BL
    out = transformer.forward(params, *given, cfg)
    guide_BLD = transformer.forward(jax.lax.stop_gradient(teacher), *given, teacher_cfg).hidden_BLD
    logp_BL, entropy_BL = heads.logp(params, out.hidden_BLD, batch.target_BL, cfg, 1.0)
    right_BL = sft.hits(params, out.hidden_BLD, batch.target_BL, cfg)
    value, found = sft.loss(logp_BL, entropy_BL, right_BL, batch)
    kl_BL = divergence(
      (params, out.hidden_BLD, cfg), (teacher, guide_BLD, teacher_cfg), guided.temperature
    )
    kl_BL = grpo.scored(kl_BL, batch.weight_BL > 0)
    found["sum"]["sft/teacher_kl"] = jnp.sum(kl_BL)
    value = (1 - guided.logits) * value
    value += guided.logits * guided.temperature**2 * jnp.sum(batch.weight_BL * kl_BL)
    if cfg.mtp and mtp:
      value += mtp * sft.ahead(params, out.hidden_BLD, batch, cfg)
    return experts.regularise(value, found, out.aux, batch.weight_BL, mixture)

  return of_batch
