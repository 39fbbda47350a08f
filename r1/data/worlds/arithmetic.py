"""A world of small sums: "web text" in two languages for a base model, and its questions.

Most documents guess; some work step by step, and some of those check each step by doing it again,
say whether the two agree, and carry on with the second value. A hash of the problem decides
whether it belongs to training or to testing; documents use training problems only.
"""

import dataclasses
import itertools
import random
import zlib
from collections.abc import Callable, Iterator

from r1.data import questions as records
from r1.text import templates
from r1.text import tokenizer as tokenizers

SYMBOLS = ("<think>", "</think>", "<answer>", "</answer>")
SPLITS = ("train", "test")
SLIPS = (-10, 10, -1, 1, -2, 2, -9, 9, 100, -100, 20)  # off by one, by a carry, by a place
TRIES = 20_000  # draws in a row before the world is declared too small


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lexicon:
  comma: str
  first: str
  then: str
  so: str
  check: str
  yes: str
  wait: str
  exercise: str
  start: str  # what a thought for readers begins with
  result: str  # in front of the value, as a summary says it


LEXICON = {
  "en": Lexicon(
    comma=", ",
    first="first",
    then="then",
    so="so",
    check="check",
    yes="yes",
    wait="wait",
    exercise="Exercise: ",
    start="i take it step by step",
    result="the result is ",
  ),
  "zh": Lexicon(
    comma="，",
    first="先",
    then="然后",
    so="所以",
    check="检查",
    yes="对",
    wait="等等",
    exercise="练习：",
    start="我一步一步来",
    result="结果是",
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
  """What the documents are like; behaviours are shares (direct guess, plain steps, checked)."""

  terms: tuple[tuple[int, float], ...]  # (numbers in a problem, share of the problems)
  operands: tuple[int, int]  # least and greatest
  test_share: float  # of all problems
  languages: tuple[float, float, float, float]  # question/thought: en/en, zh/zh, en/zh, switching
  switching_english: float  # share of English questions among the switching documents
  behaviour_en: tuple[float, float, float]  # by the language of the thought
  behaviour_zh: tuple[float, float, float]
  behaviour_switching: tuple[float, float, float]
  slip: float  # share of steps whose first pass is wrong
  slip_switching: float
  direct_ok: float  # share of direct guesses that are right
  malformed: float  # share of answers whose tags are wrong
  worked: float  # share of documents that are worked examples, without tags or guesses

  def __post_init__(self):
    shares = [share for _, share in self.terms]
    if any(n < 2 for n, _ in self.terms) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
      raise ValueError(
        f"terms={self.terms}: wanted ((numbers, share), ...), 2 numbers or more, shares adding to 1"
      )
    if not 0 <= self.operands[0] <= self.operands[1]:
      raise ValueError(f"operands={self.operands}: wanted (least, greatest), none negative")
    for name in ("languages", "behaviour_en", "behaviour_zh", "behaviour_switching"):
      shares = getattr(self, name)
      if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{name}={shares}: shares must be positive and add up to 1")
    for name in ("behaviour_en", "behaviour_zh", "behaviour_switching"):
      if self.worked and sum(getattr(self, name)[1:]) == 0:
        raise ValueError(f"{name} has no steps, which worked={self.worked} needs")
    rates = "test_share switching_english slip slip_switching direct_ok malformed worked"
    for name in rates.split():
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f"{name}={getattr(self, name)}: wanted a share from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Problem:
  """A chain of sums whose running value never falls below zero."""

  numbers: tuple[int, ...]
  operators: str  # one of + and - between each two numbers
  value: int

  def text(self, space: str) -> str:
    """With `space` around each operator."""
    pairs = zip(self.operators, self.numbers[1:], strict=True)
    return str(self.numbers[0]) + "".join(f"{space}{sign}{space}{n}" for sign, n in pairs)


@dataclasses.dataclass(frozen=True)
class Document:
  """Tokens are begin of text, `prompt`, `response`, end of text, encoded one by one."""

  prompt: str
  response: str


def split_of(problem: Problem, world: World) -> str:
  """Which split owns the problem, whatever the seed: crc32 of its text."""
  share = zlib.crc32(problem.text("").encode()) % 10_000 / 10_000
  return "test" if share < world.test_share else "train"


def problem(rng: random.Random, world: World, split: str, terms: int | None = None) -> Problem:
  """A problem of one split, with `terms` numbers or as many as the world likes."""
  if split not in SPLITS:
    raise ValueError(f"split={split!r}: a world has {' and '.join(SPLITS)}")
  for _ in range(TRIES):
    drawn = _draw(rng, world, terms)
    if split_of(drawn, world) == split:
      return drawn
  raise ValueError(f"no {split} problem in {TRIES} draws with test_share={world.test_share}")


def question(problem: Problem, language: str) -> records.Question:
  text = problem.text(" ")
  return records.Question(
    id=problem.text(""),
    prompt=f"what is {text} ?" if language == "en" else f"{text} 是多少？",
    answer=str(problem.value),
    kind="maths",
    language=language,
    meta={"terms": len(problem.numbers)},
  )


def questions(
  world: World,
  split: str,
  *,
  count: int,
  seed: int,
  terms: int | None = None,
  languages: tuple[tuple[str, float], ...] = (("en", 1.0),),
) -> list[records.Question]:
  """`count` questions on distinct problems, asked in languages of these shares."""
  rng, tongue = random.Random(f"{split}/{seed}"), random.Random(f"{split}/{seed}/language")
  found: dict[str, records.Question] = {}
  misses = 0
  while len(found) < count:
    language = tongue.choices(*zip(*languages))[0]
    asked = question(problem(rng, world, split, terms), language)
    misses = misses + 1 if asked.id in found else 0
    found[asked.id] = asked
    if misses > TRIES:
      sizes = [n for n, _ in world.terms] if terms is None else terms
      raise ValueError(
        f"count={count}: only {len(found)} distinct {split} problems were found with terms={sizes}"
        f" and operands={world.operands}; ask for fewer or widen the world"
      )
  return list(found.values())


def document(rng: random.Random, world: World) -> Document:
  """One page of the world's web: a worked example, or a conversation that may be malformed."""
  asked = problem(rng, world, "train")
  kinds = (("en", "en"), ("zh", "zh"), ("en", "zh"), ("", "switching"))
  asking, thinking = rng.choices(kinds, world.languages)[0]
  asking = asking or ("en" if rng.random() < world.switching_english else "zh")
  speak = _speaker(rng, thinking)
  behaviours = {
    "en": world.behaviour_en,
    "zh": world.behaviour_zh,
    "switching": world.behaviour_switching,
  }
  direct, plain, checked = behaviours[thinking]
  slip = world.slip_switching if thinking == "switching" else world.slip
  if rng.random() < world.worked:
    check = rng.random() * (plain + checked) < checked
    thought, _ = _work(rng, asked, speak, check, slip)
    return Document(LEXICON[asking].exercise + asked.text(" "), "\n" + thought)
  if rng.random() < direct:
    thought, value = _guess(rng, asked, speak, world.direct_ok)
  else:
    check = rng.random() * (plain + checked) < checked
    thought, value = _work(rng, asked, speak, check, slip)
  prompt = templates.render("short", question(asked, asking).prompt)
  return Document(prompt, _answer(rng, thought, value, world.malformed))


def documents(world: World, seed: int, start: int = 0) -> Iterator[Document]:
  """Endless; document i depends on (seed, i) alone, so a reader may begin again at any `start`."""
  if seed < 0 or start < 0:
    raise ValueError(f"seed={seed}, start={start}: neither may be negative")
  for i in itertools.count(start):
    yield document(random.Random(seed << 40 | i), world)


def recap(value: int, language: str) -> str:
  """How a summary states the result of a sum."""
  stop = "." if language == "en" else "。"
  return f"{LEXICON[language].result}\\boxed{{{value}}}{stop}"


def tokens(tokenizer: tokenizers.Tokenizer, document: Document) -> list[int]:
  """The prompt's ids are those that sampling begins with."""
  bos = [] if tokenizer.bos is None else [tokenizer.bos]
  written = tokenizer.encode(document.prompt) + tokenizer.encode(document.response)
  return bos + written + [tokenizer.eos[0]]


def _draw(rng: random.Random, world: World, terms: int | None) -> Problem:
  low, high = world.operands
  value = rng.randint(low, high)
  numbers, signs = [value], ""
  if terms is None:
    lengths, shares = zip(*world.terms)
    terms = int(rng.choices(lengths, shares)[0])
  for _ in range(terms - 1):
    n = rng.randint(low, high)
    sign = rng.choice("+-")
    if sign == "-" and n > value:
      sign = "+"
    value = _apply(value, sign, n)
    numbers.append(n)
    signs += sign
  return Problem(tuple(numbers), signs, value)


def _apply(value: int, sign: str, n: int) -> int:
  return value + n if sign == "+" else value - n


def _wrong(rng: random.Random, value: int, least: int) -> int:
  while (slipped := value + rng.choice(SLIPS)) < least:
    pass
  return slipped


def _speaker(rng: random.Random, thinking: str) -> Callable[[], Lexicon]:
  """The lexicon of the next clause."""
  if thinking != "switching":
    return lambda: LEXICON[thinking]
  return lambda: LEXICON["en" if rng.random() < 0.5 else "zh"]


def _guess(rng, asked: Problem, speak: Callable[[], Lexicon], ok: float) -> tuple[str, int]:
  value = asked.value if rng.random() < ok else _wrong(rng, asked.value, 0)
  return f"{speak().so} {value}", value


def _work(rng, asked: Problem, speak: Callable[[], Lexicon], check: bool, slip: float):
  """(thought, the value it ends with). A check redoes its step rightly and its value is kept."""
  thought, value = "", asked.numbers[0]
  for i, (sign, n) in enumerate(zip(asked.operators, asked.numbers[1:], strict=True)):
    words = speak()
    right = _apply(value, sign, n)
    said = right
    if rng.random() < slip:
      said = _wrong(rng, right, _least(asked, i + 1))
    step = f"{value} {sign} {n} = "
    thought += f"{words.comma}{words.then} {step}{said}" if i else f"{words.first} {step}{said}"
    if check:
      words = speak()
      verdict = words.yes if said == right else words.wait
      thought += f"{words.comma}{words.check} {step}{right} {verdict}"
    value = right if check else said
  words = speak()
  return f"{thought}{words.comma}{words.so} {value}", value


def _least(asked: Problem, step: int) -> int:
  """The least value after `step` steps from which the rest stays at or above zero."""
  value = least = 0
  for sign, n in zip(asked.operators[step:], asked.numbers[step + 1 :], strict=True):
    value = _apply(value, sign, n)
    least = min(least, value)
  return -least


def _answer(rng, thought: str, value: int, malformed: float) -> str:
  if rng.random() >= malformed:
    return f"<think>{thought}</think><answer>{value}</answer>"
  broken = (
    f"{thought}.",
    f"<think>{thought}<answer>{value}</answer>",
    f"<think>{thought}</think>{value}.",
  )
  return rng.choice(broken)
