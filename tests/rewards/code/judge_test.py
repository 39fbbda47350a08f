"""Tests are evaluated on plain values, and first tell which calls they will make."""

import ast

import pytest

from r1.rewards.code import judge, player


def played(code, test, most=8):
  """The last ruling of a judge and a player that talk to each other, and the number of passes."""
  ruling, answers = judge.rule(test, 0, {}), {}
  for passes in range(most):
    if ruling["status"] != "pending":
      return ruling, passes
    namespace, kept = player.load(code, False), {}
    answers |= {c["id"]: player.answer(c, namespace, kept) for c in ruling["calls"]}
    ruling = judge.rule(test, 0, answers)
  return ruling, most


ADD = "def add(a, b): return a + b"
STACK = """
class Stack:
  size = 0
  def __init__(self): self.items = []
  def push(self, item): self.items.append(item); self.size += 1; return self
  def pop(self): return self.items.pop()
"""


@pytest.mark.parametrize(
  ("code", "test"),
  [
    (ADD, "assert add(1, 2) == 3"),
    (ADD, "assert 3 == add(1, b=2)"),
    (ADD, "assert add([1], [2]) == [1, 2] and not add('', '')"),
    (ADD, "import math\nassert math.isclose(add(0.1, 0.2), 0.3)"),
    (ADD, "assert math.isclose(add(0.1, 0.2), 0.3)"),  # the import is left out
    (ADD, "assert abs(add(0.1, 0.2) - 0.3) < 1e-9"),
    (ADD, "assert set(add([1], [2, 1])) == {1, 2}"),
    (ADD, "for i in range(5):\n  assert add(i, i) == 2 * i"),
    (ADD, "import random\nfor i in range(9):\n  r = random.random()\n  assert add(r, 1) == r + 1"),
    (ADD, "def check(f):\n  assert f(1, 2) == 3\n  x = f(3, 4)\n  assert x == 7\ncheck(add)"),
    (ADD, "assert add(add(1, 2), 3) == 6"),
    (ADD, "assert add((1,), (2,)) == (1, 2) != [1, 2]"),
    (ADD, "try:\n  add(1, '')\n  assert False\nexcept TypeError as e:\n  assert 'int' in str(e)"),
    (ADD, "from solution import add\ndef test_it():\n  assert add(1, 1) == 2\ntest_it()"),
    (ADD, "assert isinstance(add(1, 2), int) and type(add(1, 2)) is int"),
    (ADD, "assert add is not None"),
    ("def sum(a, b): return a * b", "assert sum(3, 4) == 12"),  # named like a builtin
    ("x = 4.0\nnone = None", "assert x == 4.0 and none is None and x + 1 == 5 and 2 * x == 8"),
    ("xs = [1, 2]", "assert len(xs) == 2 and xs[0] == 1 and 2 in xs and sorted(xs) == xs"),
    ("def f(x): x.append(1); x.sort()", "a = [3, 2]\nf(a)\nassert a == [1, 2, 3]"),
    ("def f(d): d['a'] = 1", "d = {}\nf(d)\nassert d == {'a': 1}"),
    ("def f(): return None", "assert f() is None and not f()"),
    ("def f(): return float('nan')", "assert f() != f()"),
    ("def f(n):\n  for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]"),
    ("def f():\n  n = 0\n  while True: yield n; n += 1", "g = f()\nassert next(g) + next(g) == 1"),
    ("def f(n): return lambda x: x + n", "assert f(1)(2) == 3"),
    ("n = 0\ndef f():\n  global n\n  n += 1\n  return n", "assert f() == 1\nassert f() == 2"),
    (STACK, "s = Stack()\ns.push(1).push(2)\nassert s.pop() == 2\nassert s.size == 2"),
    (STACK, "s = Stack()\ns.items = [7]\nassert s.pop() == 7 and str(s).startswith('<')"),
    (f"{STACK}\ndef top(s): return s.items[-1]", "s = Stack()\ns.push(5)\nassert top(s) == 5"),
    ("import re\npattern = re.compile('a+')", "assert pattern.match('aa').group() == 'aa'"),
    ("def f(t): return t('7')", "assert f(int) == 7"),
    ("def f(x): raise KeyError(x)", "ok = False\ntry: f(1)\nexcept KeyError: ok = True\nassert ok"),
  ],
)
def test_what_holds_passes(code, test):
  ruling, _ = played(code, test)
  assert (ruling["status"], ruling["text"]) == ("passed", "")


