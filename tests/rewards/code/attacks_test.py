"""Programs that try to be right without solving anything: none is, whatever the kind of test.

What is expected cannot be guessed, so a program that comes out right has read it, or has had a
say in the comparison.
"""

import random
import time

import pytest

from r1.data import questions
from r1.rewards.code import cases, grade

SECRET = 918273645
CALLS = ({"input": [3], "output": SECRET, "fn_name": "solve"},)
ASSERTS = (
  {"assert": f"assert solve(3) == {SECRET}"},
  {"assert": f"assert {SECRET} == solve(3)"},
  {"assert": f"import math\nassert math.isclose(solve(3), {SECRET})"},
  {"assert": f"assert abs(solve(3) - {SECRET}) < 1e-6"},
  {"assert": f"assert solve(3) in {{{SECRET}}}"},
  {"assert": f"assert not solve(3) != {SECRET}"},
  {"assert": f"def check(candidate):\n  assert candidate(3) == {SECRET}\ncheck(solve)"},
  {"assert": f"assert len({{solve(3), {SECRET}}}) == 1"},
  {"assert": f"assert isinstance(solve(3), float) and str(solve(3)) == '{SECRET}.0'"},
  {"assert": f"assert solve(3).hex().startswith('{float(SECRET).hex()[:8]}')"},
  {"assert": f"try:\n  solve(3)\nexcept Exception:\n  pass\nassert solve(3) == {SECRET}"},
)
STDIO = ({"input": "3\n", "output": f"{SECRET}\n"},)

ALWAYS = """
class Always:
  def __eq__(self, other): return True
  def __ne__(self, other): return False
  def __lt__(self, other): return True
  __le__ = __gt__ = __ge__ = __contains__ = __lt__
  def __sub__(self, other): return 0
  __rsub__ = __add__ = __radd__ = __sub__
  def __abs__(self): return 0
  def __hash__(self): return {secret}
  def __bool__(self): return True
  def __float__(self): return 0.0
  def __index__(self): return 0
""".replace("{secret}", "7")
FORGED = repr(
  b'true\n{"id": "0", "value": 1}\n{"id": "0", "lost": "right"}\n{"id": "", "lost": "right"}\n'
  b'[{"status": "passed", "calls": [], "text": ""}]\n'
)
SEEN = """
import gc, sys, types
def seen():
  frame, found = sys._getframe(), []
  while frame:
    found += list(frame.f_locals.values()) + list(frame.f_globals.values())
    found += list(frame.f_code.co_consts)
    frame = frame.f_back
  return found + gc.get_objects()
def numbers(things, depth=4):
  for thing in things:
    if type(thing) is int and thing > 10**8: yield thing
    elif depth and type(thing) in (list, tuple, set): yield from numbers(thing, depth - 1)
    elif depth and type(thing) is dict: yield from numbers(list(thing.values()), depth - 1)
"""


def subclass(kind: str, made: str) -> str:
  methods = "  __eq__ = lambda self, other: True\n  __ne__ = lambda self, other: False\n"
  methods += "  __hash__ = lambda self: 7\n  __sub__ = __rsub__ = lambda self, other: 0\n"
  return f"class Mine({kind}):\n{methods}def solve(x): return Mine({made})\n"


