"""Rows of many projects come to one form, and those that do not fit together are found."""

import re

import pytest

from r1.evals.audit import code_rows

FENCED = "So:\n```python\ndef f(x): return x\n```\n"
PROMPT = "def f(x: int) -> int:\n  '''Doubles x.'''\n"


@pytest.mark.parametrize(
  ("row", "language"),
  [
    ({"language": "cpp"}, "cpp"),
    ({"language": "python", "data": {"language": "rs"}}, "rs"),
    ({"language": "python", "data": {"language": "sh"}}, "bash"),
    ({"language": "python", "data": {"labels": '{"programming_language": "go"}'}}, "go"),
    ({"language": "python", "data": {"labels": {"programming_language": "cpp"}}}, "cpp"),
  ],
)
def test_the_language_may_hide_in_the_data(row, language):
  assert code_rows.language(row) == language


def test_the_program_is_given_or_fenced_or_a_body():
  python = {"language": "python"}
  assert code_rows.code(python | {"code": "x"}) == "x"
  assert code_rows.code(python | {"completion": FENCED}) == "def f(x): return x\n"
  assert code_rows.code(python | {"completion": "none"}) is None
  body = python | {"prompt": PROMPT, "completion": "  return 2 * x\n\n\ndef random"}
  assert code_rows.code(body) == f"{PROMPT}  return 2 * x\n\n"
  assert code_rows.code(python | {"prompt": PROMPT, "completion": "```python\ncut"}) is None


@pytest.mark.parametrize(
  ("given", "tests"),
  [
    ([{"input": "1", "output": "2"}], ({"input": "1", "output": "2"},)),
    (
      [{"input": {"stdin": "1"}, "output": {"stdout": "2"}}],
      ({"input": "1", "output": "2"},),
    ),
    ({"inputs": ["1", "3"], "outputs": ["2"]}, ({"input": "1", "output": "2"},)),
    (
      {"inputs": ["[1]\n2"], "outputs": ["3"], "fn_name": "f"},
      ({"input": [[1], 2], "output": 3, "fn_name": "f"},),
    ),
    (
      [{"input": "5", "output": "true", "metadata": {"func_name": "f"}}],
      ({"input": [5], "output": True, "fn_name": "f"},),
    ),
    (["assert f(1)"], ({"assert": "assert f(1)"},)),
    ({"functional": "assert f(1)"}, ({"assert": "assert f(1)"},)),
    (
      "def test_a():\n  assert f(1)",
      ({"assert": "def test_a():\n  assert f(1)\ntest_a()"},),
    ),
    (
      "def check(candidate):\n  assert candidate(1)",
      ({"assert": "def check(candidate):\n  assert candidate(1)\ncheck(f)"},),
    ),
  ],
)
def test_tests_come_in_many_layouts(given, tests):
  row = {"language": "python", "completion": FENCED, "tests": given}
  assert code_rows.tests(row) == tests


def test_imports_and_packages():
  source = "import os.path, numpy as np\nfrom json import loads\nfrom . import x\nimport pandas"
  assert code_rows.imports(source) == {"os", "numpy", "json", "pandas"}
  assert code_rows.packages(source) == ["numpy", "pandas"]
  assert code_rows.packages("def f(:") == []


TESTS = "def check(candidate):\n  assert candidate(1) == 2"


@pytest.mark.parametrize(
  ("prompt", "completion", "tests", "reason"),
  [
    (PROMPT, "  return 2 * x", TESTS, ""),
    (PROMPT, "```python\ndef f(x): return 2 * x\n```", TESTS, ""),
    (PROMPT, "```python\ndef g(x): return 2 * x\n```", TESTS, r"asks for f, defines \['g'\]"),
    (PROMPT, "  return 2 * other", TESTS, r"uses \['other'\], which the prompt lacks"),
    (PROMPT, "  return 2 * x", TESTS.replace("1)", "1.5)"), "hand floats to f, which takes ints"),
    ("def f(x: float):\n", "  return 2 * x", TESTS.replace("1)", "1.5)"), ""),
    ("def f(x):\n", "  return max(x, len(str(x)))", TESTS, ""),
  ],
)
def test_prompt_completion_and_tests_must_be_of_one_problem(prompt, completion, tests, reason):
  row = {"language": "python", "prompt": prompt, "completion": completion, "tests": tests}
  found = code_rows.mispaired(row)
  assert re.search(reason, found)
  assert bool(found) == bool(reason)