@pytest.mark.parametrize(
  ("code", "test", "text"),
  [
    (ADD, "assert add(1, 2) == 4", "AssertionError"),
    (ADD, "assert add(1, 2) is None", "AssertionError"),
    (ADD, "assert add(1, '') == 1", "TypeError"),
    ("", "assert add(1, 2) == 3", "AttributeError"),
    ("x = None", "assert x is not None", "AssertionError"),
    ("def f(): raise SystemExit", "f()\nassert True", "RuntimeError"),
    ("def f(): raise AssertionError('no')", "assert f()", "no"),
    ("def f(): return 0", "assert f()", "AssertionError"),
    (ADD, "x = add(1, 2)\nx.clear()", "AttributeError"),
    (ADD, "add(1, 2)\nraise SystemExit(0)", "SystemExit"),
  ],
)
def test_what_does_not_hold_fails(code, test, text):
  ruling, _ = played(code, test)
  assert ruling["status"] == "failed"
  assert text in ruling["text"]


ODD = "class Odd:\n  def __eq__(self, other): return True\n  def __bool__(self): return True\n"


@pytest.mark.parametrize(
  "test",
  [
    "assert f() == 3",
    "assert f() != 3",  # neither equal nor different
    "assert f()",
    "assert not f()",
    "assert f() in {3}",
    "assert [f()] == [3]",
    "assert 3 in f()",
    "assert f() < 3",
    "assert int(f()) == 3",
    "assert isinstance(f(), int)",
    "assert f().startswith('a')",
    "try:\n  f() == 3\nexcept BaseException:\n  pass",  # no test can hide it
  ],
)
def test_an_object_of_the_codes_own_is_never_compared(test):
  ruling, _ = played(f"{ODD}def f(): return Odd()", test)
  assert ruling["status"] == "foreign"


@pytest.mark.parametrize(
  "test",
  [
    "assert f(lambda x: x)",
    "class A: pass\nassert f(A())",
    "assert f(open) == 1",
    "f(f)\nf(print)",
  ],
)
def test_what_cannot_be_handed_over_makes_a_test_foreign_from_the_start(test):
  ruling = judge.rule(test, 0, {})
  assert ruling["status"] == "foreign"
  assert "handed to f()" in ruling["text"]


def test_all_assertions_record_their_calls_in_one_pass():
  test = "def check(f):\n  assert f(1) == 1\n  assert f(2) == 2\n  y = f(3)\n  assert y\ncheck(g)"
  ruling, passes = played("def g(x): return x", test)
  assert (ruling["status"], passes) == ("passed", 1)
  assert [call["args"] for call in ruling["calls"]] == [{"t": [1]}, {"t": [2]}, {"t": [3]}]


def test_a_lost_answer_fails_the_test_whatever_it_catches():
  test = "try:\n  f(1)\nexcept BaseException:\n  pass\nassert True"
  (call,) = judge.rule(test, 0, {})["calls"]
  ruling = judge.rule(test, 0, {call["id"]: {"id": call["id"], "lost": "timeout"}})
  assert (ruling["status"], ruling["text"]) == ("failed", "f(): timeout")


@pytest.mark.parametrize(
  "answer", [{}, {"raised": 1}, {"raised": [1], "text": 2}, {"value": {"x": 1}}, {"value": {}}]
)
def test_an_answer_that_makes_no_sense_passes_nothing(answer):
  test = "assert f(1) == 1"
  (call,) = judge.rule(test, 0, {})["calls"]
  assert judge.rule(test, 0, {call["id"]: answer})["status"] in ("failed", "foreign")


def test_the_same_call_of_another_test_has_another_id():
  calls = [judge.rule("assert f(1) == f(1)", i, {})["calls"] for i in (0, 1)]
  assert len({call["id"] for both in calls for call in both}) == 4


def test_names_that_a_test_defines_are_its_own():
  names = judge.free_names(ast.parse("import os\ndef g(a):\n  b = a\n  return f(b)\nassert g(os)"))
  assert names == ({"f"}, set())
