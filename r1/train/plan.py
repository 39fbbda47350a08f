"""Before a run starts: its batch arithmetic, its size, its memory, and roughly its time."""

import jax

from r1 import spec
from r1.model import transformer
from r1.train import floor

EFFICIENCY = 0.25  # of the matmul rate; what the small model reaches on two cores


def lines(model_cfg, cfg, algorithm, batch, sampler, *, devices: int, rate: float) -> list[str]:
  """What an RL run is about to do, one fact a line; times and sizes are estimates.

  rate: FLOP/s of one of the devices, from `measure.matmul_rate`.
  """
  questions, group, minibatches = cfg.questions_per_rollout, algorithm.group, batch.minibatches
  rollouts, slots, limit = cfg.rollouts, sampler.slots, max(most for _, most in cfg.limit)
  count = spec.count(transformer.specs(model_cfg))
  responses = questions * group
  weights = 4 * count * 5  # weights, two moments, reference, gradient
  # The plain loop, which drafts, has room for the longest row in every slot.
  room = sampler.cache_tokens if sampler.draft == "none" else slots * model_cfg.context
  cache = room * floor.token_bytes(model_cfg)
  # A token is decoded once, scored by the policies that `rl.prepare` runs, and learned from once:
  # 2 + 2 * policies + 6 FLOPs a parameter, answers counted at half of the limit.
  policies = (minibatches > 1) + bool(algorithm.kl)
  work = (8 + 2 * policies) * count * rollouts * responses * limit / 2
  seconds = work / (rate * devices * EFFICIENCY)
  partial = (
    f"an answer draws {cfg.partial_tokens} tokens a rollout; the longest takes {cfg.spans}, so a "
    f"token is at most {(cfg.spans - 1) * minibatches} updates old where a rollout's updates begin"
  )
  return [
    f"{questions} questions x {group} answers = {responses} responses per rollout -> "
    f"{minibatches} updates of {responses // minibatches}; {rollouts} rollouts = "
    f"{rollouts * minibatches} updates",
    f"{count:,} parameters on {devices} {jax.devices()[0].device_kind} device(s)",
    f"memory about {weights / 2**20:,.0f} MiB for weights, moments, reference and gradient, "
    f"{cache / 2**20:,.0f} MiB for the cache of {room:,} tokens",
    f"time about {seconds / 60:.1f} minutes of computing (an estimate), without compiling",
    *([partial] if cfg.partial_tokens else []),
  ]
