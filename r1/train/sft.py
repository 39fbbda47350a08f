"""The loop around supervised fine-tuning as its host sees it: which conversations, when, how many.

conversation -> tokens -> packed rows -> loss -> update (arXiv 2501.12948v2 section B.4.2).
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from r1 import spec
from r1.algorithms import grpo, minibatch
from r1.algorithms import sft as objective
from r1.data import conversations
from r1.model import transformer
from r1.text import templates


@dataclasses.dataclass(frozen=True, kw_only=True)
class SftConfig:
  """The settings of a run but for its data and its optimiser.

  seed: of the order. template: how messages become text. epochs, steps: how long, in passes or in
  updates; the other one is 0. conversations: of an update, packed into rows of row_tokens, of which
  microbatch_tokens are learned from at a time. normalise: token or response. mtp_weight: of the
  prediction of the token after the next, where the model has a layer for it. overlong: refuse or
  drop conversations longer than a row. eval_every: updates between two looks at the first
  eval_conversations of the held-out ones, 0 for never. patience: updates with NaN in a row before
  the run stops.
  """

  seed: int
  template: str
  epochs: int
  steps: int
  conversations: int
  row_tokens: int
  microbatch_tokens: int
  normalise: str
  mtp_weight: float
  overlong: str
  eval_every: int
  eval_conversations: int
  checkpoint_every: int
  keep: int
  patience: int

  def __post_init__(self):
    if self.template != conversations.OWN:
      templates.opened(self.template)
    _ = self.batch  # refuses rows that make no sense
    for name, allowed in (
      ("normalise", objective.NORMALISE),
      ("overlong", conversations.OVERLONG),
    ):
      if (given := getattr(self, name)) not in allowed:
        raise ValueError(f"{name}={given!r}: choose one of {', '.join(allowed)}")
    if self.mtp_weight < 0:
      raise ValueError(f"mtp_weight={self.mtp_weight} must be >= 0")
    if min(self.epochs, self.steps) != 0 or max(self.epochs, self.steps) < 1:
      raise ValueError(
        f"epochs={self.epochs} and steps={self.steps}: wanted one of them above 0, the other 0"
      )
    for name in ("conversations", "eval_conversations", "checkpoint_every", "keep", "patience"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if self.eval_every < 0 or (self.eval_every and self.checkpoint_every % self.eval_every):
      raise ValueError(
        f"checkpoint_every={self.checkpoint_every} must be a multiple of eval_every="
        f"{self.eval_every}: a checkpoint's score is its held-out loss; 0 for no looks at it"
      )

  @property
  def batch(self) -> minibatch.BatchConfig:
    """The rows of an update."""
    return minibatch.BatchConfig(
      row_tokens=self.row_tokens,
      microbatch_tokens=self.microbatch_tokens,
      minibatches=1,
      share_prompts=False,
      fork=(),
    )


def total_steps(cfg: SftConfig, count: int) -> int:
  """Updates of a run over `count` conversations."""
  return cfg.steps or cfg.epochs * math.ceil(count / cfg.conversations)


def pick(count: int, size: int, number: int, seed: int) -> list[int]:
  """The conversations of update `number` (from 0): each epoch once through one permutation.

  The last update of an epoch takes what is left. Depends on (seed, number) alone, so a resumed run
  learns what the first would have learned.
  """
  epoch, at = divmod(number, math.ceil(count / size))
  order = np.random.default_rng((seed, epoch)).permutation(count)
  return order[at * size : (at + 1) * size].tolist()


def capacity(cfg: SftConfig, sequences: Sequence) -> int:
  """Micro-batches U that hold any update of these conversations."""
  longest = max(len(tokens) for tokens, _ in sequences)
  return minibatch.capacity(min(cfg.conversations, len(sequences)), longest, 1, cfg.batch)


def make_evaluate(loss):
  """Turns `loss(params, microbatch)` into `evaluate(params, batch, used) -> metrics`."""

  def evaluate(params, batch, used):
    def one(u):
      return loss(params, jax.tree.map(lambda x: x[u], batch))

    def step(u, carry):
      value, metrics = one(u)
      return carry[0] + value, grpo.add(carry[1], metrics)

    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(one, 0))
    return grpo.summary(*jax.lax.fori_loop(0, used, step, empty))

  return evaluate


def named(values: dict, prefix: str) -> dict[str, float]:
  """What `grpo.summary` tells, under the names of this stage: sft/* of an update or eval/*."""
  names = {"policy/loss": f"{prefix}/loss"} | {
    name: name.replace("sft/", f"{prefix}/") for name in values if name.startswith("sft/")
  }
  return {names.get(name, name): float(value) for name, value in values.items()}


def tokens(sequences: Sequence, prefix: str) -> dict[str, float]:
  """How many tokens of these conversations the loss counts."""
  return {f"{prefix}/tokens": float(sum(int(scored[1:].sum()) for _, scored in sequences))}


def line(number: int, total: int, values: dict[str, float]) -> str:
  """One update for the terminal."""
  rate = values["throughput/train_tokens_per_s"]
  return (
    f"update {number}/{total}  loss {values['sft/loss']:.4f}  accuracy "
    f"{values['sft/accuracy']:.4f}  {rate:,.0f} tokens/s"
  )


def lines(model_cfg, cfg: SftConfig, train: Sequence, held: Sequence, devices: int) -> list[str]:
  """What a run is about to do, one fact a line; the memory is an estimate."""
  count, total = len(train), total_steps(cfg, len(train))
  tokens = sum(len(ids) for ids, _ in train)
  scored = sum(int(flags.sum()) for _, flags in train)
  parameters = spec.count(transformer.specs(model_cfg))
  rows = cfg.batch.rows
  return [
    f"{count:,} conversations of {tokens:,} tokens, {scored:,} of them the assistant's; "
    f"{len(held):,} held out to look at",
    f"{total:,} updates of {min(cfg.conversations, count):,} conversations = "
    f"{total / math.ceil(count / cfg.conversations):.1f} epochs; micro-batches of {rows} rows x "
    f"{cfg.row_tokens:,} tokens",
    f"{parameters:,} parameters on {devices} {jax.devices()[0].device_kind} device(s), about "
    f"{4 * 4 * parameters / 2**20:,.0f} MiB for weights, two moments and gradient",
  ]
