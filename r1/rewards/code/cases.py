"""The tests of a code question: what they may look like, read and checked in one place.

| an item of Question.tests | what passes |
| --- | --- |
| {"input": str, "output": str} | a program that reads the input and prints the output |
| {"input": [args], "output": value} | a function that returns the value; meta["fn_name"] names it |
| {"assert": str} | Python code that uses the functions under test and raises nothing |

One question has tests of one kind. A test may carry "fn_name" itself. A function is looked for
among the globals, then in LeetCode's class Solution. Optional in Question.meta: "language",
"python" if not given, and "cpp" takes tests of the first kind only; "limits", an object with
fields of program.Limits that this question needs otherwise; "prelude", true where solutions may
use the common names of the standard library without an import (always so for functions).
"""

import ast
import dataclasses

from r1.rewards.sandbox import program

INF = float("inf")
LANGUAGES = ("python", "cpp")
STDIO, CALL, ASSERT = "stdio", "call", "assert"
SHAPES = {STDIO: {"input", "output"}, CALL: {"input", "output", "fn_name"}, ASSERT: {"assert"}}


@dataclasses.dataclass(frozen=True)
class Suite:
  """The checked tests of one question, in order."""

  language: str
  kind: str  # STDIO, CALL or ASSERT
  tests: tuple[dict, ...]  # with the keys of SHAPES[kind]
  limits: dict[str, float]  # fields of program.Limits that differ
  prelude: bool


def read(question) -> Suite:
  """The suite of a question; ValueError says which test is wrong and what it should be."""
  language = question.meta.get("language", "python")
  if language not in LANGUAGES:
    raise ValueError(f"language {language!r} given; use one of {', '.join(LANGUAGES)}")
  if not question.tests:
    raise ValueError("no tests given; give at least one")
  tests = [_checked(i, test, question.meta) for i, test in enumerate(question.tests, 1)]
  kinds = {kind for kind, _ in tests}
  if len(kinds) > 1:
    raise ValueError(f"tests of the kinds {', '.join(sorted(kinds))} given; use one kind")
  (kind,) = kinds
  if language != "python" and kind != STDIO:
    raise ValueError(f"tests of kind {kind} for {language} given; it takes input and output texts")
  if kind == STDIO and not any(test["output"].strip() for _, test in tests):
    raise ValueError("every output is blank; give a test whose program must print something")
  limits = question.meta.get("limits", {})
  if unknown := set(limits) - {field.name for field in dataclasses.fields(program.Limits)}:
    raise ValueError(f"limits {sorted(unknown)} given; use fields of program.Limits")
  if odd := {k: v for k, v in limits.items() if type(v) not in (int, float) or not 0 < v < INF}:
    raise ValueError(f"limits {odd} given; use finite numbers above 0")
  prelude = kind == CALL or bool(question.meta.get("prelude", False))
  return Suite(language, kind, tuple(test for _, test in tests), limits, prelude)


def _checked(number: int, test: dict, meta: dict) -> tuple[str, dict]:
  """(kind, test); fn_name is filled in from the question."""
  if not isinstance(test, dict):
    raise ValueError(f"test {number} is a {type(test).__name__}, wanted an object")
  kind = ASSERT if "assert" in test else CALL if isinstance(test.get("input"), list) else STDIO
  if kind == CALL and "fn_name" in meta:
    test = {"fn_name": meta["fn_name"]} | test
  if set(test) != SHAPES[kind]:
    raise ValueError(
      f"test {number} has the keys {sorted(test)}, wanted {sorted(SHAPES[kind])} for kind {kind}"
    )
  texts = {STDIO: ("input", "output"), CALL: ("fn_name",), ASSERT: ("assert",)}[kind]
  for key in texts:
    if not isinstance(test[key], str):
      raise ValueError(f"test {number}: {key} is {test[key]!r:.80}, wanted a text")
    if any("\ud800" <= c <= "\udfff" for c in test[key]):
      raise ValueError(f"test {number}: {key} holds half of a character, which no program can read")
  if kind == ASSERT:
    _check_text(number, test["assert"])
  return kind, test


def _check_text(number: int, text: str) -> None:
  """A text that cannot fail would pass every answer."""
  try:
    tree = ast.parse(text)
  except SyntaxError as error:
    raise ValueError(f"test {number} is no Python: {error}") from error
  if not any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(tree)):
    raise ValueError(f"test {number} asserts nothing; write at least one assert")
