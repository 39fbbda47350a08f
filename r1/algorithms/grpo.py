"""Group relative policy optimisation: the loss, token by token, on packed rows.

arXiv 2501.12948 eq. 1-3 and, per token, arXiv 2402.03300 eq. 3-4. Every array is aligned with
`target_BL`: index l speaks of the token target_BL[l]. The advantages and the weights are made on
the host by `r1.algorithms.advantages`.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims
from r1.algorithms import experts
from r1.data import packing

LOG_LIMIT = 20.0  # nats; exp(20) = 4.9e8 leaves float32 room for the sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class GrpoConfig:
  """Symbols of 2501.12948 section 2.2.1, and the choices the paper leaves open."""

  group: int  # G, answers per question
  clip_low: float  # ratios below 1 - clip_low are clipped; 10 is legal and never acts
  clip_high: float  # ratios above 1 + clip_high are clipped; the paper's epsilon is 10
  kl: float  # beta, in front of the KL penalty
  kl_estimator: str  # k1 | k2 | k3; the paper's is k3
  ratio: str  # token | sequence (product, eq. 1) | geometric (GSPO, 2507.18071)
  normalise: str  # response 1/(n|o|) | token 1/sum|o| | constant 1/(n max_tokens)
  max_tokens: int  # the configured response limit, Dr. GRPO's constant
  std: str  # none | sample | population
  std_eps: float  # added to the standard deviation
  truncated: str  # keep | mask (no loss, no baseline) | zero (reward 0)
  dynamic: bool  # drop groups without spread: no KL from them, no place in the denominator
  sampler_cap: float | None  # cap of the truncated importance weight old / sampler; None: off

  def __post_init__(self):
    for name, allowed in CHOICES.items():
      if (given := getattr(self, name)) not in allowed:
        raise ValueError(f"{name}={given!r}: choose one of {', '.join(allowed)}")
    if self.group < 2:
      raise ValueError(f"group={self.group}: a group of one has no baseline, take 2 or more")
    if self.max_tokens < 1:
      raise ValueError(f"max_tokens={self.max_tokens}: a response has 1 token or more")
    for name in ("clip_low", "clip_high", "kl", "std_eps"):
      if not getattr(self, name) >= 0 or math.isinf(getattr(self, name)):
        raise ValueError(f"{name}={getattr(self, name)}: wanted a finite number, 0 or more")
    if self.sampler_cap is not None and not self.sampler_cap > 0:
      raise ValueError(f"sampler_cap={self.sampler_cap}: wanted more than 0, or None for off")


class GrpoBatch(struct.PyTreeNode):
  """Packed rows of one micro-batch; weight_BL == 0 marks slots whose values are never read.

  Log-probabilities are nats at the rollout's temperature. old: the policy that the rollout's
  updates started from, None where this is the only one, so that the live policy is the old one;
  ref: the KL reference, None without a penalty; sampler: as drawn. Within a row, the tokens of a
  segment are neighbours and segment 0 is padding. parent_BL: the segment that a token's own one
  continues, 0 for none; None where no row has any. fork: of all rows, see `packing.Fork`.
  """

  token_BL: dims.Array
  position_BL: dims.Array
  segment_BL: dims.Array
  target_BL: dims.Array
  weight_BL: dims.Array
  advantage_BL: dims.Array
  old_logp_BL: dims.Array | None
  ref_logp_BL: dims.Array | None
  sampler_logp_BL: dims.Array
  parent_BL: dims.Array | None = None
  fork: packing.Fork | None = struct.field(pytree_node=False, default=None)


def clamp(log_BL):
  """Log-ratios within 20 nats; beyond, the value stays and the gradient is exactly 0."""
  return jnp.clip(log_BL, -LOG_LIMIT, LOG_LIMIT)


def k1(d_BL):
  """Unbiased value, but its expected gradient is 0: a monitor rather than a penalty."""
  return -d_BL


def k2(d_BL):
  """Biased value; on-policy its expected gradient is that of KL(policy || ref)."""
  return 0.5 * jnp.square(d_BL)


def k3(d_BL):
  """2501.12948 eq. 2, d = ref - logp: unbiased, never negative; its expected on-policy
  gradient is that of KL(ref || policy). A token over 20 nats off gets no gradient."""
  d_BL = clamp(d_BL)
  return jnp.expm1(d_BL) - d_BL


def running_sum(x_BL, segment_BL):
  """Sum of the slot and those before it in its segment, by doubling: log2(L) additions."""
  step = 1
  while step < x_BL.shape[1]:
    same_BL = segment_BL[:, step:] == segment_BL[:, :-step]
    x_BL = x_BL + jnp.pad(jnp.where(same_BL, x_BL[:, :-step], 0), ((0, 0), (step, 0)))
    step *= 2
  return x_BL


def segment_sum(x_BL, segment_BL):
  """The sum over each slot's segment, at every slot of it; a segment is one run of its row.

  O(L) memory, and no scatter, whose order of addition GPUs do not fix.
  """
  before_BL = running_sum(x_BL, segment_BL)
  after_BL = running_sum(x_BL[:, ::-1], segment_BL[:, ::-1])[:, ::-1]
  return before_BL + after_BL - x_BL


def ratios(log_BL, live_BL, segment_BL, cfg: GrpoConfig):
  """Live / old policy by name: of each token, 2402.03300 eq. 3; and, where cfg.ratio asks for
  one of them, of its whole response: sequence, the product of 2501.12948 eq. 1, whose spread
  grows with length; geometric, the mean over its scored tokens of 2507.18071 eq. 7."""
  if cfg.ratio == "token":
    return {"token": jnp.exp(clamp(log_BL))}
  total_BL = segment_sum(log_BL, segment_BL)
  length_BL = segment_sum(live_BL.astype(jnp.float32), segment_BL)
  mean_BL = total_BL / jnp.maximum(length_BL, 1.0)
  return {"sequence": jnp.exp(clamp(total_BL)), "geometric": jnp.exp(clamp(mean_BL))}


PENALTIES = {"k1": k1, "k2": k2, "k3": k3}
CHOICES = {
  "kl_estimator": tuple(PENALTIES),
  "ratio": ("token", "sequence", "geometric"),
  "normalise": ("response", "token", "constant"),
  "std": ("none", "sample", "population"),
  "truncated": ("keep", "mask", "zero"),
}


def clipped_gain(ratio_BL, advantage_BL, cfg: GrpoConfig):
  """min(r A, clip(r, 1 - low, 1 + high) A), and where the clip acts (no gradient there).

  Written with `where` so that r == 1 keeps its whole gradient even with a clip of 0. There is
  no second clip for negative advantages.
  """
  high_BL = (advantage_BL > 0) & (ratio_BL > 1 + cfg.clip_high)
  low_BL = (advantage_BL < 0) & (ratio_BL < 1 - cfg.clip_low)
  bounded_BL = jnp.where(high_BL, 1 + cfg.clip_high, jnp.where(low_BL, 1 - cfg.clip_low, ratio_BL))
  return bounded_BL * advantage_BL, high_BL | low_BL


def sampler_weight(old_logp_BL, sampler_logp_BL, cfg: GrpoConfig):
  """min(old / sampler, cap) per token, whatever the ratio; 1 without a cap. No gradient."""
  if cfg.sampler_cap is None:
    return jnp.ones_like(old_logp_BL)
  return jnp.minimum(jnp.exp(clamp(old_logp_BL - sampler_logp_BL)), cfg.sampler_cap)


def loss(logp_BL, entropy_BL, batch: GrpoBatch, cfg: GrpoConfig):
  """-sum(weight (gain - beta k)) over this micro-batch, and its metrics.

  logp_BL, entropy_BL: nats, of the live policy at the rollout's temperature. The weights are
  normalised over the whole optimiser step (`advantages.token_weights`), so losses, gradients
  and metrics of micro-batches add. The KL is per token under every ratio, and its gradient is
  live. Without old log-probabilities every ratio is 1, with its gradient, and the largest gap to
  the sampler is told here. Slots of weight 0 count nowhere and may hold NaN: they get gradient 0,
  which the caller's own backward pass must not turn into 0 x inf. Metrics: sums over `count` scored
  tokens, and maxima; see `add` and `summary`.
  """
  given = {name: x for name, x in vars(batch).items() if dims.suffix(name) and x is not None}
  dims.check(logp_BL=logp_BL, entropy_BL=entropy_BL, **given)
  if cfg.kl and batch.ref_logp_BL is None:
    raise ValueError(f"kl={cfg.kl} needs the reference's log-probabilities; the batch has none")
  live_BL = batch.weight_BL > 0
  # Before any exp: 0 x NaN is NaN, in the gradient too (OpenRLHF #1240).
  logp_BL, entropy_BL = scored(logp_BL, live_BL), scored(entropy_BL, live_BL)
  weight_BL = scored(batch.weight_BL, live_BL)
  advantage_BL = jax.lax.stop_gradient(scored(batch.advantage_BL, live_BL))
  given_BL = logp_BL if batch.old_logp_BL is None else batch.old_logp_BL
  old_BL = jax.lax.stop_gradient(scored(given_BL, live_BL))
  sampler_BL = jax.lax.stop_gradient(scored(batch.sampler_logp_BL, live_BL))

  ratio_by_name = ratios(logp_BL - old_BL, live_BL, batch.segment_BL, cfg)
  ratio_BL = ratio_by_name[cfg.ratio]
  gain_BL, clip_BL = clipped_gain(ratio_BL, advantage_BL, cfg)
  gain_BL = gain_BL * sampler_weight(old_BL, sampler_BL, cfg)
  gap_BL = jnp.abs(old_BL - sampler_BL)
  sums = {
    "policy/clip_fraction": clip_BL,
    "policy/entropy": entropy_BL,
    "sampler/logp_gap_mean": gap_BL,
  }
  if batch.ref_logp_BL is not None:
    ref_BL = jax.lax.stop_gradient(scored(batch.ref_logp_BL, live_BL))
    sums["policy/kl"] = PENALTIES[cfg.kl_estimator](ref_BL - logp_BL)
  if cfg.kl:
    gain_BL = gain_BL - cfg.kl * sums["policy/kl"]
  value = -jnp.sum(weight_BL * gain_BL)

  # One long response can ruin the product: both whole ratios are shown (TRL #4891).
  sums |= {f"policy/ratio_{name}": x_BL for name, x_BL in ratio_by_name.items() if name != "token"}
  tops = {"policy/ratio_max": ratio_BL, "policy/ratio_gap": jnp.abs(ratio_BL - 1)}
  tops |= {"sampler/logp_gap": gap_BL} if batch.old_logp_BL is None else {}
  return value, jax.lax.stop_gradient(metrics(sums, tops, live_BL))


def scored(x_BL, live_BL):
  """Float32, and 0 where the slot is not scored, whatever it held."""
  return jnp.where(live_BL, x_BL.astype(jnp.float32), 0.0)


def metrics(sums, tops, live_BL):
  """Sums over the scored tokens, maxima (0 if there are none), and the tokens' count."""
  return {
    "sum": {name: jnp.sum(scored(x_BL, live_BL)) for name, x_BL in sums.items()},
    "max": {name: jnp.max(scored(x_BL, live_BL)) for name, x_BL in tops.items()},
    "count": jnp.sum(live_BL.astype(jnp.float32)),
  }


def add(a, b):
  """The metrics of two micro-batches together."""
  return {
    "sum": jax.tree.map(jnp.add, a["sum"], b["sum"]),
    "max": jax.tree.map(jnp.maximum, a["max"], b["max"]),
    "count": a["count"] + b["count"],
  } | ({"load": jax.tree.map(jnp.add, a["load"], b["load"])} if "load" in a else {})


def summary(value, total):
  """One step's flat metrics: the summed loss, means per scored token, and maxima."""
  means = {name: x / jnp.maximum(total["count"], 1.0) for name, x in total["sum"].items()}
  found = {"policy/loss": value, **means, **total["max"]}
  return found | (experts.statistics(total["load"]) if "load" in total else {})
