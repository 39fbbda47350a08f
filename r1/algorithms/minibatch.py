"""From a rollout's samples to the packed micro-batches of one optimiser step.

Rows are packed, so padding is not paid for: a step runs only the micro-batches that hold tokens,
and every step of a run has the same compiled shape [U, B, L]. Answers of a group may stand behind
one copy of their prompt.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from r1.algorithms import grpo, logp
from r1.data import packing


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchConfig:
  """row_tokens: length L of a packed row. microbatch_tokens: tokens per forward and backward.

  minibatches: optimiser steps per rollout; the shuffled rollout is split evenly among them.
  share_prompts: answers of a group stand behind one copy of their prompt where that saves rows;
  else each has its own, and rows name no parents.
  fork: () for answers one after the other in a row; or (trunk, branch): a row is one group's, with
  its prompt but for the last token in the first `trunk` tokens, and its answers, each with that
  last token, in branches of `branch` tokens. Fewer tokens are run and attention is no wider than
  one answer, which pays where a group's answers are learned from together and are long alike.
  """

  row_tokens: int
  microbatch_tokens: int
  minibatches: int
  share_prompts: bool
  fork: tuple[int, ...]

  def __post_init__(self):
    if self.microbatch_tokens % self.row_tokens or self.row_tokens < 2:
      raise ValueError(
        f"microbatch_tokens={self.microbatch_tokens} must be a multiple of "
        f"row_tokens={self.row_tokens}, which must be at least 2"
      )
    if self.minibatches < 1:
      raise ValueError(f"minibatches={self.minibatches} must be >= 1")
    if self.fork:
      _check_fork(self)

  @property
  def rows(self) -> int:
    """Rows of a micro-batch."""
    return self.microbatch_tokens // self.row_tokens

  @property
  def layout(self) -> packing.Fork | None:
    """How every row forks."""
    return packing.Fork(*self.fork) if self.fork else None


def _check_fork(cfg: BatchConfig) -> None:
  whole = all(type(tokens) is int for tokens in cfg.fork)
  if not whole or len(cfg.fork) != 2 or cfg.fork[0] < 0 or cfg.fork[1] < 1:
    raise ValueError(f"fork={cfg.fork}: wanted (trunk, branch) in whole tokens, or () for none")
  trunk, branch = cfg.fork
  if cfg.row_tokens <= trunk or (cfg.row_tokens - trunk) % branch:
    raise ValueError(
      f"row_tokens={cfg.row_tokens} must be the trunk and a number of whole branches of "
      f"fork={cfg.fork}: {trunk} + n x {branch}"
    )
  if not cfg.share_prompts:
    raise ValueError(
      f"fork={cfg.fork} with share_prompts=False: a trunk is a shared prompt; set share_prompts to "
      "True or fork to ()"
    )
  if cfg.minibatches > 1:
    raise ValueError(
      f"fork={cfg.fork} with minibatches={cfg.minibatches}: the shuffled rollout leaves few "
      "answers of a group in one update, so most branches would be empty; take minibatches=1 or "
      "fork=()"
    )


def check_attention(cfg: BatchConfig, attend: str) -> None:
  """Raises ValueError where the model's attention body cannot read the rows."""
  if cfg.share_prompts and attend == "splash":
    raise ValueError(
      "share_prompts=True with attend='splash': its kernel compares segments and sees no shared "
      "prompt; set batch.share_prompts=False, or take runtime.attend='blockwise'"
    )


def check(count: int, cfg: BatchConfig) -> None:
  """Raises ValueError where the samples of a rollout do not divide evenly into its steps."""
  if count % cfg.minibatches:
    raise ValueError(
      f"{count} samples do not divide into minibatches={cfg.minibatches}; change "
      "questions_per_rollout, group or minibatches"
    )


def check_limit(answer: int, cfg: BatchConfig) -> None:
  """Raises ValueError where answers of so many tokens fit no branch."""
  if cfg.fork and answer >= cfg.fork[1]:
    raise ValueError(
      f"fork={cfg.fork}: a branch holds the prompt's last token and the answer, so answers of "
      f"{answer} tokens want branches of {answer + 1}; change fork and row_tokens, or the limit"
    )


