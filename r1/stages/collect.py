"""Answers of a finished model to many questions, judged and written down in shards.

What rejection sampling and the cold start begin with. A shard is written whole or not at all, and
a row's randomness comes from its question and number, so a run that was killed goes on with the
next shard and ends with what it would have had.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence

from r1.data import questions as records
from r1.data import responses
from r1.sampling import rollout
from r1.text import templates
from r1.train import run, workdir

FOLDER = "shards"

Judge = Callable[[Sequence[records.Question], Sequence[responses.Response]], list[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectConfig:
  """How answers are sampled.

  seed: of the questions and of the sampling. template: how a question is asked. samples: of each
  question. temperature: > 0 where there are several. limit: most tokens of an answer. shard:
  questions of a file.
  """

  seed: int
  template: str
  samples: int
  temperature: float
  limit: int
  shard: int

  def __post_init__(self):
    templates.opened(self.template)
    for name in ("samples", "limit", "shard"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if self.temperature < 0 or (self.samples > 1 and self.temperature == 0):
      raise ValueError(
        f"temperature={self.temperature} with samples={self.samples}: several answers to a "
        "question need a temperature above 0, or they are all the same"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collected:
  """One answer and what its judge said. number: which of its question's samples it is."""

  question: records.Question
  number: int
  response: responses.Response
  verdict: str
  prompt_tokens: int


def collect(
  model: workdir.Model,
  asked: Sequence[records.Question],
  cfg: CollectConfig,
  sampler,
  judge: Judge,
  folder: pathlib.Path,
  *,
  source: str,
  say: Callable[[str], None],
) -> list[Collected]:
  """`cfg.samples` judged answers to each question, in order; shards that are there are read.

  judge: the verdicts on answers. source: the model's digest. Raises ValueError where a prompt and
  its answer do not fit the model's context, or the shards are another model's or of other
  questions.
  """
  check_fits(model, asked, cfg)
  claim(folder / FOLDER, {"another model": source, "other questions": records.digest(list(asked))})
  found: list[Collected] = []
  starts = range(0, len(asked), cfg.shard)
  for number, start in enumerate(starts):
    part, path = asked[start : start + cfg.shard], folder / FOLDER / f"{number:05d}.jsonl"
    if not path.exists():
      write(path, draw(model, part, cfg, sampler, judge))
      say(f"sampled {min(start + cfg.shard, len(asked)):,} of {len(asked):,} questions")
    found += read(path, part, cfg.samples)
  return found


def claim(folder: pathlib.Path, source: dict[str, str]) -> None:
  """Notes where the shards come from; raises ValueError where they came from elsewhere."""
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / "source.json"
  before = json.loads(path.read_text()) if path.exists() else source
  for name, digest in source.items():
    if before[name] != digest:
      raise ValueError(
        f"the answers in {folder} are of {name}: digest {before[name][:12]} there, "
        f"{digest[:12]} now; give a new --workdir"
      )
  run.note(path, source)


def check_fits(model: workdir.Model, asked: Sequence[records.Question], cfg: CollectConfig) -> None:
  """Raises ValueError for the first prompt that leaves no room for an answer of `limit` tokens."""
  for question in asked:
    length = len(rollout.prompt(question, model.tokenizer, cfg.template))
    if length + cfg.limit > model.cfg.context:
      raise ValueError(
        f"question {question.id!r}: {length} tokens, and limit={cfg.limit} for its answer; the "
        f"model holds {model.cfg.context} together: leave it out or lower the limit"
      )


def draw(
  model: workdir.Model,
  asked: Sequence[records.Question],
  cfg: CollectConfig,
  sampler,
  judge: Judge,
) -> list[Collected]:
  """The answers to one shard's questions."""
  samples = rollout.sample_groups(
    model.params,
    asked,
    model.tokenizer,
    cfg.template,
    group=cfg.samples,
    rollout=0,
    limit=cfg.limit,
    cfg=model.cfg,
    sampler=sampler,
    temperature=cfg.temperature,
    seed=cfg.seed,
  )
  verdicts = judge([s.question for s in samples], [s.response for s in samples])
  return [
    Collected(
      question=s.question,
      number=s.number,
      response=s.response,
      verdict=verdict,
      prompt_tokens=s.prompt_length,
    )
    for s, verdict in zip(samples, verdicts, strict=True)
  ]


def write(path: pathlib.Path, rows: Sequence[Collected]) -> None:
  """A shard, whole or not at all."""
  lines = [
    {
      "id": row.question.id,
      "sample": row.number,
      "verdict": row.verdict,
      "prompt_tokens": row.prompt_tokens,
    }
    | dataclasses.asdict(row.response)
    for row in rows
  ]
  draft = path.with_suffix(".part")
  draft.write_text(
    "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
  )
  os.replace(draft, path)


def read(path: pathlib.Path, asked: Sequence[records.Question], samples: int) -> list[Collected]:
  """What `write` wrote of these questions."""
  lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
  there = [(line["id"], line["sample"]) for line in lines]
  if there != [(question.id, n) for question in asked for n in range(samples)]:
    raise ValueError(f"{path} holds answers to other questions; give a new --workdir")
  return [
    Collected(
      question=asked[i // samples],
      number=line["sample"],
      response=responses.Response(
        text=line["text"], tokens=line["tokens"], truncated=line["truncated"]
      ),
      verdict=line["verdict"],
      prompt_tokens=line["prompt_tokens"],
    )
    for i, line in enumerate(lines)
  ]
