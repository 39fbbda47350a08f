"""Programs are graded by what they do, all at once, and our faults are never theirs."""

import dataclasses

import pytest

from r1.data import questions, responses
from r1.rewards.code import grade
from r1.rewards.sandbox import program

STDIO = ({"input": "2 3\n", "output": "5\n"}, {"input": "1 1\n", "output": "2\n"})
CALLS = ({"input": [2, 3], "output": 5}, {"input": [1, 1], "output": 2})
ASSERTS = ({"assert": "assert add(2, 3) == 5"}, {"assert": "assert add(1, 1) == 2"})


def question(tests=STDIO, id="q", **meta):
  return questions.Question(id=id, prompt="?", kind="code", tests=tests, meta=meta)


def response(code, tag="python"):
  text = f"<think>so</think>It is\n```{tag}\n{code}\n```"
  return responses.Response(text=text, tokens=1, truncated=False)


def graded(box, cfg, *pairs):
  return [(g.score.verdict, g.score.value) for g in grade.grade(pairs, cfg, box.run)]


READ = "a, b = map(int, input().split())\n"
ADD = "def add(a, b): return a + b"
CPP = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a %s b; }"


def test_one_batch_of_everything(box, whole):
  calls, asserts = question(CALLS, fn_name="add"), question(ASSERTS)
  cpp = question(language="cpp")
  assert graded(
    box,
    whole,
    (question(), response(f"{READ}print(a + b)")),
    (question(), response(f"{READ}print(a * b)")),
    (question(), response(f"{READ}print(5)")),
    (question(), response("def f(:")),
    (question(), response(f"{READ}1 / 0")),
    (question(), response("no code", tag="text")),
    (calls, response(ADD)),
    (calls, response("class Solution:\n  def add(self, a, b): return a + b")),
    (calls, response("def add(a, b): return a - b")),
    (calls, response("def add(a, b) return")),
    (asserts, response(ADD)),
    (asserts, response("def add(a, b): return 5")),
    (asserts, response("def add(a, b): raise ValueError")),
    (cpp, response(CPP % "+", "cpp")),
    (cpp, response(CPP % "-", "cpp")),
    (cpp, response("int main() {", "cpp")),
    (cpp, response("#include <cstdlib>\nint main() { exit(0); }", "cpp")),
    (cpp, response(f"{READ}print(a + b)")),
  ) == [
    *[("right", 1.0), ("wrong", 0.0), ("wrong", 0.0), ("crashed", 0.0), ("wrong", 0.0)],
    ("unparsed", 0.0),
    *[("right", 1.0), ("right", 1.0), ("wrong", 0.0), ("crashed", 0.0)],
    *[("right", 1.0), ("wrong", 0.0), ("wrong", 0.0)],
    *[("right", 1.0), ("wrong", 0.0), ("crashed", 0.0), ("wrong", 0.0), ("unparsed", 0.0)],
  ]


def test_a_limit_that_is_hit_twice_is_a_timeout(box, whole):
  short = {"limits": {"wall_s": 0.4}}
  assert (
    graded(
      box,
      whole,
      (question(**short), response("while True: pass")),
      (question(CALLS, fn_name="add", **short), response("def add(a, b):\n  while True: pass")),
      (question(ASSERTS, **short), response("import time\ntime.sleep(9)")),
    )
    == [("timeout", 0.0)] * 3
  )


def test_the_share_of_the_tests_is_an_option(box, fraction):
  calls, asserts = question(CALLS, fn_name="add"), question(ASSERTS)
  assert graded(
    box,
    fraction,
    (question(), response("print(5)")),
    (question(), response(f"{READ}print(a + b)")),
    (calls, response("def add(a, b): return 2")),
    (calls, response("import os\ndef add(a, b): return 2 if a == 1 else os._exit(0)")),
    (asserts, response("def add(a, b): return 5")),
  ) == [("wrong", 0.5), ("right", 1.0), ("wrong", 0.5), ("wrong", 0.5), ("wrong", 0.5)]


def test_a_test_that_failed_decides_while_another_is_open(box, whole):
  """The first of these tests needs a second pass, which the failure of the second one spares."""
  open_still = {"assert": "assert add(add(1, 1), 1) == 3"}
  tests = question((open_still, {"assert": "assert add(1, 1) == 2"}))
  assert graded(box, whole, (tests, response("def add(a, b): return 5"))) == [("wrong", 0.0)]


def lost(programs):
  """A sandbox that loses every run."""
  return [program.Result(build=None, runs=(program.lost("?"),) * len(p.stdins)) for p in programs]


@pytest.mark.parametrize("tests", [STDIO, CALLS, ASSERTS])
@pytest.mark.parametrize("credit", grade.CREDITS)
def test_a_sandbox_that_loses_runs_gives_no_verdict(whole, tests, credit):
  cfg = dataclasses.replace(whole, credit=credit)
  (said,) = grade.grade([(question(tests, fn_name="add"), response(ADD))], cfg, lost)
  assert (said.score.verdict, said.score.value) == ("no_verdict", 0.0)
  assert said.note


def test_what_a_response_lacks_needs_no_sandbox(whole):
  (said,) = grade.grade([(question(), response("x", "text"))], whole, lost)
  assert said.score.verdict == "unparsed"


def test_equal_tests_are_planned_once(box, whole):
  judges = []

  def run(programs):
    judges.extend(p for p in programs if "judge.main" in p.code and b'"answers": []' in p.stdins[0])
    return box.run(programs)

  pairs = [(question(ASSERTS), response(ADD))] * 3
  assert {g.score.verdict for g in grade.grade(pairs, whole, run)} == {"right"}
  assert len(judges) == 1


def test_faults_of_tests_are_found_before_anything_is_sampled(box):
  faulty = [
    question((), id="none"),
    question(({"assert": "assert f(lambda: 1)"},), id="foreign"),
    question(({"assert": "assert 1 == 1"},), id="empty"),
    question(({"assert": "import no_such_module\nassert f(1)"},), id="import"),
  ]
  found = grade.faults([question(), question(ASSERTS, id="good"), *faulty], box.run)
  assert set(found) == {"none", "foreign", "empty", "import"}
  assert "kept apart" in found["foreign"]
  assert "test 1 passed without the code" in found["empty"]
  assert "ModuleNotFoundError" in found["import"]


def test_tests_that_need_an_object_of_their_own_give_no_verdict(box, whole):
  tests = ({"assert": "class A: pass\nassert f(A())"},)
  (said,) = grade.grade([(question(tests), response("def f(x): return 1"))], whole, box.run)
  assert said.score.verdict == "no_verdict"
  assert "kept apart" in said.note


def test_unknown_credit_is_refused(whole):
  with pytest.raises(ValueError, match="credit 'half' given; use one of all, fraction"):
    dataclasses.replace(whole, credit="half")
