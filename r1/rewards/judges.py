"""Judges of two answers: the rules of the world of general prompts, and a model at an endpoint."""

import dataclasses
import random
from collections.abc import Sequence

from r1.data.worlds import general
from r1.rewards import endpoint, judge

# Begin with an answer of one's own, then compare, then one of five verdicts: the manner of
# Arena-Hard (arXiv 2406.11939), which the paper follows, in words of our own.
SYSTEM = (
  "You judge two answers to the same prompt, A and B. First write the answer that you would give."
  " Then hold both against it and against each other: is what they say right, is all of what was"
  " asked for there and nothing else, is it clear? Say what is wrong in each and what is missing."
  " Which one is shown first, and how long it is, means nothing. Close with exactly one verdict in"
  " double brackets: [[A>>B]] if A is much better, [[A>B]] if it is slightly better, [[A=B]] if"
  " they are about the same, [[B>A]] if B is slightly better, [[B>>A]] if it is much better."
)
ASKED = "## Prompt\n{}\n\n## Answer A\n{}\n\n## Answer B\n{}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleConfig:
  """A judge that sees how helpful the answers are, from 0 to 1, with an error.

  seed, noise: of its errors, normal with that standard deviation. slight, clear: the differences
  from which on one answer is slightly and much better.
  """

  seed: int
  noise: float
  slight: float
  clear: float

  def __post_init__(self):
    if self.noise < 0 or not 0 < self.slight <= self.clear:
      raise ValueError(
        f"noise={self.noise} must not be negative, and slight={self.slight} above 0 and at most "
        f"clear={self.clear}"
      )


def rule(cfg: RuleConfig) -> judge.Judge:
  """A judge by the rules that generated the prompts; the same ballot gets the same verdict."""

  def say(ballot: judge.Ballot) -> str:
    asked = ballot.question
    gap = general.earned(asked, ballot.a) - general.earned(asked, ballot.b)
    name = f"{cfg.seed}/{asked.id}/{ballot.number}/{ballot.a}/{ballot.b}"
    gap += random.Random(name).gauss(0.0, cfg.noise)
    better = "A" if gap > 0 else "B"
    worse = "B" if gap > 0 else "A"
    if abs(gap) < cfg.slight:
      return "[[A=B]]"
    return f"[[{better}{'>>' if abs(gap) >= cfg.clear else '>'}{worse}]]"

  return lambda ballots: [say(ballot) for ballot in ballots]


def model(cfg: endpoint.EndpointConfig, faults: list[str]) -> judge.Judge:
  """A judge at an endpoint. faults: grows by one text for each ballot that it did not answer."""

  def ask(ballots: Sequence[judge.Ballot]) -> list[str | None]:
    return endpoint.ask([_messages(ballot) for ballot in ballots], cfg, faults)

  return ask


def _messages(ballot: judge.Ballot) -> list[endpoint.Message]:
  shown = ASKED.format(ballot.question.prompt, ballot.a, ballot.b)
  return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": shown}]