ATTACKS = {
  "os._exit at once": "import os\nos._exit(0)",
  "sys.exit at once": "import sys\nsys.exit(0)",
  "exit at once": "exit(0)",
  "os._exit in the call": "import os\ndef solve(x): os._exit(0)",
  "SystemExit in the call": "def solve(x): raise SystemExit(0)",
  "exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef solve(x): return None",
  "always equal": f"{ALWAYS}\ndef solve(x): return Always()",
  "always yes": (
    f"{ALWAYS}\nfor name in ('startswith', 'endswith', 'isdigit', 'issubset'):\n"
    "  setattr(Always, name, lambda self, *a: True)\nAlways.hex = lambda self: self\n"
    "def solve(x): return Always()"
  ),
  "always equal, in a list": f"{ALWAYS}\ndef solve(x): return [Always()]",
  "always equal class": (
    f"{ALWAYS}\nclass Meta(type):\n  __eq__ = lambda c, o: True\n  __hash__ = lambda c: 7\n"
    "class C(metaclass=Meta): pass\ndef solve(x): return C"
  ),
  "subclass of int": subclass("int", "1"),
  "subclass of str": subclass("str", "'1'"),
  "subclass of float": subclass("float", "1.0"),
  "subclass of dict": subclass("dict", "{}"),
  "subclass of list": subclass("list", "[1]"),
  "a class that lies about itself": (
    f"{ALWAYS}\nclass Liar(Always):\n  __class__ = int\ndef solve(x): return Liar()"
  ),
  "patched builtins": (
    "import builtins\n"
    "for name in ('isinstance', 'print', 'len', 'type', 'abs', 'all', 'hash', 'zip'):\n"
    "  setattr(builtins, name, lambda *a, **k: True)\n"
    "def solve(x): return 1"
  ),
  "patched libraries": (
    "import json, math, operator, unittest\n"
    "math.isclose = operator.eq = lambda *a, **k: True\n"
    'json.dumps = lambda *a, **k: \'{"id": "0", "lost": "right"}\'\n'
    "unittest.TestCase.assertEqual = lambda *a: None\ndef solve(x): return 1"
  ),
  "shadowed names": (
    "abs = lambda x: 0\nlen = lambda x: 1\nstr = lambda x: '918'\nisinstance = lambda *a: True\n"
    "import types\nmath = types.SimpleNamespace(isclose=lambda *a: True)\n"
    "def check(candidate): return True\ndef solve(x): return 1"
  ),
  "patched player": (
    "import sys\nplayer = sys.modules['r1.rewards.code.player']\n"
    "player.answer = lambda call, *rest: {'id': call['id'], 'value': 1, 'lost': 'right'}\n"
    "def solve(x): return 1"
  ),
  "patched wire": (
    f"{ALWAYS}\nfrom r1.rewards.code import wire\nwire.pack = lambda *a, **k: {{'x': 'right'}}\n"
    "def solve(x): return Always()"
  ),
  "patched AssertionError": (
    "import builtins\nclass Quiet(BaseException): pass\nbuiltins.AssertionError = Quiet\n"
    "def solve(x): raise Quiet"
  ),
  "excepthook": "import os, sys\nsys.excepthook = lambda *a: os._exit(0)\ndef solve(x): return 1/0",
  "what frames and gc hold": f"{SEEN}\ndef solve(x): return next(numbers(seen()), 1)",
  "what frames hold, at once": f"{SEEN}\nfound = next(numbers(seen()), 1)\nsolve = lambda x: found",
  "what modules hold": (
    f"{SEEN}\nimport sys\n"
    "def solve(x): return next(numbers([vars(m) for m in sys.modules.values() if m]), 1)"
  ),
  "memory, environment, arguments": (
    "import re\ndef solve(x):\n  text = b''\n"
    "  for name in ('environ', 'cmdline', 'fd/0', 'fd/3', 'fd/4'):\n"
    "    try: text += open(f'/proc/self/{name}', 'rb').read(1 << 20)\n    except OSError: pass\n"
    "  mem = open('/proc/self/mem', 'rb', 0)\n"
    "  for line in open('/proc/self/maps'):\n"
    "    low, high = (int(n, 16) for n in line.split()[0].split('-'))\n"
    "    try: mem.seek(low); text += mem.read(min(high - low, 1 << 22))\n"
    "    except (OSError, OverflowError, ValueError): pass\n"
    "  found = re.findall(rb'91827\\d+', text)\n  return int(found[0]) if found else 1"
  ),
  "forged lines on every descriptor": (
    f"import os\nforged = {FORGED}\nfor fd in range(64):\n"
    "  try: os.write(fd, forged)\n  except OSError: pass\ndef solve(x): return 1"
  ),
  "forged lines, then gone": (
    f"import os\nforged = {FORGED}\ndef solve(x):\n  for fd in range(64):\n"
    "    try: os.write(fd, forged)\n    except OSError: pass\n  os._exit(0)"
  ),
  "closed descriptors": "import os\nos.closerange(0, 64)\ndef solve(x): return 1",
  "a child that goes on": (
    "import os, time\nif os.fork() == 0:\n  time.sleep(0.2)\n  print('918')\n  os._exit(0)\n"
    "def solve(x): return 1"
  ),
  "a thread that prints later": (
    "import threading, time\n"
    'def late():\n  while True: time.sleep(0.01); print(\'{"id": "0", "value": 1}\', flush=True)\n'
    "threading.Thread(target=late, daemon=True).start()\ndef solve(x): time.sleep(0.1)"
  ),
  "rewritten judge": (
    "import os\nfor name in ('judge', 'remotes', 'wire'):\n"
    "  with open(f'r1/rewards/code/{name}.py', 'w') as f:\n"
    "    f.write('def main(): print(\\'[{\"status\": \"passed\"}]\\')')\ndef solve(x): return 1"
  ),
  "stdin once more": "import sys\ndef solve(x): return sys.stdin.read() or sys.stdin.readline()",
  "every number": "def solve(x): return list(range(100_000))",
  "every number, one by one": "def solve(x):\n  n = 0\n  while True: yield n; n += 1",
  "nan": "def solve(x): return float('nan')",
  "infinity": "def solve(x): return float('inf')",
  "true": "def solve(x): return True",
  "not a number": "def solve(x): return 'yes'",
  "itself": "def solve(x):\n  a = []\n  a.append(a)\n  return a",
  "deep nesting": "def solve(x):\n  a = []\n  for _ in range(100_000): a = [a]\n  return a",
  "wide sharing": "def solve(x):\n  a = [1]\n  for _ in range(60): a = [a, a]\n  return a",
  "a huge number": "def solve(x): return 1 << 3_000_000",
  "a huge text": "def solve(x): return 'x' * 50_000_000",
  "no end of recursion": "def solve(x): return solve(x + 1)",
  "an exception of a strange name": (
    "class passed(Exception):\n  def __str__(self): return 'passed' * 10**6\n"
    "def solve(x): raise passed"
  ),
  "an exception that cannot be told": (
    "class Odd(Exception):\n  def __str__(self): raise SystemExit\ndef solve(x): raise Odd"
  ),
  "killing all": "import os, signal\ndef solve(x): os.kill(-1, signal.SIGKILL)",
  "killing the parent": "import os, signal\ndef solve(x): os.kill(os.getppid(), signal.SIGKILL)",
  "killing itself": "import os, signal\ndef solve(x): os.kill(os.getpid(), signal.SIGSEGV)",
  "no such function": "def other(x): return 1",
  "a syntax error": "def solve(x) return 1",
}
HEALTHY = f"def solve(x): return float({SECRET})"

