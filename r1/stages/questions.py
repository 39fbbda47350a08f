"""What a stage of reinforcement learning asks: which questions there are, and which come when."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from r1 import schedule
from r1.data import questions as records
from r1.data import split
from r1.data.worlds import arithmetic
from r1.evals import held_out
from r1.rewards import accuracy, combine
from r1.train import lineage, rl

GENERAL = (2,)  # the stream of their order, beside those of `iteration`


@dataclasses.dataclass(frozen=True)
class Questions:
  """train: reasoning prompts, and behind them `general` general ones. held: of the evaluation.

  dropped, dropped_held: why others were, by id, on either side.
  """

  train: list[records.Question]
  general: int
  held: list[records.Question]
  dropped: dict[str, str]
  dropped_held: dict[str, str]

  @property
  def reasoning(self) -> int:
    return len(self.train) - self.general

  @property
  def counts(self) -> dict[str, dict]:
    """As `lineage.begin` takes them; each is of the questions that its digest is of."""
    return {
      "train": lineage.count(len(self.train), self.dropped.values()),
      "held_out": lineage.count(len(self.held), self.dropped_held.values()),
    }


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

  world: what `split.find` makes questions of where data names no file; None for a model of another
  world, whose general prompts are a file's too. say: is told of the first that are left out. Raises
  ValueError where there are too few.
  """
  seeds = {"seed": loop.seed, "held_seed": evaluation.seed}
  reasoning, held = split.find(data, world, held=evaluation.questions, **seeds)
  mixed = any(share > 0 for _, share in loop.mixture)
  if mixed and world is None and not data.general:
    raise ValueError(
      f"the mixture {loop.mixture} asks for general prompts, and this config brings no world of "
      "them: give --config.data.general=FILE"
    )
  general = split.find_general(data, seed=loop.seed) if mixed else []
  sides = (combine.gradable(side, reward, verifier) for side in (reasoning, general, held))
  (reasoning, faults), (general, more), (held, dropped_held) = sides
  dropped = faults | more
  for name, reason in list((dropped | dropped_held).items())[:5]:
    say(f"left out: {name}: {reason}")
  most = most_asked(loop)
  split.check(reasoning + general, held, questions_per_rollout=most[0], wide=evaluation.wide)
  check(reasoning, "reasoning", most[0])
  check(general, "general", most[1])
  return Questions(reasoning + general, len(general), held, dropped, dropped_held)


def check(kept: Sequence[records.Question], name: str, most: int) -> None:
  """Raises ValueError where a rollout would ask for more than there are."""
  if len(kept) < most:
    raise ValueError(
      f"a rollout asks {most} {name} questions by questions_per_rollout and mixture, but "
      f"{len(kept)} exist; lower it or give more"
    )


def most_asked(loop: rl.RlConfig) -> tuple[int, int]:
  """(reasoning, general): the most that a rollout asks of either."""
  counts = [divide(loop, share) for _, share in loop.mixture]
  return max(n for n, _ in counts), max(n for _, n in counts)


def divide(loop: rl.RlConfig, share: float) -> tuple[int, int]:
  """(reasoning, general) questions of a rollout at a share of general prompts."""
  general = round(share * loop.questions_per_rollout)
  return loop.questions_per_rollout - general, general


def pick(given: Questions, loop: rl.RlConfig, number: int, *, updates: int) -> list[int]:
  """The places in `given.train` of what rollout `number` asks, reasoning prompts first.

  updates: of a rollout. Depends on (seed, number) alone, so a resumed run asks what the first would
  have asked.
  """
  shares = [schedule.at(loop.mixture, n * updates) for n in range(number + 1)]
  counts = [divide(loop, share) for share in shares]
  chosen = draw(given.reasoning, [n for n, _ in counts], loop.seed)
  more = draw(given.general, [n for _, n in counts], loop.seed, GENERAL)
  return chosen + [given.reasoning + i for i in more]


def draw(count: int, sizes: Sequence[int], seed: int, stream: tuple[int, ...] = ()) -> list[int]:
  """What the last of several rollouts asks of `count` questions, where each asks its size.

  Epochs of one permutation each, straight through; one ends where a rollout wants more than is
  left of it, so that no rollout asks a question twice.
  """
  if max(sizes) > count:
    raise ValueError(f"{max(sizes)} of {count} questions asked in one rollout; give more")
  epoch = end = 0
  for size in sizes:
    epoch, end = (epoch, end + size) if end + size <= count else (epoch + 1, size)
  order = np.random.default_rng((seed, epoch, *stream)).permutation(count)
  return order[end - sizes[-1] : end].tolist()