def split(count: int, cfg: BatchConfig, rng: np.random.Generator) -> list[np.ndarray]:
  """The shuffled indices of the rollout's samples, one array per optimiser step.

  With partial rollouts any number of groups may be whole; then the first steps have one more.
  """
  return np.array_split(rng.permutation(count), cfg.minibatches)


def sequences(samples) -> list[packing.Scored]:
  """(tokens, scored) of each sample: the loss counts the answer, its end token included."""
  return [(s.tokens, np.arange(len(s.tokens)) >= s.prompt_length) for s in samples]


def kin(samples, question_B) -> list[packing.Kin]:
  """Of each sample its question and what the question's samples share: all but the last token of
  the prompt, whose target is each answer's own first token.

  question_B: the numbers of their questions in the rollout; two with one text are two. Raises
  ValueError where samples of one number have different prompts.
  """
  heads: dict[int, np.ndarray] = {}
  for number, s in zip(question_B, samples, strict=True):
    prompt = s.tokens[: s.prompt_length]
    if not np.array_equal(heads.setdefault(int(number), prompt), prompt):
      raise ValueError(f"samples of question number {number} have different prompts; wanted one")
  return [(int(number), s.prompt_length - 1) for number, s in zip(question_B, samples)]


def room(answer: int, cfg: BatchConfig) -> int:
  """Tokens of the longest prompt that fits a row with an answer of so many tokens; 0 for none.

  See `check_limit` for the answers of rows that fork.
  """
  if cfg.layout:
    return cfg.layout.trunk + 1  # its last token stands in the answer's branch
  return max(cfg.row_tokens - answer, 0)


