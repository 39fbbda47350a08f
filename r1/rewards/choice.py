"""Multiple choice: option letters A to J, read strictly for rewards, from prose for evaluations.

A reward reads the marked answer only, and a text that names two options names none. Questions:
`answer` is a letter, "(D) Alina", or the text of an option where meta["choices"] lists them.
"""

import re
from collections.abc import Sequence

from r1.data import responses
from r1.rewards import spelling, verdict
from r1.rewards.maths import extract

LETTERS = "ABCDEFGHIJ"
LONGEST = 300  # characters of a marked answer; a longer one is no answer to a choice

LEAD = re.compile(
  r"(?:(?:so|therefore|thus|hence|所以|因此|综上)[\s,:]*)?"
  r"(?:(?:the|my)\s+)?(?:(?:correct|right|best|final|正确|最终)的?\s*)?"
  r"(?:answer|option|choice|答案|选项|故选|应选|选择|选|答)"
  r"(?:\s+(?:is|choice)\b)?\s*(?:[是为]|:)?\s*(?:option\b|选项)?\s*",
  re.IGNORECASE,
)
# A letter with or without brackets, then nothing, or a mark or a space and the option's text.
LABEL = re.compile(
  r"(?:\(\s*([A-J])\s*\)|\[\s*([A-J])\s*\]|([A-J])(?=[\s.,:)]|$))(?:\s*[.,:)]+)?\s*(.*)",
  re.DOTALL,
)
ALONE = re.compile(r"[(\[]?\s*([A-Ja-j])\s*[)\]]?\s*\.?")
# A second option in what follows the letter, unless it is the pronoun I, or an article: a lone
# "a" that does not end the text.
OTHER = re.compile(
  r"(?<![A-Za-z0-9'\\])(?!I\s+[a-z])(?:([A-Jb-j])(?![A-Za-z0-9']|\.[A-Za-z])|(a)\W*$)"
)


def letter(text: str, choices: Sequence[str] = ()) -> str | None:
  """The one option that a marked answer names, or None; fails closed.

  "D", "(d)", "D. Alina", "答案是D", or an option's text alone. With choices, what follows a
  letter must be its own text, and a letter beyond the last option is none.
  """
  if len(text) > LONGEST + 2 * max(map(len, choices), default=0):
    return None
  known = LETTERS[: len(choices)] if choices else LETTERS
  text = spelling.bare(spelling.half_width(text), " .")
  if named := _by_text(text, choices):
    return named
  if lead := LEAD.match(text):
    text = spelling.bare(text[lead.end() :], " .")
  if lone := ALONE.fullmatch(text):
    return _among(lone[1].upper(), known)
  label = LABEL.fullmatch(text)
  if label is None:
    return None
  named, rest = _among(by_label(label), known), spelling.unwrap(label[4])
  if named and rest and choices and _own_text(choices[known.index(named)], named) != _plain(rest):
    return None
  if not choices and {(m[1] or m[2]).upper() for m in OTHER.finditer(rest)} - {named}:
    return None
  return named


def by_label(label: re.Match) -> str:
  """The letter of a match of LABEL."""
  return label[1] or label[2] or label[3]


def _among(named: str, known: str) -> str | None:
  return named if named in known else None


def _by_text(text: str, choices: Sequence[str]) -> str | None:
  """The only option with this text. A text that could be a letter is left to the letters."""
  wanted = _plain(text)
  found = [named for named, choice in zip(LETTERS, choices) if _own_text(choice, named) == wanted]
  return found[0] if len(found) == 1 and not ALONE.fullmatch(text) else None


def _own_text(choice: str, named: str) -> str:
  """The option's text without its own label, which some data sets write before it."""
  choice = spelling.half_width(choice).strip()
  return _plain(re.sub(rf"^(?:\({named}\)|{named}[.):,])", "", choice))


def _plain(text: str) -> str:
  return spelling.squeeze(spelling.bare(spelling.half_width(text), " .")).casefold()


def gold(question) -> str | None:
  """The letter of the right option, or None where the question names none that it has."""
  choices, answer = options(question), question.answer or ""
  if choices is None:
    return None
  named, label = letter(answer, choices), LABEL.match(spelling.half_width(answer).strip())
  return named or (by_label(label) if label and not choices else None)


def options(question) -> tuple[str, ...] | None:
  """Texts of the options, () where the question lists none, None for no list of 2 to 10 texts."""
  choices = question.meta.get("choices")
  if choices is None:
    return ()
  texts = isinstance(choices, (list, tuple)) and all(isinstance(c, str) for c in choices)
  return tuple(choices) if texts and 2 <= len(choices) <= len(LETTERS) else None


def reward(question, response: responses.Response, mode: str) -> verdict.Score:
  """1 if the marked answer names the right option and no other (arXiv 2501.12948v2 B.3.1).

  Unparsed: no answer where the mode wants it, or one that does not name exactly one option.
  """
  wanted = gold(question)
  if wanted is None:
    return verdict.Score(0.0, "no_verdict")
  marked = extract.extract(response.text, mode)
  if marked is None:
    return verdict.Score(0.0, "unparsed")
  same_text = _plain(marked) == _plain(question.answer)
  named = wanted if same_text else letter(marked, options(question) or ())
  if named is None:
    return verdict.Score(0.0, "unparsed")
  return verdict.Score(1.0, "right") if named == wanted else verdict.Score(0.0, "wrong")
