"""The cold start's rewriter in miniature: a thought of R1-Zero made readable, by a rule.

arXiv 2501.12948v2 section B.3.2 has a language model rewrite right answers of R1-Zero: the thought
is put into the first person and into the question's language, and the summary is written from it
alone. Here a grammar reads the thought, and the lexicon of the world of sums says it again. The
rule is given the thought and never the right answer, so the summary can only say what the thought
came to. It does not restate the sum: a tiny model that copies one now and then doubles a number of
it, and then thinks about another sum.
"""

import dataclasses
import re

from r1.data.worlds import arithmetic

STEP, CHECK, SO = "step", "check", "so"
VALUE = "[0-9]{1,12}"
WORDS = {
  kind: "|".join(
    getattr(lexicon, name) for lexicon in arithmetic.LEXICON.values() for name in names
  )
  for kind, names in {STEP: ("first", "then"), CHECK: ("check",), SO: ("so",)}.items()
}
VERDICTS = "|".join(
  w for lexicon in arithmetic.LEXICON.values() for w in (lexicon.yes, lexicon.wait)
)
EQUATION = rf"(?P<sum>{VALUE} [-+] {VALUE}) = (?P<value>{VALUE})"
CLAUSES = {
  STEP: re.compile(rf"(?:{WORDS[STEP]})? ?{EQUATION}"),
  CHECK: re.compile(rf"(?:{WORDS[CHECK]}) ?{EQUATION} ?(?:{VERDICTS})"),
  SO: re.compile(rf"(?:{WORDS[SO]}) ?(?P<value>{VALUE})"),
}
CLAUSE_END = re.compile(r"[,，。\n]")


@dataclasses.dataclass(frozen=True)
class Clause:
  """kind: STEP, CHECK or SO. sum: "3 + 9", "" for SO. value: what it is said to be."""

  kind: str
  sum: str
  value: int


def rewrite(language: str, thought: str) -> str | None:
  """`<think>thought</think>summary` in the language; None where the rule cannot read the thought.

  Every step and check stays with its numbers. A check is said to agree where it finds what its
  step found, whatever was said: R1-Zero's yes and wait are not reliable. The summary's box holds
  the value that the thought concludes with.
  """
  lexicon = arithmetic.LEXICON.get(language)
  clauses = read(thought)
  if lexicon is None or clauses is None:
    return None
  said = [lexicon.start]
  step = clauses[0]
  for clause in clauses:
    if clause.kind == SO:
      said.append(f"{lexicon.so} {clause.value}")
    elif clause.kind == STEP:
      word = lexicon.first if clause is clauses[0] else lexicon.then
      said.append(f"{word} {clause.sum} = {clause.value}")
      step = clause
    else:
      verdict = lexicon.yes if clause.value == step.value else lexicon.wait
      said.append(f"{lexicon.check} {clause.sum} = {clause.value} {verdict}")
  whole = lexicon.comma.join(said)
  return f"<think>{whole}</think>{arithmetic.recap(clauses[-1].value, language)}"


def read(thought: str) -> list[Clause] | None:
  """The clauses of a thought in either language or both; None where one makes no sense.

  A thought begins with a step, a check repeats the sum of the step before it, and each further step
  goes on from the value before it. A conclusion stands once, at the end, and says that value.
  """
  clauses = [_clause(text.strip()) for text in CLAUSE_END.split(thought.strip()) if text.strip()]
  found = [clause for clause in clauses if clause is not None]
  if len(found) < len(clauses) or len(found) < 2 or found[0].kind != STEP:
    return None
  if [clause.kind for clause in found].count(SO) != 1 or found[-1].kind != SO:
    return None
  step, before = found[0], found[0]
  for clause in found[1:]:
    if clause.kind == STEP and clause.sum.split()[0] != str(before.value):
      return None
    step = clause if clause.kind == STEP else step
    if clause.kind == CHECK and clause.sum != step.sum:
      return None
    before = before if clause.kind == SO else clause
  return found if found[-1].value == before.value else None


def _clause(text: str) -> Clause | None:
  for kind, pattern in CLAUSES.items():
    if match := pattern.fullmatch(text):
      parts = match.groupdict()
      return Clause(kind, parts["sum"] if kind != SO else "", int(parts["value"]))
  return None
