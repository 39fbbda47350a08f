"""What is refused unread: answers that cost too much, and answers that dodge the question.

math-verify is a computer algebra system, and an answer is a program for it. Most hostile ones
can be told from their text; the rest meet the time limit of a worker that is killed.
"""

import re

from r1.rewards.maths import extract, numbers, units

LONGEST = 600  # characters
DEEPEST = 20  # nested brackets
MOST_TOKENS = 250  # numbers, names, commands and signs
LARGEST_EXPONENT = 1_000
LARGEST_TOWER = 10_000  # of a power of plain numbers, in digits
LARGEST_FACTORIAL = 200
LONGEST_NUMBER = 300  # digits

TOKEN = re.compile(r"\\?[A-Za-z]+|[0-9]+|[^\sA-Za-z0-9]")
NUMBER = re.compile(r"[0-9]+")
FACTORIAL = re.compile(r"([0-9]+|[A-Za-z]|[)}\]!]|\\right.)\s*!(?!=)")
# Operators over ranges are programs; an answer states their value.
RANGES = re.compile(
  r"\\(?:i{0,2}int|oint|sum|prod|lim|limsup|liminf|bigcup|bigcap|mathop|binom|dbinom|tbinom)"
  r"(?![A-Za-z])"
)
BINOMIAL = re.compile(r"\\[dt]?binom\s*\{?\s*[0-9]{1,3}\s*\}?\s*\{?\s*[0-9]{1,3}\s*\}?")
FUNCTIONS = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc|arc\w+|log|ln|exp|sqrt|Gamma)(?![A-Za-z])")
MOST_FUNCTIONS = 12
WHOLE_EXPONENT = re.compile(r"[0-9]+|[A-Za-z]|\{[^{}]*\}")
BASE_AND_HAT = re.compile(r"([0-9.]+|[)}\]]|[A-Za-z])\s*(?:\^|\*\*)")


def costly(text: str) -> str:
  """Why reading the answer could cost too much, or "" where nothing speaks against it."""
  if len(text) > LONGEST:
    return f"longer than {LONGEST} characters"
  if _depth(text) > DEEPEST:
    return f"brackets nested deeper than {DEEPEST}"
  if len(TOKEN.findall(text)) > MOST_TOKENS:
    return f"more than {MOST_TOKENS} symbols"
  if any(len(digits) > LONGEST_NUMBER for digits in NUMBER.findall(text)):
    return f"a number of more than {LONGEST_NUMBER} digits"
  if RANGES.search(BINOMIAL.sub("", text)):
    return "a sum, product, integral or limit that is not worked out"
  if len(FUNCTIONS.findall(text)) > MOST_FUNCTIONS:
    return f"more than {MOST_FUNCTIONS} functions"
  return _factorials(text) or _powers(text)


def _depth(text: str) -> int:
  depth = deepest = 0
  for char in text:
    depth += (char in "([{") - (char in ")]}")
    deepest = max(deepest, depth)
  return deepest


def _factorials(text: str) -> str:
  for match in FACTORIAL.finditer(text):
    if match[1].isdigit() and int(match[1]) > LARGEST_FACTORIAL:
      return f"a factorial above {LARGEST_FACTORIAL}!"
    if match[1] == "!" or (match[1] in ")}]" and _has_growth(text[: match.start(1)])):
      return "a factorial of a factorial or a power"
  return ""


def _has_growth(text: str) -> bool:
  """Does the bracket group that ends the text hold a factorial, a power or a large number?"""
  depth = 1
  for at in range(len(text) - 1, -1, -1):
    depth += (text[at] in ")]}") - (text[at] in "([{")
    if depth == 0:
      inside = text[at:]
      large = any(int(digits) > LARGEST_FACTORIAL for digits in NUMBER.findall(inside))
      return "!" in inside or "^" in inside or "**" in inside or large
  return True


def _powers(text: str) -> str:
  """Looks at every exponent: a large number, or a tower of plain numbers that grows too high."""
  for match in BASE_AND_HAT.finditer(text):
    exponent = _argument(text, match.end())
    numbers = [int(digits) for digits in NUMBER.findall(exponent)]
    if any(number > LARGEST_EXPONENT for number in numbers):
      return f"an exponent above {LARGEST_EXPONENT}"
    nested = "^" in exponent or "**" in exponent
    if nested and any(number > 3 for number in numbers):
      return "a tower of powers"
    if "!" in exponent:
      return "a factorial in an exponent"
    # (10^{900})^{900}: the power of a group that holds a power.
    if match[1] in ")}]" and numbers and max(numbers) > 9 and _has_growth(text[: match.start(1)]):
      return "a power of a power"
  return ""