def capacity(count: int, longest: int, group: int, cfg: BatchConfig) -> int:
  """Micro-batches U that hold `count` sequences of `longest` tokens, whatever their lengths.

  group: sequences that share a prompt, which rows that fork count on; each fits a branch, see
  `check_limit`. Raises ValueError where one does not fit a row that does not fork.
  """
  if cfg.fork:
    trunk, branch = cfg.fork
    families, most = -(-count // group), (cfg.row_tokens - trunk) // branch
    return -(-families * -(-group // most) // cfg.rows)
  per_row = cfg.row_tokens // longest
  if per_row == 0:
    raise ValueError(
      f"prompt and answer may take {longest} tokens, more than row_tokens={cfg.row_tokens}: "
      "lengthen the rows or lower the limit"
    )
  # A row with room for `longest` takes any sequence, so all rows but the last hold `per_row`.
  return math.ceil(math.ceil(count / per_row) / cfg.rows)


def pack(
  samples, question_B, cfg: BatchConfig, rows: int | None = None
) -> tuple[packing.Packed, list[list[int]], list[packing.Kin] | None]:
  """(packed rows, placement, kin or None where no prompt is shared) of the samples.

  rows: how many, the last ones empty; None for as many whole micro-batches as the samples need.
  """
  family = kin(samples, question_B) if cfg.share_prompts else None
  lengths = [len(s.tokens) for s in samples]
  if cfg.layout:
    assert family is not None, "a fork shares prompts"
    placement = packing.place_forks(lengths, family, cfg.row_tokens, cfg.layout)
  else:
    placement = packing.place_families(lengths, family, cfg.row_tokens)
  if rows is None:
    rows = len(placement) + -len(placement) % cfg.rows
  packed = packing.fill(sequences(samples), placement, cfg.row_tokens, rows, family, cfg.layout)
  return packed, placement, family


def chunks(packed, rows: int) -> Iterator:
  """The packed rows, `rows` at a time."""
  total = packed.token_BL.shape[0]
  for start in range(0, total, rows):
    yield jax.tree.map(lambda x, s=start: x[s : s + rows], packed)


def each(samples, cfg: BatchConfig, run: Callable, *, question_B) -> list[np.ndarray]:
  """One number per token of each sample from `run(chunk) -> value_BL`; the prompt's are 0.

  question_B: of each sample, see `kin`.
  """
  packed, placement, family = pack(samples, question_B, cfg)
  parts = [run(chunk) for chunk in chunks(packed, cfg.rows)]
  value_BL = np.concatenate([np.asarray(part) for part in jax.device_get(parts)])
  value_BL = np.where(packed.scored_BL, value_BL, 0.0)
  return packing.gather(value_BL, placement, [len(s.tokens) for s in samples], family, cfg.layout)


def score(
  params, samples, model_cfg, cfg: BatchConfig, temperature: float, *, question_B
) -> list[np.ndarray]:
  """Each sample's log-probabilities (nats) of its own tokens under `params`; the prompt's are 0."""
  run = lambda chunk: logp.score(params, chunk, model_cfg, temperature)
  return each(samples, cfg, run, question_B=question_B)


def columns(
  samples: Sequence, weight_B: np.ndarray, *, question_B, cfg: BatchConfig, microbatches: int
) -> tuple[dict, Callable, int]:
  """(what any batch of one optimiser step has, spread, micro-batches in use).

  spread(values): one number per token of each sample as one more column of the batch. All are
  [U, B, L]. Samples of weight 0 are left out: they have no gradient.
  """
  kept = [i for i in range(len(samples)) if weight_B[i] > 0]
  rows = microbatches * cfg.rows
  packed, placement, family = pack([samples[i] for i in kept], question_B[kept], cfg, rows)
  shape = microbatches, cfg.rows, cfg.row_tokens

  def spread(values):
    given = [values[i] for i in kept], placement, cfg.row_tokens, rows, family, cfg.layout
    return packing.spread(*given).reshape(shape)

  packed = jax.tree.map(lambda x: x.reshape(shape), packed)
  weight_UBL = np.where(packed.scored_BL, spread(per_token(samples, weight_B)), 0.0)
  made = {
    "token_BL": packed.token_BL,
    "position_BL": packed.position_BL,
    "segment_BL": packed.segment_BL,
    "target_BL": packed.target_BL,
    "weight_BL": weight_UBL.astype(np.float32),
    "parent_BL": packed.parent_BL,
    "fork": packed.fork,
  }
  return made, spread, math.ceil(len(placement) / cfg.rows)


def per_token(samples: Sequence, value_B) -> list[np.ndarray]:
  """Each sample's number, at each of its tokens."""
  return [np.full(len(s.tokens), value) for s, value in zip(samples, value_B, strict=True)]


def whole(samples: Sequence, answers: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Numbers of the answers' tokens, with 0 for the prompts' in front."""
  both = zip(samples, answers, strict=True)
  return [np.concatenate([np.zeros(s.prompt_length), own_T]) for s, own_T in both]


def assemble(
  samples: Sequence,
  *,
  question_B: np.ndarray,
  advantage_B: np.ndarray,
  weight_B: np.ndarray,
  old: Sequence[np.ndarray] | None,
  ref: Sequence[np.ndarray] | None,
  cfg: BatchConfig,
  microbatches: int,
) -> tuple[grpo.GrpoBatch, int]:
  """(batch [U, B, L], micro-batches in use) of one optimiser step.

  question_B: of each sample, see `kin`. advantage_B, weight_B: one per sample, made on the whole
  rollout and the whole step. old, ref: one number per token, from `score`, or None, see
  `grpo.GrpoBatch`. Samples of weight 0 are left out.
  """
  given = {"question_B": question_B, "cfg": cfg, "microbatches": microbatches}
  shared, spread, used = columns(samples, weight_B, **given)
  batch = grpo.GrpoBatch(
    **shared,
    advantage_BL=spread(per_token(samples, advantage_B)),
    old_logp_BL=None if old is None else spread(old),
    ref_logp_BL=None if ref is None else spread(ref),
    sampler_logp_BL=spread(whole(samples, [s.logp for s in samples])),
  )
  return batch, used
