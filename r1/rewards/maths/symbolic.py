"""Equality of two answers by math-verify, with what it lets through taken back; for workers only.

math-verify parses LaTeX into sympy, which can hang or eat memory on a hostile answer; its own
alarms fail off the main thread and within C, so they are off and a pool kills what is too slow.
"""

import functools
import itertools
import logging
import re

LATEX, EXPRESSION = "latex", "expr"
KINDS = (LATEX, EXPRESSION)
PLACES = 6  # decimals that two floating-point values must share
ANCHOR = re.compile(r"\$|\\\(|\\\[|\\boxed")
# Prose, as opposed to a bare formula: two words in a row, or one behind a number.
PROSE = re.compile(
  r"(?<![\\A-Za-z])(?!(?:sin|cos|tan|log|ln|exp|sqrt|min|max|and|mod|pi|or)\b)[A-Za-z]{3,}"
  r"|[\u3040-\u9fff\uac00-\ud7af\u0400-\u04ff]"
)
# As in \begin{pmatrix} and \text{cm}: letters, and no prose.
COMMAND = re.compile(r"\\[A-Za-z]+\s*\{[A-Za-z .*]*\}")
# Formulas that are marked, and what may stand around them: words, not mathematics.
MARKED = re.compile(r"\$\$.+?\$\$|\$.+?\$|\\\(.+?\\\)|\\\[.+?\\\]|\\boxed\{.+\}", re.DOTALL)
SPACING = re.compile(r"\\(?:q?quad|[,;:! ])")
BESIDE = re.compile(r"[0-9+*/^=<>|\\]|(?<![A-Za-z])[-−]|[-−](?![A-Za-z])|\0\s*!")
TEXT = re.compile(r"\$*\\text[a-z]*\{[^{}]*\}\$*")  # a gold answer that is words on purpose
EXPONENT = re.compile(r"\^\s*(-?[0-9]+)")  # 2^-99 is no LaTeX, and half of it would be read
BRACED = r"^{\1}"


def is_formula(text: str) -> bool:
  """Is the text a bare formula, as opposed to prose, and to a text that marks its formulas?"""
  return not ANCHOR.search(text) and not PROSE.search(text)


def _is_split(text: str) -> bool:
  """Does mathematics stand beside the formulas that are marked? Of -$42$ only 42 would be read."""
  if not ANCHOR.search(text):
    return False
  return bool(BESIDE.search(COMMAND.sub("", SPACING.sub("", MARKED.sub("\0", text)))))


def _is_prose(text: str) -> bool:
  """Words that are neither marked nor beside a marked formula."""
  return not ANCHOR.search(text) and bool(PROSE.search(COMMAND.sub("", text)))


def compare(gold: str, answer: str, free: bool, kinds: list[str], places: int) -> str:
  """The verdict on an answer: right, wrong, unparsed; no_verdict where the gold is unreadable.

  free: both may be whole texts, in which the final answer is looked for, as LaTeX, as a plain
  expression, or both (kinds). Else each is one formula, read as a whole or not at all.
  places: decimals in which values must agree.
  """
  import math_verify  # slow to import; the zygote of the workers does it once

  logging.getLogger("math_verify").setLevel(logging.ERROR)
  looked_for = tuple(kinds) if free else (LATEX,)
  # One number out of a gold answer in prose would be a wrong gold answer.
  golds = _parse(gold, free, looked_for) if free or not _is_prose(gold) else []
  answers = _parse(answer, free, looked_for)
  if all(isinstance(value, str) for value in golds) and not TEXT.fullmatch(gold.strip()):
    return "no_verdict"
  for expected, said in itertools.product(map(_plain_percent, golds), map(_plain_percent, answers)):
    equal = math_verify.verify(expected, said, float_rounding=places, timeout_seconds=None)
    if equal and not _differ(expected, said, places):
      return "right"
  readable = any(not isinstance(value, str) for value in answers)
  return "wrong" if readable or all(isinstance(value, str) for value in golds) else "unparsed"


def warm_up() -> list[tuple]:
  """Arguments of compare that fill the caches of its parsers."""
  texts = ("\\frac{1}{2}", "x^2+1", "\\sqrt{3}", "(1,2]", "\\{1,2\\}", "x=3", "12")
  return [(text, text, free, list(KINDS), PLACES) for text in texts for free in (False, True)]


@functools.lru_cache(maxsize=256)
def _parse(text: str, free: bool, kinds: tuple[str, ...]) -> list:
  import math_verify

  if not free and _is_split(text):
    return []
  if is_formula(text) or not (free or ANCHOR.search(text)):
    text = f"${EXPONENT.sub(BRACED, text)}$"
  configs = {
    LATEX: math_verify.LatexExtractionConfig(boxed_match_priority=50 if free else 0),
    EXPRESSION: math_verify.ExprExtractionConfig(),
  }
  return math_verify.parse(
    text,
    extraction_config=[configs[kind] for kind in kinds],
    extraction_mode="any_match" if free else "first_match",
    parsing_timeout=0,
  )


def _plain_percent(expr):
  """p% as p: read both ways, 10% would equal both 10 and 0.1."""
  import sympy

  hundredth = sympy.UnevaluatedExpr(sympy.Rational(1, 100))
  if isinstance(expr, sympy.Mul) and len(expr.args) == 2 and expr.args[1] == hundredth:
    return expr.args[0]
  return expr


def _differ(expected, said, places: int) -> bool:
  """What math-verify calls equal and is not.

  An ordered tuple is no set; and its numbers are rounded to absolute decimals, so that all tiny
  numbers are one to it (Math-Verify #14): here the difference counts relative to the value.
  """
  import sympy

  ordered = (sympy.Tuple, sympy.Interval)  # (1, 2) is read as either
  pairs = ((expected, said), (said, expected))
  if any(isinstance(a, ordered) and isinstance(b, sympy.FiniteSet) for a, b in pairs):
    return True
  if not all(isinstance(v, sympy.Expr) and v.is_number for v in (expected, said)):
    return False
  wanted, given = (value.evalf(places + 15) for value in (expected, said))
  return bool(abs(wanted - given) > 2 * abs(wanted) * sympy.Float(10) ** -places)