def _argument(text: str, start: int) -> str:
  """The exponent that begins at `start`: a group, or one token with the exponents upon it."""
  while start < len(text) and text[start] in " +-":
    start += 1
  at, depth = start, 0
  while at < len(text):
    char = text[at]
    if not depth and char == "(" and WHOLE_EXPONENT.fullmatch(text, start, at):
      break  # x^5(7x-2): a factor beside the power
    depth += (char in "([{") - (char in ")]}")
    if depth < 0:
      break
    if depth == 0 and not (char.isalnum() or char in ".^*!\\{}()[]"):
      break
    at += 1
  return text[start:at]


# Answers that leave the question open -----------------------------------------------------------

ARITHMETIC = re.compile(r"(?:[0-9.,+\-*/^(){}\[\]\s]|\\times|\\cdot|\\div|\\frac|÷|×)+")
OPERATOR = re.compile(r"(?<=[0-9)}\]])\s*(?:[-+*/^÷×]|\\times|\\cdot|\\div)|\\frac")
HEDGE = re.compile(r"(?<![A-Za-z])(?:or|OR|oder|ou|或|或者)(?![A-Za-z])|\\vee|\\lor")
EQUALS = re.compile(r"(?<![<>!\\:])=|\\approx|\\equiv|≈")
LONE_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?")
APPROXIMATE = re.compile(r"\\approx|≈")
SIGNS = re.compile(r"[-+−]\s*[-+−]")
SIDE_BY_SIDE = re.compile(r"[0-9] [0-9]")  # math-verify adds them up: 1 2 3 is 6 to it
PARTS = re.compile(r"[,;]|\\quad|(?<![A-Za-z])and(?![A-Za-z])")
FORMULA = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
# What a parser skips, so that it hides no sum; words behind a number are a unit of some kind.
SKIPPED = re.compile(
  r"\\(?:text|mbox|mathrm|textbf|textit|mathbf)\{[^{}]*\}|\\(?:display|text)style|\\[{}]"
  r"|\\(?:left|right)(?![a-z])|(?<=[0-9})])[A-Za-z .]+$"
)
WORK = re.compile(
  r"\\(?:sqrt|log|ln|lg|exp|a?r?c?(?:sin|cos|tan|cot|sec|csc)|[dt]?binom|[lr](?:floor|ceil|vert|Vert)"
  r"|gcd|lcm|min|max|det|[bp]?mod|begin|Gamma|operatorname)(?![A-Za-z])|[|!]"
)
NAME = re.compile(r"(?<![\\A-Za-z])[A-Za-z]")


def evasive(gold: str, answer: str) -> str:
  """Why the answer commits to nothing, or "" where it does; both in canonical spelling.

  A restated question must not pass ("3+4" asked for what 3+4 is), nor several answers at once,
  nor a chain whose last member alone would be read. Where the gold answer is a number, the number
  itself is wanted; an expression is compared as it stands, since nobody can say how far it should
  be worked out.
  """
  if HEDGE.search(answer) and not HEDGE.search(gold):
    return "several answers, of which one may be right"
  if SIDE_BY_SIDE.search(answer) and not SIDE_BY_SIDE.search(gold):
    return "numbers side by side"
  longest = lambda text: max(len(EQUALS.findall(part)) for part in PARTS.split(text))
  if longest(answer) > max(1, longest(gold)):
    return "a chain of equations"
  wanted = numbers.read(units.split(gold)[0])
  if not wanted:
    return ""
  if SIGNS.search(answer):
    return "a sign before a sign"
  if "\\pm" in answer and "\\pm" not in gold:
    return "two signs at once"
  # A long decimal is the value of some root or logarithm, which may stand for itself.
  return "" if (wanted.places or 0) >= numbers.FEWEST_DIGITS else _unworked(answer)


def _unworked(answer: str) -> str:
  """Why an answer that should be a number is none yet."""
  sides = EQUALS.split(_formula(answer))
  (first, unit), (last, last_unit) = units.split(sides[0].strip()), units.split(sides[-1].strip())
  stated, value = numbers.read(first), numbers.read(last)
  # Of "9 = 8" only the last member would be read; 50% = 0.5 holds.
  if stated and value and unit == last_unit and "=" in answer and not numbers.same(stated, value):
    return "an equation that does not hold"
  # Of "3+4 \approx 9" the first member would be read, of everything else the last.
  rounded = APPROXIMATE.search(answer) and not LONE_NAME.fullmatch(first)
  said = SKIPPED.sub("", first if rounded else last)
  if (stated if rounded else value) or numbers.read(said):
    return ""
  if ARITHMETIC.fullmatch(said) and OPERATOR.search(said):
    return "arithmetic that is not worked out"
  if WORK.search(said):
    return "a function that is not worked out"
  return "names beside the number" if NAME.search(said) else ""


def _formula(answer: str) -> str:
  """The formula in an answer that would be read: in the last box, else the last that is marked."""
  if boxed := extract.last_box(answer):
    return boxed
  marked = FORMULA.findall(answer)
  return next(filter(None, marked[-1])) if marked else answer
