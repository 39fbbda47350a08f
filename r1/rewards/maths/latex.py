"""One spelling for answers that are written in many ways: no parsing, no evaluation.

Each rule changes only how an answer is written. What may change its meaning (a percentage, a
unit) is kept apart for the comparison to weigh.
"""

import re

WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
BOXES = ("\\boxed{", "\\fbox{")
CONTROL = re.compile(r"<\|[^<>|\s]{1,40}\|>")  # marks of chat formats that ran into the text
SPELLINGS = tuple(
  (re.compile(pattern), plain)
  for pattern, plain in (
    (r"[−–]", "-"),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:left|right|bigl?|bigr?|Bigl?|Bigr?)(?=[^A-Za-z]|\\[{}|a-z])", ""),
    (r"\\!", ""),
    (r"\{,\}", ","),
    (r"\\(?:[,;: ]|q?quad(?![A-Za-z]))|~|[\u00a0\u2009\u202f\u3000]", " "),
    (r"\\le(?:q|qslant)?(?![A-Za-z])|≤", r"\\leq"),
    (r"\\ge(?:q|qslant)?(?![A-Za-z])|≥", r"\\geq"),
    (r"\\ne(?:q)?(?![A-Za-z])|≠|!=", r"\\neq"),
    (r"\\lt(?![A-Za-z])", "<"),
    (r"\\gt(?![A-Za-z])", ">"),
    (r"\\frac\s*([0-9])\s*([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
    (r"\\frac\{([^{}]*)\}\s*([0-9])(?![0-9])", r"\\frac{\1}{\2}"),
    (r"\\frac\s*([0-9])\s*\{", r"\\frac{\1}{"),
    (r"\\sqrt\s*([0-9])(?![0-9])", r"\\sqrt{\1}"),
    (r"\^\s*\{\s*([0-9])\s*\}", r"^\1"),
    (r"_\s*\{\s*([0-9]+|[A-Za-z])\s*\}", r"_\1"),
    (r"\\(?:mathrm|text|textrm)\s*\{([a-zA-Z])\}", r"\1"),
    (r"\\%", "%"),
    (r"\\\$", "$"),
    (r"(?<![0-9])\.(?=[0-9])", "0."),
    (r"(\\[A-Za-z]+)\s+(?=[^A-Za-z\s])", r"\1"),
  )
)
INTEGER = re.compile(r"-?[0-9]+")
SPACE = re.compile(r"\s+")
# A space parts two words or two numbers; next to anything else it says nothing.
IDLE_SPACE = re.compile(r" (?![0-9A-Za-z])|(?<![0-9A-Za-z]) |(?<=[0-9]) (?=[A-Za-z])")
WHOLE_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|textit|mathbf)\{([^{}\\]*)\}")


def canonical(text: str) -> str:
  """The text in one spelling; equal results mean the same answer, unequal ones prove nothing."""
  if INTEGER.fullmatch(text):
    return text
  text = _unwrapped(CONTROL.sub("", text))
  for pattern, plain in SPELLINGS:
    text = pattern.sub(plain, text)
  text = _unwrapped(IDLE_SPACE.sub("", SPACE.sub(" ", text)))
  if whole := WHOLE_TEXT.fullmatch(text):
    text = whole[1].strip()
  # Case tells variables apart (x, X), but not words.
  return text.casefold() if len(text) > 1 and text.replace(" ", "").isalpha() else text


def _unwrapped(text: str) -> str:
  """Without the dollars, brackets and boxes around the whole, and what ends a sentence."""
  before = None
  while text != before:
    before, text = text, text.strip().rstrip(".。").rstrip()
    text = text[:-1] if text.endswith("\\") and not text.endswith("\\\\") else text
    for left, right in WRAPPERS:
      inner = text[len(left) : len(text) - len(right)]
      if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
        text = inner if left.strip("\\") not in inner else text
    for left in BOXES:
      if text.startswith(left) and text.endswith("}") and _one_group(text[len(left) - 1 :]):
        text = text[len(left) : -1]
  return text


def _one_group(text: str) -> bool:
  """Does the brace that opens the text close at its very end?"""
  depth = 0
  for at, char in enumerate(text):
    depth += {"{": 1, "}": -1}.get(char, 0)
    if depth == 0:
      return at == len(text) - 1
  return False
