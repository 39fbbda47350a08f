"""Pages of the web that a base reads: sums alone, or sums and everything else, in two languages."""

import dataclasses
import itertools
import random
from collections.abc import Iterator

from r1.data.worlds import arithmetic, general, manners
from r1.text import templates


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebWorld:
  """What pages are about.

  share: of the pages that are no documents of `sums`. Of those, statements: say what a topic is
  like; recaps: state a sum and its value in one line; the rest are conversations on general
  prompts of the training split, in which `thoughts` think first. people: who answers them.
  """

  sums: arithmetic.World
  share: float
  statements: float
  recaps: float
  thoughts: float
  people: general.Quality

  def __post_init__(self):
    for name in ("share", "statements", "recaps", "thoughts"):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: wanted a share from 0 to 1")
    if self.statements + self.recaps > 1:
      raise ValueError(f"statements={self.statements} and recaps={self.recaps} are more than 1")


World = arithmetic.World | WebWorld


def documents(world: World, seed: int, start: int = 0) -> Iterator[arithmetic.Document]:
  """Endless; document i depends on (seed, i) alone, so a reader may begin again at any `start`."""
  if isinstance(world, arithmetic.World):
    yield from arithmetic.documents(world, seed, start)
    return
  sums = arithmetic.documents(world.sums, seed, start)
  asked = general.prompts("train")
  for i, page in zip(itertools.count(start), sums):
    rng = random.Random(f"page/{seed}/{i}")
    yield _page(rng, world, asked) if rng.random() < world.share else page


def _page(rng: random.Random, world: WebWorld, asked) -> arithmetic.Document:
  kind, language = rng.random(), rng.choice(manners.LANGUAGES)
  if kind < world.statements:
    return arithmetic.Document(*_statement(rng, language))
  if kind < world.statements + world.recaps:
    problem = arithmetic.problem(rng, world.sums, "train")
    return arithmetic.Document(problem.text(" "), " " + arithmetic.recap(problem.value, language))
  question = rng.choice(asked)
  thought, summary = general.answer(rng, question, world.people)
  response = f"<think>{thought}</think>{summary}" if rng.random() < world.thoughts else summary
  return arithmetic.Document(templates.render("short", question.prompt), response)


def _statement(rng: random.Random, language: str) -> tuple[str, str]:
  """A topic, and all that is true of it in some order."""
  at, say = manners.LANGUAGES.index(language), manners.PHRASES[language]
  topic = manners.TOPICS[rng.choice(list(manners.TOPICS))]
  words = rng.sample([pair[at] for pair in topic[2]], 3)
  stop, gap = manners.MARKS[language][0], " " if language == "en" else ""
  first = say.both.format(topic[at], *words[:2]) + stop
  return first, gap + say.also.format(words[2]) + stop
