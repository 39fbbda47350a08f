"""Rejection sampling: which sampled answers are worth imitating, and why the others are not.

arXiv 2501.12948v2 section B.3.3 keeps right answers whose thoughts do not mix languages and have
neither long paragraphs nor code; several to a question may stay. The thresholds are not given and
are settings here. Every dropped answer has one reason, the first of REASONS that applies, so what
is kept and what is dropped add up to what was sampled.
"""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Sequence

from r1.data import overlap, responses
from r1.data import questions as records
from r1.rewards import form, language, shaping

REASONS = {
  "no_verdict": "nobody could judge it",
  "truncated": "it did not end by itself",
  "unparsed": "no thought with an answer behind it",
  "wrong": "the answer is wrong",
  "mixed": "the thought mixes languages",
  "foreign": "the thought is in another language than the question",
  "paragraph": "a paragraph of the thought is too long",
  "code": "the thought holds a code block",
  "repetition": "the thought repeats itself",
  "unreadable": "the summary cannot be read or contradicts the thought",
  "rewrite": "it could not be rewritten",
  "overlap": "it shares an n-gram with an evaluation question",
  "duplicate": "the same answer to the same question was kept",
  "surplus": "the question has as many kept answers as wanted",
}
FENCES = ("```", "~~~")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterConfig:
  """What is kept of right answers.

  mode: the format, one of form.MODES. consistency: least share of the thought's words in the
  question's language. paragraph: most words of a paragraph of the thought, Han characters counted
  one by one. repetition: greatest share of n-grams of `ngram` words that repeat an earlier one.
  most: kept answers of a question. overlap: words in a row that may not be an evaluation
  question's.
  """

  mode: str
  consistency: float
  paragraph: int
  repetition: float
  ngram: int
  most: int
  overlap: int

  def __post_init__(self):
    form.check_mode(self.mode)
    for name in ("paragraph", "ngram", "most", "overlap"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    for name in ("consistency", "repetition"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: wanted a share from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Sifted:
  """kept: places of the answers that stay, in order. dropped: how many for each reason."""

  kept: list[int]
  dropped: dict[str, int]

  @property
  def sampled(self) -> int:
    """All answers: what is kept and what is dropped."""
    return len(self.kept) + sum(self.dropped.values())


Predicate = Callable[[records.Question, responses.Response], bool]


def fault(
  question: records.Question,
  response: responses.Response,
  verdict: str,
  cfg: FilterConfig,
  readable: Predicate,
) -> str | None:
  """The first reason not to imitate this answer that lies in itself; None for a good one.

  verdict: one of verdict.VERDICTS. readable: does a reader get along with thought and summary?
  """
  if verdict == "no_verdict":
    return "no_verdict"
  if response.truncated:
    return "truncated"
  parts = form.parse(response.text, cfg.mode)
  if parts is None or verdict == "unparsed":
    return "unparsed"
  if verdict != "right":
    return "wrong"
  return _unlike(parts.thought, question, cfg) or (
    None if readable(question, response) else "unreadable"
  )


def _unlike(thought: str, question: records.Question, cfg: FilterConfig) -> str | None:
  """What a thought should not be."""
  if language.mixed(thought):
    return "mixed"
  script = language.SCRIPT_OF.get(question.language)
  if script is not None and language.share_of(thought, script) < cfg.consistency:
    return "foreign"
  if max(len(shaping.units(p)) for p in thought.split("\n\n")) > cfg.paragraph:
    return "paragraph"
  if any(fence in thought for fence in FENCES):
    return "code"
  if shaping.repetition(shaping.units(thought), cfg.ngram) > cfg.repetition:
    return "repetition"
  return None


def evaluation(questions: Sequence[records.Question], cfg: FilterConfig) -> overlap.Index:
  """The index of what may not be overlapped: the questions that models will be judged by."""
  return overlap.index([question.prompt for question in questions], cfg.overlap)


def sift(
  questions: Sequence[records.Question],
  texts: Sequence[str],
  faults: Sequence[str | None],
  cfg: FilterConfig,
  evaluated: overlap.Index,
) -> Sifted:
  """What stays of the answers, and a reason for each that does not.

  questions, texts, faults: one per answer, those of a question in the order sampled; a fault is
  that of `fault`, or any other of REASONS. evaluated: see `evaluation`. What is judged here lies
  between answers: overlap with evaluation questions, copies, and more than `most` of one question,
  of which the first are kept.
  """
  kept, reasons = [], []
  seen: set[Hashable] = set()
  held: collections.Counter[str] = collections.Counter()
  for i, (question, text, reason) in enumerate(zip(questions, texts, faults, strict=True)):
    copy = (question.prompt, " ".join(text.split()))
    if reason is None and (
      overlap.shared(question.prompt, evaluated) or overlap.shared(text, evaluated)
    ):
      reason = "overlap"
    if reason is None and copy in seen:
      reason = "duplicate"
    if reason is None and held[question.id] >= cfg.most:
      reason = "surplus"
    if reason is None:
      kept.append(i)
      seen.add(copy)
      held[question.id] += 1
    else:
      reasons.append(reason)
  counts = collections.Counter(reasons)
  if unknown := sorted(counts.keys() - REASONS.keys()):
    raise ValueError(f"reasons {unknown} are unknown; there are {', '.join(REASONS)}")
  return Sifted(kept, {name: counts[name] for name in REASONS if counts[name]})


def counts(sifted: Sifted) -> dict:
  """For lineage.json and the card: {"kept": n, "dropped": {reason: n}}."""
  return {"kept": len(sifted.kept), "dropped": sifted.dropped}


def table(sifted: Sifted) -> str:
  """Lines for people: how many stayed, and how many went for which reason."""
  width = len(str(sifted.sampled))
  rows = [(len(sifted.kept), "kept"), *((n, REASONS[name]) for name, n in sifted.dropped.items())]
  return "\n".join(f"  {count:>{width}}  {said}" for count, said in rows)


def check_any(sifted: Sifted, what: str) -> None:
  """Raises ValueError with the table of reasons where nothing is kept of `what`."""
  if not sifted.kept:
    raise ValueError(f"of {sifted.sampled} {what} none is kept:\n{table(sifted)}")
