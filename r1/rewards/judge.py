"""Which of two answers is better: four judgements per pair, in both orders, averaged.

The protocol of arXiv 2501.12948v2 section 3.1: each pair is judged four times with the order of the
answers randomised, the verdicts are averaged, and only pairs with a clear gap are kept. The paper
gives the five verdicts no numbers; with these, a gap above 1 is more than "slightly better".
"""

import dataclasses
import random
import re
from collections.abc import Callable, Sequence

from r1.data import preferences, questions, responses

VERDICTS = {"A>>B": 2, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -2}
MARK = re.compile(r"\[\[([^\[\]]*)\]\]")
SAME, MISSING, UNCLEAR = "same text", "votes missing", "no clear preference"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeConfig:
  """seed: of the orders. votes: of a pair, half of them with its first answer shown first.

  gap: a pair is kept where its mean verdict is further from 0. missing: how many votes on a pair
  may be missing, because a judge said nonsense or nothing; one more drops it.
  """

  seed: int
  votes: int
  gap: float
  missing: int

  def __post_init__(self):
    if self.votes < 2 or self.votes % 2:
      raise ValueError(f"votes={self.votes}: wanted an even number, half in each order")
    if not 0 <= self.missing < self.votes // 2:
      raise ValueError(
        f"missing={self.missing} of {self.votes} votes: wanted 0 to {self.votes // 2 - 1}, so that "
        "each order is heard"
      )
    if not 0 <= self.gap < max(VERDICTS.values()):
      raise ValueError(f"gap={self.gap}: wanted 0 or more, and less than 2, the clearest verdict")


@dataclasses.dataclass(frozen=True)
class Candidate:
  """Two answers to one question, whole responses, that may become a pair."""

  id: str
  question: questions.Question
  first: str
  second: str


@dataclasses.dataclass(frozen=True)
class Ballot:
  """One judgement: the summaries as they are shown, and the number of the vote on this pair."""

  question: questions.Question
  a: str
  b: str
  number: int


# What a judge says to each ballot, a text with a verdict in double brackets; None where it failed.
Judge = Callable[[Sequence[Ballot]], "list[str | None]"]


@dataclasses.dataclass(frozen=True)
class Tally:
  """gap: the mean verdict on a pair, above 0 for its first answer; None where too few were heard.

  missing: votes that were not heard.
  """

  gap: float | None
  missing: int


def read(text: str | None) -> int | None:
  """The verdict in a judge's text, from 2 (A much better) to -2; None for nonsense.

  A text with two different verdicts says nothing.
  """
  said = {mark.strip() for mark in MARK.findall(text or "")}
  return VERDICTS.get(said.pop()) if len(said) == 1 else None


def orders(name: str, cfg: JudgeConfig) -> list[bool]:
  """For each vote on a pair, whether its second answer is shown first; depends on (seed, pair)."""
  swapped = [False, True] * (cfg.votes // 2)
  random.Random(f"{cfg.seed}/{name}").shuffle(swapped)
  return swapped


def tally(votes: Sequence[int | None], swapped: Sequence[bool], cfg: JudgeConfig) -> Tally:
  """The mean verdict: of each order by itself, then of both.

  So a judge that always prefers what it is shown first comes to 0, whichever votes are missing.
  """
  heard = [(vote, turned) for vote, turned in zip(votes, swapped, strict=True) if vote is not None]
  missing = len(votes) - len(heard)
  if missing > cfg.missing:
    return Tally(None, missing)
  sides = [[vote for vote, turned in heard if turned == which] for which in (False, True)]
  plain, turned = (sum(side) / len(side) for side in sides)
  return Tally((plain - turned) / 2, missing)


def vote(candidates: Sequence[Candidate], judge: Judge, cfg: JudgeConfig) -> list[Tally]:
  """One tally per candidate. A judge sees final summaries alone, as a reader would."""
  ballots, turns = [], []
  for c in candidates:
    first, second = responses.summary(c.first), responses.summary(c.second)
    turns.append(orders(c.id, cfg))
    for number, swapped in enumerate(turns[-1]):
      a, b = (second, first) if swapped else (first, second)
      ballots.append(Ballot(c.question, a, b, number))
  said = [read(text) for text in judge(ballots)]
  if len(said) != len(ballots):
    raise ValueError(f"the judge answered {len(said)} of {len(ballots)} ballots; wanted one each")
  each = [said[i : i + cfg.votes] for i in range(0, len(said), cfg.votes)]
  return [tally(votes, swapped, cfg) for votes, swapped in zip(each, turns)]


def prefer(
  candidates: Sequence[Candidate], judge: Judge, cfg: JudgeConfig
) -> tuple[list[preferences.Pair], dict[str, str], int]:
  """(pairs with a clear preference, why the others were dropped by id, votes that were missing)."""
  same = lambda c: responses.summary(c.first) == responses.summary(c.second)
  dropped = {c.id: SAME for c in candidates if same(c)}
  asked = [c for c in candidates if c.id not in dropped]
  tallies, pairs = vote(asked, judge, cfg), []
  for c, found in zip(asked, tallies):
    if found.gap is None:
      dropped[c.id] = MISSING
    elif abs(found.gap) <= cfg.gap:
      dropped[c.id] = UNCLEAR
    else:
      meta = c.question.meta
      chosen, rejected = (c.first, c.second) if found.gap > 0 else (c.second, c.first)
      pairs.append(
        preferences.Pair(
          id=c.id,
          prompt=c.question.prompt,
          chosen=chosen,
          rejected=rejected,
          gap=abs(found.gap),
          unseen=bool(meta.get("unseen", False)),
        )
      )
  return pairs, dropped, sum(found.missing for found in tallies)
