"""Short answers and logic puzzles: the same number, the same option or the same text.

Case, full-width forms, mark-up, outer punctuation and spacing do not count; everything else does.
"""

import fractions
import re

from r1.data import responses
from r1.rewards import choice, spelling, verdict
from r1.rewards.maths import extract, latex, numbers

LONGEST = 300  # characters that mark-up and phrases may add to an answer of no length

ARTICLE = re.compile(r"(?:the|an?) (?=\w)")
LEAD = re.compile(r"(?:(?:the )?(?:final )?answer(?: is|:)|答案[是为:]) *(?=\S)")
BESIDE_MARKS = re.compile(r" ?([,;:/()\[\]{}]) ?")
BESIDE_HAN = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff]) | (?=[\u3040-\u30ff\u3400-\u9fff])")
ENDS = " .,;:!?"


def normal(text: str) -> str:
  """The text as it is compared: "The  Answer is “Paris”。" gives "paris".

  Signs, and marks inside the text, stay: 1.5 is not 15, and -5 is not 5.
  """
  text = spelling.bare(spelling.squeeze(spelling.half_width(text).casefold()), ENDS)
  if lead := LEAD.match(text):
    text = spelling.bare(text[lead.end() :], ENDS)
  if "," not in text:
    text = spelling.unwrap(text, (("(", ")"),))
  text = BESIDE_HAN.sub("", BESIDE_MARKS.sub(r"\1", text))
  article = ARTICLE.match(text)
  return text[article.end() :] if article else text


def equal(gold: str, pred: str) -> bool:
  """True for the same exact number, or the same text where the gold answer is no number."""
  if len(pred) > LONGEST + 2 * len(gold):
    return False
  a, b = normal(gold), normal(pred)
  wanted, given = _number(a), _number(b)
  return bool(a) and (a == b if wanted is None else given == wanted)


def _number(text: str) -> fractions.Fraction | None:
  """The exact value of a number, whose per cent sign changes nothing."""
  found = numbers.read(latex.canonical(text).removesuffix("%"))
  return found and found.value


def reward(question, response: responses.Response, mode: str) -> verdict.Score:
  """1 if the marked answer equals the gold one, else 0; unparsed without a marked answer."""
  if not normal(question.answer or ""):
    return verdict.Score(0.0, "no_verdict")
  marked = extract.extract(response.text, mode)
  if marked is None:
    return verdict.Score(0.0, "unparsed")
  right = equal(question.answer, marked)
  return verdict.Score(1.0, "right") if right else verdict.Score(0.0, "wrong")


def logic(question, response: responses.Response, mode: str) -> verdict.Score:
  """A puzzle with options is a choice, any other a short answer (arXiv 2501.12948v2 B.3.1)."""
  grade = choice.reward if question.meta.get("choices") is not None else reward
  return grade(question, response, mode)
