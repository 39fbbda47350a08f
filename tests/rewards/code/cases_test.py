"""Tests are read in one form, and one that is wrong is told by its number."""

import pytest

from r1.data import questions
from r1.rewards.code import cases


def question(*tests, **meta):
  return questions.Question(id="q", prompt="?", kind="code", tests=tests, meta=meta)


def test_each_kind_is_told_by_its_keys():
  assert cases.read(question({"input": "1\n", "output": "2\n"})).kind == cases.STDIO
  assert cases.read(question({"input": [1], "output": 2, "fn_name": "f"})).kind == cases.CALL
  assert cases.read(question({"assert": "assert f(1)"})).kind == cases.ASSERT


def test_the_question_names_the_function_unless_the_test_does():
  suite = cases.read(
    question({"input": [1], "output": 2}, {"input": [], "output": 0, "fn_name": "g"}, fn_name="f")
  )
  assert [test["fn_name"] for test in suite.tests] == ["f", "g"]


def test_what_meta_may_say():
  suite = cases.read(
    question({"input": "", "output": "1"}, language="cpp", limits={"wall_s": 2.0}, prelude=True)
  )
  assert (suite.language, suite.limits, suite.prelude) == ("cpp", {"wall_s": 2.0}, True)
  assert cases.read(question({"input": [], "output": 1, "fn_name": "f"})).prelude
  assert not cases.read(question({"assert": "assert f(1)"})).prelude


STDIO = {"input": "1", "output": "2"}


@pytest.mark.parametrize(
  ("tests", "meta", "message"),
  [
    ((), {}, "no tests given"),
    (("assert f(1)",), {}, "test 1 is a str, wanted an object"),
    ((STDIO, {"input": "1"}), {}, r"test 2 has the keys \['input'\], wanted \['input', 'output'\]"),
    (({"input": 1, "output": "2"},), {}, "test 1: input is 1, wanted a text"),
    (({"input": [1], "output": 2},), {}, "wanted .*'fn_name'"),
    (({"assert": "assert f(1"},), {}, "test 1 is no Python"),
    (({"assert": "f(1)"},), {}, "test 1 asserts nothing"),
    ((STDIO, {"assert": "assert f(1)"}), {}, "tests of the kinds assert, stdio given"),
    ((STDIO,), {"language": "java"}, "language 'java' given; use one of python, cpp"),
    (({"assert": "assert f(1)"},), {"language": "cpp"}, "kind assert for cpp"),
    ((STDIO,), {"limits": {"memory": 1}}, r"limits \['memory'\] given"),
    ((STDIO,), {"limits": {"wall_s": -1}}, r"limits {'wall_s': -1} given; use finite numbers"),
    ((STDIO,), {"limits": {"wall_s": "6", "cpu_s": 2}}, r"limits {'wall_s': '6'} given"),
    (({"input": "1", "output": " \n"},), {}, "every output is blank"),
    (({"input": "\ud800", "output": "2"},), {}, "test 1: input holds half of a character"),
  ],
)
def test_what_is_wrong_is_told(tests, meta, message):
  with pytest.raises(ValueError, match=message):
    cases.read(question(*tests, **meta))
