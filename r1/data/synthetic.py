"""Work of a given shape: prompts of random ids, and answers whose lengths are decided beforehand.

NumPy alone, so that a program of any framework can time itself on the very same work.
"""

import dataclasses
import hashlib
import pathlib

import numpy as np

LENGTHS = ("fixed", "geometric", "file")
CONTROL = 3  # ids that no prompt holds: padding, begin and end of text


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkConfig:
  """Answers to `questions` prompts of `prompt` tokens, `group` each.

  lengths: fixed (all are `cap`), geometric (of mean `mean`, cut at `cap`) or file (one number a
  line of `file`, cut at `cap`, from the start again where there are fewer lines than answers).
  """

  questions: int
  group: int
  prompt: int
  lengths: str
  mean: float
  cap: int
  file: str
  seed: int

  def __post_init__(self):
    if self.lengths not in LENGTHS:
      raise ValueError(f"lengths={self.lengths!r}: choose one of {', '.join(LENGTHS)}")
    for name in ("questions", "group", "prompt", "cap", "mean"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if self.lengths == "geometric" and self.mean > self.cap:
      raise ValueError(
        f"mean={self.mean} is above cap={self.cap}, where answers are cut; lower mean or raise cap"
      )
    if (self.lengths == "file") != bool(self.file):
      raise ValueError(
        f"lengths={self.lengths!r} and file={self.file!r}: a file goes with lengths=file alone"
      )

  @property
  def answers(self) -> int:
    return self.questions * self.group


def lengths(cfg: WorkConfig) -> np.ndarray:
  """Tokens of each answer, question by question; they depend on the settings alone.

  Raises ValueError where there is no such file, or naming its line that is no number of 1 or more.
  """
  if cfg.lengths == "fixed":
    return np.full(cfg.answers, cfg.cap)
  if cfg.lengths == "geometric":
    drawn = np.random.default_rng((cfg.seed, 0)).geometric(1 / cfg.mean, cfg.answers)
    return np.minimum(drawn, cfg.cap)
  return np.minimum(np.resize(read(cfg.file), cfg.answers), cfg.cap)


def digest(lengths: np.ndarray) -> str:
  """What programs that were given the same lengths agree on."""
  return hashlib.sha256(np.asarray(lengths, np.int64).tobytes()).hexdigest()[:16]


def read(path: str) -> np.ndarray:
  """The numbers of a file with one a line."""
  if not pathlib.Path(path).is_file():
    raise ValueError(f"file={path}: there is no such file; wanted one with a length a line")
  found = []
  for number, line in enumerate(pathlib.Path(path).read_text(encoding="utf-8").split("\n"), 1):
    if not (row := line.strip()):
      continue
    if not row.isdecimal() or int(row) < 1:
      raise ValueError(f"{path}:{number}: {row!r} is no length; wanted a whole number, 1 or more")
    found.append(int(row))
  if not found:
    raise ValueError(f"{path} is empty; wanted one length a line")
  return np.array(found, np.int64)


def prompts(cfg: WorkConfig, repeat: int, vocabulary: int) -> np.ndarray:
  """Ids [questions, prompt] of one repeat, below `vocabulary` and none of the control ids."""
  if vocabulary <= CONTROL:
    raise ValueError(f"a vocabulary of {vocabulary} leaves no id beside {CONTROL} control ids")
  rng = np.random.default_rng((cfg.seed, 1, repeat))
  return rng.integers(CONTROL, vocabulary, (cfg.questions, cfg.prompt))


def even_share(tokens) -> float:
  """The reward of synthetic answers: the share of even ids."""
  return float(np.mean(np.asarray(tokens) % 2 == 0))
