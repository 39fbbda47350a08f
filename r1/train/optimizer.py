"""AdamW with warm-up, constant or cosine, and a clip on the gradient's norm."""

import dataclasses

import optax

from r1 import spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """learning_rate: peak. warmup: steps from 0 to it. steps: where the cosine ends.

  final: last learning rate as a share of the peak; 1 keeps it constant. weight_decay: decoupled,
  on matmul weights alone. clip: largest global norm of a gradient.
  """

  learning_rate: float
  warmup: int
  steps: int
  final: float
  b1: float
  b2: float
  eps: float
  weight_decay: float
  clip: float

  def __post_init__(self):
    if not 0 <= self.final <= 1 or self.learning_rate < 0 or self.clip <= 0:
      raise ValueError(
        f"final={self.final} must be in [0, 1], learning_rate={self.learning_rate} >= 0 and "
        f"clip={self.clip} > 0"
      )
    if self.warmup >= self.steps:
      raise ValueError(f"warmup={self.warmup} must be shorter than steps={self.steps}")


def schedule(cfg: OptimizerConfig) -> optax.Schedule:
  """Learning rate of each step: linear to the peak, then cosine to final * peak."""
  warm = optax.linear_schedule(cfg.learning_rate / (cfg.warmup + 1), cfg.learning_rate, cfg.warmup)
  cool = optax.cosine_decay_schedule(cfg.learning_rate, cfg.steps - cfg.warmup, cfg.final)
  return optax.join_schedules([warm, cool], [cfg.warmup])


def make(cfg: OptimizerConfig, specs) -> optax.GradientTransformation:
  """The optimiser of a model with these specs."""
  matrices = spec.tree_map(lambda s: bool(s.inputs), specs)
  return optax.chain(
    optax.clip_by_global_norm(cfg.clip),
    optax.adamw(
      schedule(cfg), cfg.b1, cfg.b2, cfg.eps, weight_decay=cfg.weight_decay, mask=matrices
    ),
  )
