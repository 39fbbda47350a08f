"""Accuracy reward for answers that are numbers, letters or short texts: exact equality only.

No text is evaluated: a number is read by regular expressions of bounded cost and compared as a
fraction, so towers of powers, factorials and endless digits cost nothing (Math-Verify #63).
"""

import collections
import fractions
import re

from r1.data import responses
from r1.rewards import form, verdict

LONGEST = 300  # characters; a longer answer is compared as text, never read as a number
TEXT_KINDS = ("short", "choice", "logic")

WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
NUMBER = re.compile(rf"([+-]?)(?:({WHOLE})(?:\.([0-9]*))?|\.([0-9]+))")
RATIO = re.compile(rf"([+-]?)(?:({WHOLE})/({WHOLE})|\\[dt]?frac\{{({WHOLE})\}}\{{({WHOLE})\}})")
ANYWHERE = re.compile(
  r"(?:(?<![0-9.)\]])[-−])?(?:[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
)
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}"))
SPELLINGS = (("−", "-"), ("{,}", ","), ("\\,", ","), ("\\!", ""), ("\\%", "%"), ("\\$", "$"))
AROUND_SIGNS = re.compile(r"\s*([-+/{}$%])\s*")


def extract(text: str, mode: str) -> str | None:
  """The final answer as written, or None; fails closed, linear in the text.

  Only text after the last </think> counts, and a thought that never ends has no answer. Mode
  answer_tag wants exactly one <answer></answer> there; boxed takes the last \\boxed{}, which
  must be closed: an earlier box never stands in for an unfinished one.
  """
  form.check_mode(mode)
  _, _, after = text.rpartition("</think>")
  if "<think>" in after:
    return None
  if mode == "boxed":
    return _last_box(after)
  if after.count("<answer>") != 1 or after.count("</answer>") != 1:
    return None
  inside, closed, _ = after.partition("<answer>")[2].partition("</answer>")
  return inside.strip() or None if closed else None


def _last_box(text: str) -> str | None:
  """The content of the last \\boxed{...} with balanced braces; None if it is missing or open."""
  start = text.rfind("\\boxed{")
  if start < 0:
    return None
  start, depth = start + len("\\boxed{"), 1
  for brace in BRACE.finditer(text, start):
    depth += {"{": 1, "}": -1}.get(brace[0], 0)
    if depth == 0:
      return text[start : brace.start()].strip() or None
  return None


def number(text: str) -> fractions.Fraction | None:
  """The exact value of an integer, decimal or fraction; None for anything else.

  Around it may stand $...$, \\(...\\), a box, spaces, a currency $, a final full stop and a per
  cent sign, which changes nothing: p% is p. Commas must group thousands. ASCII digits only.
  """
  if len(text) > LONGEST:
    return None
  text = _bare(text)
  if match := NUMBER.fullmatch(text):
    sign, whole, places, only_places = match.groups()
    places = places or only_places or ""
    digits = (whole or "0").replace(",", "") + places
    value = fractions.Fraction(int(digits), 10 ** len(places))
  elif match := RATIO.fullmatch(text):
    sign = match[1]
    above, below = (int(part.replace(",", "")) for part in match.groups()[1:] if part)
    if not below:
      return None
    value = fractions.Fraction(above, below)
  else:
    return None
  return -value if sign == "-" else value


def _bare(text: str) -> str:
  """The text without the wrappings that number() allows; "1 2" keeps its space and is no 12."""
  for spelling, plain in SPELLINGS:
    text = text.replace(spelling, plain)
  text = text.strip().rstrip(".。")
  for left, right in WRAPPERS:
    if text.startswith(left) and text.endswith(right) and len(text) >= len(left + right):
      text = text[len(left) : len(text) - len(right)].strip().rstrip(".。")
  text = AROUND_SIGNS.sub(r"\1", text).removesuffix("%")
  sign = text[:1] if text[:1] in ("+", "-") else ""
  return sign + text[len(sign) :].removeprefix("$")


def equal(gold: str, pred: str) -> bool:
  """True if both are the same text up to white space at the ends, or the same exact number."""
  if gold.strip() == pred.strip():
    return True
  value = number(gold)
  return value is not None and value == number(pred)


def same_text(gold: str, pred: str) -> bool:
  """Equality of short answers: case, outer white space and outer "()." do not count."""
  return gold.strip(" \t\r\n().").casefold() == pred.strip(" \t\r\n().").casefold()


def number_anywhere(text: str) -> str | None:
  """The last number of a text, format ignored: for evaluation beside the strict score only.

  As a training reward this accepts anything ("I think 42", Math-Verify's free-text fallback).
  """
  last = collections.deque(ANYWHERE.finditer(text), maxlen=1)
  return last[0][0] if last else None


def reward(question, response: responses.Response, mode: str) -> verdict.Score:
  """1 if the extracted answer equals the gold one, else 0 (arXiv 2501.12948 §2.2.2).

  Unparsed: no answer where the mode wants it, or no number where the gold answer is one. A
  missing gold answer, or for maths one that is no number, gives no_verdict and never 0 or 1.
  """
  gold = (question.answer or "").strip()
  textual = question.kind in TEXT_KINDS
  if not gold or not (textual or (question.kind == "maths" and number(gold) is not None)):
    return verdict.Score(0.0, "no_verdict")
  pred = extract(response.text, mode)
  if pred is None:
    return verdict.Score(0.0, "unparsed")
  if equal(gold, pred) or (textual and same_text(gold, pred)):
    return verdict.Score(1.0, "right")
  return verdict.Score(0.0, "wrong" if textual or number(pred) is not None else "unparsed")
