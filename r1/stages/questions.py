"""What a stage of reinforcement learning asks: which questions there are, and which come when."""

import dataclasses
from collections.abc import Callable

from r1.data import questions as records
from r1.data import split
from r1.data.worlds import arithmetic
from r1.evals import held_out
from r1.rewards import accuracy, combine
from r1.train import rl


@dataclasses.dataclass(frozen=True)
class Questions:
  """train: of every kind. held: of the evaluation. dropped: why others were, by id."""

  train: list[records.Question]
  held: list[records.Question]
  dropped: dict[str, str]


def load(
  data: split.DataConfig,
  world: arithmetic.World | None,
  *,
  loop: rl.RlConfig,
  reward: combine.RewardConfig,
  evaluation: held_out.EvalConfig,
  verifier: accuracy.Verifier,
  say: Callable[[str], None],
) -> Questions:
  """Questions that the rewards can judge, with training and evaluation apart.

  world: what `split.find` makes questions of where data names no file. say: is told of the first
  that are left out. Raises ValueError where there are too few.
  """
  found = split.find(
    data, world, seed=loop.seed, held=evaluation.questions, held_seed=evaluation.seed
  )
  train, dropped = combine.gradable(found[0], reward, verifier)
  held, more = combine.gradable(found[1], reward, verifier)
  for name, reason in list((dropped | more).items())[:5]:
    say(f"left out: {name}: {reason}")
  split.check(train, held, questions_per_rollout=loop.questions_per_rollout, wide=evaluation.wide)
  return Questions(train, held, dropped | more)


def pick(given: Questions, loop: rl.RlConfig, number: int) -> list[int]:
  """The places in `given.train` of what rollout `number` asks."""
  return rl.pick(len(given.train), loop.questions_per_rollout, number, loop.seed)
