"""The questions of a run: a file's or the world's, and which of them are held out."""

import dataclasses
import functools
from collections.abc import Sequence

from r1.data import questions as records
from r1.data.worlds import arithmetic, general


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """questions, held_out: files or TFDS folders as `questions.load` takes them, "" for none.

  share: of `questions` that is held out where `held_out` is "". count, terms: how many training
  problems of the world where `questions` is "", and their sizes as `arithmetic.World` has them.
  languages: ((name, share), ...) that the world's problems are asked in, on both sides.
  general: a file of general prompts, "" for `general_count` of the world of general prompts, in
  the same languages; only a run whose mixture asks for some reads either.
  """

  questions: str
  held_out: str
  share: float
  count: int
  terms: tuple[tuple[int, float], ...]
  languages: tuple[tuple[str, float], ...]
  general: str
  general_count: int

  def __post_init__(self):
    if self.held_out and not self.questions:
      raise ValueError(f"data.held_out={self.held_out!r} needs data.questions beside it")
    unknown = {name for name, _ in self.languages} - set(arithmetic.LEXICON)
    if unknown or not any(share > 0 for _, share in self.languages):
      raise ValueError(
        f"data.languages={self.languages}: wanted ((name, share), ...) with names of "
        f"{tuple(arithmetic.LEXICON)} and one share above 0 at least"
      )


Pair = tuple[list[records.Question], list[records.Question]]


def find(
  cfg: DataConfig, world: arithmetic.World | None, *, seed: int, held: int, held_seed: int
) -> Pair:
  """(train, held out): the user's own, or problems of the world, of which `held` are held out.

  seed, held_seed: of the world's problems on either side. world: may be None where cfg names a
  file.
  """
  if cfg.questions:
    train = records.load(cfg.questions)
    if cfg.held_out:
      return train, records.load(cfg.held_out)
    return records.hold_out(train, cfg.share)
  if world is None:
    raise ValueError("no data.questions and no world to make any from: give data.questions=FILE")
  world = dataclasses.replace(world, terms=cfg.terms)
  ask = functools.partial(arithmetic.questions, world, languages=cfg.languages)
  return ask("train", count=cfg.count, seed=seed), ask("test", count=held, seed=held_seed)


def find_general(cfg: DataConfig, *, seed: int) -> list[records.Question]:
  """The general prompts of a run: a file's, or those of the world that reward models know."""
  if cfg.general:
    found = records.load(cfg.general)
    if other := sorted({q.kind for q in found} - set(records.GENERAL)):
      raise ValueError(
        f"data.general={cfg.general} has questions of kinds {other}; general prompts are "
        f"{' or '.join(records.GENERAL)}, and the others belong into data.questions"
      )
    return found
  return general.questions(
    "train",
    count=cfg.general_count,
    seed=seed,
    kinds=records.GENERAL,
    languages=[name for name, share in cfg.languages if share > 0],
    unseen=False,
  )


def check(
  train: Sequence[records.Question],
  held: Sequence[records.Question],
  *,
  questions_per_rollout: int,
  wide: int,
) -> None:
  """Raises ValueError where both sides share a prompt, or one is too small for the run.

  wide: how many held-out questions the evaluation samples several times.
  """
  if shared := {q.prompt for q in train} & {q.prompt for q in held}:
    raise ValueError(f"{len(shared)} held-out prompts are trained on, such as {min(shared)!r}")
  if len(train) < questions_per_rollout:
    raise ValueError(
      f"questions_per_rollout={questions_per_rollout}, but {len(train)} questions exist"
    )
  if len(held) < wide:
    raise ValueError(f"eval.wide={wide}, but {len(held)} questions are held out")
