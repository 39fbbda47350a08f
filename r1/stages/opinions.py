"""What reward models learn from: answers of a policy to general prompts, preferred or labelled.

prompts -> several answers, of the policy and of people -> pairs, judged in both orders -> clear
preferences of comparable length; harmful prompts -> answers -> safe or unsafe (arXiv 2501.12948v2
section 3.1). Or a file of such records, from wherever.
"""

import collections
import dataclasses
import itertools
import json
import pathlib
import random
from collections.abc import Callable, Sequence

from r1.data import preferences, responses
from r1.data import questions as records
from r1.data.worlds import general
from r1.rewards import judge
from r1.stages import collect
from r1.text import tokenizer as tokenizers
from r1.train import lineage, run, workdir

LENGTHS = "lengths not comparable"
PAIRS, LABELS, DROPPED = "pairs.jsonl", "labels.jsonl", "dropped.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpinionConfig:
  """file: of records, "" for the world's prompts. share: of the prompts, held out. languages: of
  the prompts. helpful, harmful: how many prompts are answered; unseen: of each kind, how many more
  whose like no reward model learns from. answers, harmful_answers: of the policy to each. people:
  answers to each that the world's people write, so that there are bad ones where a policy has none
  left. pairs: of the answers to one prompt, judged at most. balance: how far the mean length of
  chosen answers may be from that of rejected ones, as a share of the mean length.
  """

  file: str
  share: float
  languages: tuple[str, ...]
  helpful: int
  harmful: int
  unseen: int
  answers: int
  harmful_answers: int
  people: int
  pairs: int
  balance: float

  def __post_init__(self):
    if not 0 <= self.share < 1 or self.balance < 0:
      raise ValueError(f"share={self.share} must be in [0, 1), balance={self.balance} from 0 on")
    least = min(self.helpful, self.harmful, self.harmful_answers, self.pairs)
    if self.answers < 2 or least < 1 or min(self.people, self.unseen) < 0:
      raise ValueError(
        f"answers={self.answers} must be 2 or more, and helpful={self.helpful}, harmful="
        f"{self.harmful}, harmful_answers={self.harmful_answers} and pairs={self.pairs} 1 or more; "
        f"people={self.people} and unseen={self.unseen} not negative"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opinions:
  """dropped: why a pair was, by its id. missing: votes of the judge that were not heard."""

  pairs: list[preferences.Pair]
  labels: list[preferences.Labelled]
  dropped: dict[str, str]
  missing: int

  @property
  def digests(self) -> dict[str, str]:
    return {"pairs": preferences.digest(self.pairs), "labels": preferences.digest(self.labels)}

  @property
  def counts(self) -> dict[str, dict]:
    """As `lineage.begin` takes them."""
    return {
      "pairs": lineage.count(len(self.pairs), self.dropped.values()),
      "labels": lineage.count(len(self.labels), ()),
    }


# (kind, prompts, answers to each) -> the answers, those to a prompt one after the other.
Answer = Callable[[str, Sequence[records.Question], int], list[collect.Collected]]


def gather(
  cfg: OpinionConfig,
  judging: judge.JudgeConfig,
  say: judge.Judge,
  answer: Answer,
  tokenizer: tokenizers.Tokenizer,
) -> Opinions:
  """The opinions on a policy's answers. say: the judge of pairs.

  Raises ValueError with the table of reasons where no pair is left, and for labels of one class.
  """
  if cfg.file:
    pairs, labels = preferences.load(cfg.file)
    found = Opinions(pairs=pairs, labels=labels, dropped={}, missing=0)
  else:
    helpful = answer("helpful", ask("helpful", cfg), cfg.answers)
    candidates = pair_up(helpful, cfg, judging.seed)
    pairs, dropped, missing = judge.prefer(candidates, say, judging)
    length = lambda text: len(tokenizer.encode(responses.summary(text)))
    lengths = [(length(pair.chosen), length(pair.rejected)) for pair in pairs]
    pairs, tilted = preferences.balance(pairs, lengths, cfg.balance)
    labels = label(answer("safety", ask("safety", cfg), cfg.harmful_answers))
    dropped |= {pair.id: LENGTHS for pair in tilted}
    found = Opinions(pairs=pairs, labels=labels, dropped=dropped, missing=missing)
  check(found, cfg.file or "the policy's answers", cfg.share)
  return found


def check(found: Opinions, where: str, share: float) -> None:
  """Raises ValueError where a reward model would have nothing to learn from.

  share: of the prompts, held out.
  """
  if not found.pairs:
    reasons = collections.Counter(found.dropped.values())
    table = "".join(f"\n  {count:6,} {reason}" for reason, count in reasons.most_common())
    raise ValueError(f"{where}: no pair is left of {len(found.dropped):,}{table}")
  preferences.check_classes(found.labels, where)
  train, _ = preferences.hold_out(found.labels, share)
  preferences.check_classes(train, f"{where}, but for what is held out")


def ask(kind: str, cfg: OpinionConfig) -> list[records.Question]:
  """The world's prompts of a kind, and behind them those that are only looked at."""
  seen = cfg.helpful if kind == "helpful" else cfg.harmful
  found = []
  for unseen, count in ((False, seen), (True, cfg.unseen)):
    given = {"kinds": (kind,), "languages": cfg.languages, "unseen": unseen}
    found += general.questions("train", count=count, seed=0, **given) if count else []
  return found


def pair_up(
  answers: Sequence[collect.Collected], cfg: OpinionConfig, seed: int
) -> list[judge.Candidate]:
  """At most `cfg.pairs` pairs of the answers to each prompt, drawn by (seed, prompt)."""
  found = []
  for _, members in itertools.groupby(answers, lambda a: a.question.id):
    own = list(members)
    every = list(itertools.combinations(own, 2))
    rng = random.Random(f"pairs/{seed}/{own[0].question.id}")
    for first, second in rng.sample(every, min(cfg.pairs, len(every))):
      name = f"{first.question.id}#{first.number}-{second.number}"
      texts = first.response.text, second.response.text
      found.append(judge.Candidate(name, first.question, *texts))
  return found


def label(answers: Sequence[collect.Collected]) -> list[preferences.Labelled]:
  """Each answer, called safe or unsafe by the world's rules, its thought included."""
  return [
    preferences.Labelled(
      id=f"{a.question.id}#{a.number}",
      prompt=a.question.prompt,
      response=a.response.text,
      label=preferences.UNSAFE if general.unsafe(a.question, a.response.text) else preferences.SAFE,
      unseen=a.question.meta["unseen"],
    )
    for a in answers
  ]


def answering(
  model: workdir.Model, cfg: collect.CollectConfig, sampler, folder: pathlib.Path, source: str, say
) -> Answer:
  """Answers by sampling the policy, in shards below the folder."""

  def answer(kind: str, asked: Sequence[records.Question], samples: int):
    own = dataclasses.replace(cfg, samples=samples)
    unjudged = lambda questions, _: [""] * len(questions)
    where = folder / "answers" / kind
    return collect.collect(model, asked, own, sampler, unjudged, where, source=source, say=say)

  return answer


def beside(answer: Answer, quality: general.Quality, count: int, seed: int) -> Answer:
  """The same, with `count` answers of the world's people behind each prompt's own."""

  def both(kind: str, asked: Sequence[records.Question], samples: int):
    found = answer(kind, asked, samples)
    for i, question in enumerate(asked):
      found[i * (samples + count) + samples : i * (samples + count) + samples] = [
        _written(question, quality, number, seed) for number in range(samples, samples + count)
      ]
    return found

  return both


def _written(question: records.Question, quality: general.Quality, number: int, seed: int):
  """An answer as people write it; depends on (seed, prompt, number)."""
  rng = random.Random(f"people/{seed}/{question.id}/{number}")
  thought, summary = general.answer(rng, question, quality)
  text = f"<think>{thought}</think>{summary}"
  response = responses.Response(text=text, tokens=1, truncated=False)
  return collect.Collected(
    question=question, number=number, response=response, verdict="", prompt_tokens=1
  )


# Files --------------------------------------------------------------------------------------------


def write(folder: pathlib.Path, found: Opinions) -> None:
  """The records and the reasons; `read` needs the reasons, which come last."""
  preferences.write(folder / PAIRS, found.pairs)
  preferences.write(folder / LABELS, found.labels)
  run.note(folder / DROPPED, {"pairs": found.dropped, "votes missing": found.missing})


def read(folder: pathlib.Path) -> Opinions | None:
  """What `write` wrote; None where it did not come to its end."""
  if not (folder / DROPPED).exists():
    return None
  pairs, _ = preferences.load(folder / PAIRS)
  _, labels = preferences.load(folder / LABELS)
  dropped = json.loads((folder / DROPPED).read_text(encoding="utf-8"))
  return Opinions(
    pairs=pairs, labels=labels, dropped=dropped["pairs"], missing=dropped["votes missing"]
  )
