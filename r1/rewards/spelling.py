"""Spellings that carry no meaning: full-width forms, mark-up around an answer, white space.

Unicode's own compatibility folding (NFKC) is not used: it turns 5² into 52 and ½ into 1⁄2, so a
wrong answer would be read as a right one.
"""

import re

LAYERS = 8  # wrappings peeled off one answer at most; real answers have one or two

# U+FF01..U+FF5E repeat ASCII at the width of a Han character; the rest is punctuation.
WIDTHS = {0xFEE0 + code: code for code in range(0x21, 0x7F)}
WIDTHS |= {0x3000: " ", 0x3002: ".", 0x3001: ",", 0x300C: '"', 0x300D: '"', 0x2212: "-"}
WIDTHS |= {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0xA0: " ", 0x3010: "[", 0x3011: "]"}

WRAPPERS = (
  ("**", "**"),
  ("__", "__"),
  ("$$", "$$"),
  ("$", "$"),
  ("\\(", "\\)"),
  ("\\[", "\\]"),
  ("\\boxed{", "}"),
  ("\\text{", "}"),
  ("\\textbf{", "}"),
  ("\\mathrm{", "}"),
  ("\\mathbf{", "}"),
  ('"', '"'),
  ("'", "'"),
  ("`", "`"),
  ("*", "*"),
)
SPACES = re.compile(r"\s+")


def half_width(text: str) -> str:
  """ASCII for full-width letters, digits and signs, and for the usual Chinese punctuation."""
  return text if text.isascii() else text.translate(WIDTHS)


def unwrap(text: str, wrappers=WRAPPERS) -> str:
  """The text inside pairs of quotes, mark-up or LaTeX that stand around all of it."""
  text = text.strip()
  for _ in range(LAYERS):
    inner = next((text[len(a) : -len(b)] for a, b in wrappers if _stands_around(a, b, text)), None)
    if inner is None:
      break
    text = inner.strip()
  return text


def bare(text: str, ends: str) -> str:
  """unwrap(), and without trailing characters of `ends`, in whatever order they come."""
  for _ in range(LAYERS):
    peeled = unwrap(text.rstrip().rstrip(ends))
    if peeled == text:
      break
    text = peeled
  return text


def _stands_around(left: str, right: str, text: str) -> bool:
  """True if one pair holds all of the text and holds something; not so in "$a$ or $b$"."""
  if len(text) <= len(left) + len(right) or not (text.startswith(left) and text.endswith(right)):
    return False
  inner = text[len(left) : len(text) - len(right)]
  if left == right:
    return left not in inner
  opening, closing = left[-1], right[-1]
  depth = 0
  for mark in re.finditer(f"[{re.escape(opening + closing)}]", inner):
    depth += 1 if mark[0] == opening else -1
    if depth < 0:
      return False
  return True


def squeeze(text: str) -> str:
  """One space for every run of white space, none at the ends."""
  return SPACES.sub(" ", text).strip()
