"""Recorded programs of other projects come out as recorded, by rules that look at the row alone."""

import collections
import gzip
import json
import shutil

import pytest

from r1.evals.audit import code
from r1.rewards.sandbox import lanes


@pytest.fixture(scope="module")
def box():
  if shutil.which("bwrap") is None:
    pytest.skip("bubblewrap is not installed: nothing to isolate programs with")
  with lanes.open(2) as opened:
    yield opened


def exec_row(kind="assert_each", language="python", **fields):
  return {"id": "row", "kind": kind, "language": language} | fields


ADD = "def add(a, b): return a + b"


@pytest.mark.parametrize(
  ("row", "outcome"),
  [
    (exec_row(code=ADD, tests=["assert add(1, 2) == 3"], passed=[1]), "agree"),
    (exec_row(code=ADD, tests=["assert add(1, 2) == 3"], passed=[0]), "false_pos"),
    (exec_row(code=ADD, tests=["assert add(1, 2) == 4"], passed=[1]), "false_neg"),
    (exec_row(code=ADD, tests=["assert add(1, 2) == 3", "assert add(1, 2)"], passed=[0, 1]),
     "false_pos"),
    (exec_row(code=f"import os\n{ADD}", tests=["assert add(1, 2) == 3"], passed=[0]), "policy"),
    (exec_row(code="import no_such_package", tests=["assert True"], passed=[1]), "skipped"),
    (exec_row("assert_passrate", code=ADD, tests=["assert add(1, 2) == 3"] * 3, n_pass=3), "agree"),
    (exec_row("assert_passrate", code="# prose", tests=["assert add(1, 2)"], n_pass=0), "agree"),
    (exec_row("early_exit", code="import sys\nsys.exit(0)", accepted=False), "agree"),
    (exec_row("early_exit", code="x = 1", accepted=True), "agree"),
    (exec_row("early_exit", "cpp", code="int main() {}", accepted=True), "agree"),
    (
      exec_row(
        "early_exit", "cpp", code="#include <cstdlib>\nint main() { exit(0); }", accepted=False
      ),
      "agree",
    ),
    (exec_row("script", "java", code=""), "skipped"),
    (
      exec_row(
        "script",
        code="print(open('a/b').read(), end=input())",
        stdin="!",
        files={"a/b": "Nw=="},
        expect=[["status", "==", "RunStatus.Success"], ["run_result.stdout", "==", "7!"]],
      ),
      "agree",
    ),
    (exec_row("script", code="1/0", expect=[["status", "==", "RunStatus.Success"]]), "false_neg"),
    (exec_row("script", code="1", expect=[["status", "==", "RunStatus.Failed"]]), "false_pos"),
    (
      exec_row(
        "script",
        code="import time; time.sleep(5)",
        run_timeout=0.3,
        expect=[["run_result.status", "==", "CommandRunStatus.TimeLimitExceeded"]],
      ),
      "agree",
    ),
    (
      exec_row(
        "script", code="open('/etc/x', 'w')", expect=[["status", "==", "RunStatus.Success"]]
      ),
      "policy",
    ),
    (
      exec_row(
        "script",
        "cpp",
        code="int main() { return }",
        expect=[["compile_result.return_code", "!=", "0"], ["status", "==", "RunStatus.Failed"]],
      ),
      "agree",
    ),
    (
      exec_row(
        "stdio_score",
        code="print(1)",
        tests={"inputs": [""] * 11, "outputs": ["1"] * 9 + ["2"] * 2},
        score=0.9,
      ),
      "policy",
    ),
    (
      exec_row("stdio_score", code="print(1)", tests={"inputs": ["", ""], "outputs": ["1", "2"]},
               score=0.5),
      "agree",
    ),
    (
      exec_row(
        "stdio", completion="```python\nprint(1)\n```", tests=[{"input": "", "output": "1"}],
        accepted=True,
      ),
      "agree",
    ),
  ],
)  # fmt: skip
def test_the_ruling_of_a_row(box, row, outcome):
  ruling = code.judge(row, box)
  assert (ruling.outcome, ruling.mode) == (outcome, row["kind"]), ruling.note
  assert ruling.note or outcome == "agree"


def test_the_recorded_programs(box, test_data):
  """Every Python row that can be run here, and every program that leaves early."""
  with gzip.open(test_data / "graders" / "code_exec.jsonl.gz", "rt") as file:
    rows = [json.loads(line) for line in file]
  rulings = [(row, code.judge(row, box)) for row in rows]
  wrong = [(row["id"], r.note) for row, r in rulings if r.outcome in ("false_pos", "false_neg")]
  assert wrong == []
  counts = collections.Counter(r.outcome for row, r in rulings if row["language"] == "python")
  assert counts["agree"] >= 0.95 * (counts["agree"] + counts["policy"])
  assert {r.outcome for row, r in rulings if row["kind"] == "early_exit"} == {"agree"}


def extract_row(completion, out, **args):
  return {"args": {"completion": completion} | args, "out": [out, "fenced"]}


@pytest.mark.parametrize(
  ("row", "outcome"),
  [
    (extract_row("a\n```python\nx = 1\n```", "x = 1"), "agree"),
    (extract_row("```go\nf()\n```", "f()", language="go"), "agree"),
    (extract_row("```python\nx = 1\nassert x\n```", "x = 1"), "policy"),  # trimmed there
    (extract_row("```python\nx = 1\n```", "y = 1"), "false_pos"),
    (extract_row("x = 1", "x = 1"), "false_neg"),
  ],
)
def test_the_ruling_of_an_extraction(row, outcome):
  assert code.judge_extract(row).outcome == outcome


def test_the_recorded_extractions(test_data):
  with open(test_data / "graders" / "code_extract.jsonl") as file:
    rulings = [code.judge_extract(json.loads(line)) for line in file]
  assert {ruling.outcome for ruling in rulings} <= {"agree", "policy"}
