"""How a policy thinks: checking, catching its own slips, mixing languages, reflecting.

Checking is read from the written equations, never counted from keywords: a policy that learns to
say "wait" without redoing the step gains nothing here. The grammar is the one of the small world
of arithmetic: "first 3 + 9 = 12, check 3 + 9 = 12 yes, then 12 - 4 = 8, so 8", or in Chinese
"先 3 + 9 = 12，检查 3 + 9 = 12 对，然后 12 - 4 = 8，所以 8", freely mixed clause by clause.
"""

import dataclasses
import re
from collections.abc import Sequence

from r1.rewards import form, language

NUMERAL = r"([-−]?[0-9]{1,12})"
EQUATION = re.compile(rf"[^0-9=]*?{NUMERAL}\s*([-+−])\s*{NUMERAL}\s*=\s*{NUMERAL}[^0-9=]*")
CONCLUSION = re.compile(rf"\s*(?:so|所以)\s*{NUMERAL}[^0-9=]*")
CLAUSE_END = re.compile(r"[,，。;；\n]")
CHECK = re.compile(r"(?<![A-Za-z])check(?![A-Za-z])|检查")
WAIT = re.compile(r"(?<![A-Za-z])wait(?![A-Za-z])|等等")

# The fixed list of arXiv 2501.12948v2 C.2, and Chinese words of the same meaning.
REFLECTIVE = re.compile(
  r"(?<![A-Za-z])(?:wait|mistake|however|but|retry|error|verify|wrong|evaluate|check)(?![A-Za-z])"
  "|等等|等一下|检查|验证|错误|不对|但是|然而|重新",
  re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
  """Counts over one thought; a step is a first pass with the checks and repeats that follow it."""

  steps: int
  wrong: int  # steps whose first pass is wrong
  checked: int  # steps with at least one check
  wrong_checked: int  # steps with both
  caught: int  # of these, the next clause carries the right value on
  announced: int  # of these, a check says wait
  false_alarms: int  # right first pass, and its first check says wait
  checks: int  # checks in all, several to a step included


@dataclasses.dataclass(frozen=True)
class Clause:
  """One clause of a thought: an equation, or the value the thought concludes with."""

  first: int  # the number it starts from: what the previous step handed on
  equation: tuple[int, str, int] | None
  stated: int
  check: bool
  wait: bool


def audit(thought: str) -> Audit:
  """What the written equations of a thought show; all zero for a text without any."""
  steps = list(_steps([_clause(text) for text in CLAUSE_END.split(thought)]))
  wrong = [step for step in steps if not step.right]
  caught = [step for step in wrong if step.checks and step.carried]
  return Audit(
    steps=len(steps),
    wrong=len(wrong),
    checked=sum(bool(step.checks) for step in steps),
    wrong_checked=sum(bool(step.checks) for step in wrong),
    caught=len(caught),
    announced=sum(any(check.wait for check in step.checks) for step in caught),
    false_alarms=sum(step.right and bool(step.checks) and step.checks[0].wait for step in steps),
    checks=sum(len(step.checks) for step in steps),
  )


@dataclasses.dataclass(frozen=True)
class Step:
  right: bool  # the first pass states the true value
  checks: list[Clause]
  carried: bool  # the clause after the step starts from the true value


def _clause(text: str) -> Clause | None:
  check, wait = bool(CHECK.search(text)), bool(WAIT.search(text))
  if match := EQUATION.fullmatch(text):
    left, right, stated = (_integer(match[i]) for i in (1, 3, 4))
    sign = "+" if match[2] == "+" else "-"
    return Clause(left, (left, sign, right), stated, check, wait)
  if match := CONCLUSION.fullmatch(text):
    return Clause(_integer(match[1]), None, _integer(match[1]), check, wait)
  return None


def _integer(numeral: str) -> int:
  return int(numeral.replace("−", "-"))


def _steps(clauses: Sequence[Clause | None]):
  """Yields the steps in order: an equation that is no check, then its checks and repeats."""
  at = 0
  while at < len(clauses):
    start, at = clauses[at], at + 1
    if start is None or start.equation is None or start.check:
      continue
    checks = []
    while at < len(clauses) and (again := clauses[at]) and again.equation == start.equation:
      checks += [again] if again.check else []
      at += 1
    left, sign, right = start.equation
    value = left + right if sign == "+" else left - right
    after = clauses[at] if at < len(clauses) else None
    yield Step(start.stated == value, checks, after is not None and after.first == value)


def reflections(text: str) -> int:
  """How often a text uses a word of REFLECTIVE (arXiv 2501.12948v2 C.2)."""
  return len(REFLECTIVE.findall(text))


def summary(texts: Sequence[str], languages: Sequence[str]) -> dict[str, float]:
  """think/* and response/reflection over whole responses, each with the language it was asked in.

  Shares of thoughts: checked (at least one check), mixed. Mean over thoughts in a known
  language: consistency. Of the
  wrong steps: caught (checked, right value carried on). Of the caught: announced. Of the
  right steps that were checked: false_alarm. A share of nothing is left out.
  """
  parsed = [(form.thought(text), asked) for text, asked in zip(texts, languages)]
  parsed = [(thought, asked) for thought, asked in parsed if thought is not None]
  thoughts = [thought for thought, _ in parsed]
  scripts = language.SCRIPT_OF
  shares = [language.share_of(t, scripts[asked]) for t, asked in parsed if asked in scripts]
  audits = [audit(thought) for thought in thoughts]
  count = {
    field.name: sum(getattr(a, field.name) for a in audits) for field in dataclasses.fields(Audit)
  }
  fractions = {
    "think/checked": (sum(a.checked > 0 for a in audits), len(thoughts)),
    "think/caught": (count["caught"], count["wrong"]),
    "think/announced": (count["announced"], count["caught"]),
    "think/false_alarm": (count["false_alarms"], count["checked"] - count["wrong_checked"]),
    "think/mixed": (sum(map(language.mixed, thoughts)), len(thoughts)),
    "think/consistency": (sum(shares), len(shares)),
    "response/reflection": (sum(map(reflections, texts)), len(texts)),
  }
  return {name: part / whole for name, (part, whole) in fractions.items() if whole}
