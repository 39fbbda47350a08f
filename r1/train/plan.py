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
  # The plain loop, which follows drafters, has room for every slot's longest answer.
  held = sampler.cache_tokens if sampler.draft == "none" else slots * model_cfg.context
  cache = held * floor.token_bytes(model_cfg, sampler.cache_dtype)
  # A token is decoded once, scored by two policies and learned from once: 2 + 2 * 2 + 6 FLOPs a
  # parameter, answers counted at half of the limit.
  work = 12 * count * rollouts * responses * limit / 2
  seconds = work / (rate * devices * EFFICIENCY)
  return [
    f"{questions} questions x {group} answers = {responses} responses per rollout -> "
    f"{minibatches} updates of {responses // minibatches}; {rollouts} rollouts = "
    f"{rollouts * minibatches} updates",
    f"{count:,} parameters on {devices} {jax.devices()[0].device_kind} device(s)",
    f"memory about {weights / 2**20:,.0f} MiB for weights, moments, reference and gradient, and at "
    f"most {cache / 2**20:,.0f} MiB for a cache of {held:,} tokens in {slots} slots",
    f"time about {seconds / 60:.1f} minutes of computing (an estimate), without compiling",
  ]