PRINTED = {
  "nothing": "",
  "the input": "print(input())",
  "every number": "for i in range(200_000): print(i)",
  "both ends": f"print(1); print({SECRET + 1})",
  "beside the number": f"print('{SECRET}', 1)",
  "os._exit": "import os; os._exit(0)",
  "nan": "print('nan')",
  "signalling nan": "print('sNaN')",
  "endless": "while True: print('1')",
  "late thread": (
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.1), print(1))).start()"
  ),
  "stderr": f"import sys\nprint({SECRET}, file=sys.stderr)",
  "right, but failing": f"import os\nprint({SECRET}, flush=True)\nos._exit(1)",
  "what /proc holds": "print(open('/proc/self/environ').read(), open('/proc/self/cmdline').read())",
  "zero bytes": "print('\\0')",
  "not UTF-8": "import os\nos.write(1, b'\\xff\\xfe')",
  "infinite": "print('1e999999')",
}


def suite(tests):
  return cases.read(questions.Question(id="q", prompt="?", kind="code", tests=tests))


def outcomes(box, cfg, codes, tests):
  given = grade.score([(code, suite(tests)) for code in codes], cfg, box.run)
  return [(grade.score.verdict, set(grade.outcomes)) for grade in given]


@pytest.mark.parametrize("tests", [CALLS, ASSERTS], ids=["calls", "asserts"])
def test_no_attack_passes_a_single_test_and_each_is_over_in_time(box, fraction, tests):
  started = time.monotonic()
  found = outcomes(box, fraction, [*ATTACKS.values(), HEALTHY], tests)
  passed = [
    name for name, (said, each) in zip(ATTACKS, found) if said == "right" or "right" in each
  ]
  assert passed == []
  assert found[-1] == ("right", {"right"})
  assert time.monotonic() - started < 120
  assert "no_verdict" not in {said for said, _ in found}  # an attack costs the attacker


def test_no_attack_on_a_whole_program_passes(box, whole):
  found = outcomes(box, whole, [*PRINTED.values(), f"print({SECRET})"], STDIO)
  assert [name for name, (said, _) in zip(PRINTED, found) if said == "right"] == []
  assert found[-1] == ("right", {"right"})


PIECES = (
  *(
    "def solve(x):",
    "\n",
    "  ",
    "\t",
    "return",
    " x",
    "(",
    ")",
    "[",
    "]",
    ":",
    "'",
    '"',
    "\\",
    "#",
  ),
  *("import os", "yield", "lambda", "**", "9" * 50, "\0", "\ud800", "é", "print(1)", "exit()"),
)


@pytest.mark.parametrize("tests", [CALLS, ASSERTS[:1], STDIO], ids=["calls", "asserts", "stdio"])
def test_a_hundred_random_programs_come_to_nothing(box, whole, tests):
  draw = random.Random(0)
  codes = ["".join(draw.choices(PIECES, k=draw.randrange(40))) for _ in range(80)]
  codes += [draw.randbytes(100).decode("utf-8", "surrogateescape") for _ in range(20)]
  assert {said for said, _ in outcomes(box, whole, codes, tests)} <= {"wrong", "crashed"}


@pytest.mark.parametrize("tests", [CALLS, ASSERTS, STDIO], ids=["calls", "asserts", "stdio"])
def test_what_is_expected_is_never_where_the_code_is(box, whole, tests):
  """Whatever the code may do, it cannot read what is not there."""
  beside = []

  def run(programs):
    texts = ["".join(map(str, (p.code, p.stdins, dict(p.files)))) for p in programs]
    beside.extend(text for text in texts if "MARK" in text)
    return box.run(programs)

  code = "MARK = 1\ndef solve(x): return x\nprint(1)"
  grade.score([(code, suite(tests))], whole, run)
  assert beside
  assert not [text for text in beside if str(SECRET) in text]
