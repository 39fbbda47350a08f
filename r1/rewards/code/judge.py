"""Runs inside a sandbox of its own, without the model's code: evaluates the text of tests.

A name that a test leaves free stands for something in the player's process (player.py). A pass
without answers records which calls the tests make; a pass with the answers decides. So what a
test expects never reaches the process that runs the model's code, and no object of the model's
making takes part in a comparison: plain values do.
"""

import ast
import builtins
import collections
import hashlib
import json
import os
import random
import sys
import typing

from r1.rewards.code import remotes, wire


def main() -> None:
  """Reads {tests, answers} from stdin, writes a list of {status, calls, text} to stdout."""
  job = json.loads(sys.stdin.buffer.read())
  rulings = os.fdopen(os.dup(1), "w")
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  answers = {answer["id"]: answer for answer in job["answers"]}
  json.dump([rule(test, i, answers) for i, test in enumerate(job["tests"])], rulings)
  rulings.close()
  os._exit(0)


def rule(test: str, index: int, answers: dict[str, dict]) -> dict:
  """What the answers say of one test, and the calls that it makes in order.

  status: passed or failed; pending where an answer is missing; foreign where something that is
  no plain data would have to cross, so that the test cannot be run this way at all.
  """
  session = Session(index, answers)
  random.seed(index)  # the same draws in every pass
  text = ""
  try:
    tree = ast.parse(test)
    names = free_names(tree)
    space = {name: remotes.Remote(session, None, name, True) for name in names.remote}
    space |= {name: __import__(name) for name in names.modules}
    space |= {"__name__": "tests", "__value__": remotes.value, "__pending__": remotes.PendingError}
    exec(compile(Rewritten().visit(tree), "tests.py", "exec"), space)
    status = "passed"
  except BaseException as error:  # the failure of a test is its result
    status, text = "failed", f"{type(error).__name__}: {error}"[:200]
  if session.lost:
    status, text = "failed", session.lost
  elif session.foreign:
    status, text = "foreign", session.foreign
  elif session.pending:
    status = "pending"
  return {"status": status, "calls": session.calls, "text": text}


class Session:
  """The calls that one test makes, and how they were answered.

  A flag that is set stays set, whatever the test catches: a bare `except` hides no failure.
  """

  def __init__(self, index: int, answers: dict[str, dict]):
    self.index, self.answers = index, answers
    self.calls: list[dict] = []
    self.seen = collections.Counter()
    self.pending, self.foreign, self.lost = False, "", ""

  def ask(self, base: str | None, name: str, args: tuple | None, kwargs: dict | None):
    """The answer to a call, or to a look at a value where args is None.

    An answer that is not there yet is a Remote whose use as a value is pending.
    """
    if args is not None and kwargs is not None:
      args = tuple(map(remotes.resolved, args))
      kwargs = {key: remotes.resolved(item) for key, item in kwargs.items()}
    try:
      packed = [None if x is None else wire.pack(x, remotes.reference) for x in (args, kwargs)]
    except (wire.NotPlainError, remotes.ForeignError) as error:
      self.refuse(f"handed to {name}(): {error}")
    said = json.dumps([self.index, base, name, *packed])
    self.seen[said] += 1
    key = hashlib.sha256(f"{self.seen[said]} {said}".encode()).hexdigest()[:16]
    call = {"id": key, "base": base, "name": name, "args": packed[0], "kwargs": packed[1]}
    self.calls.append(call)
    if key not in self.answers:
      self.pending = True
      return remotes.Remote(self, key, "", False)
    return self.read(key, self.answers[key], args, name)

  def refuse(self, reason: str) -> typing.NoReturn:
    """Ends the test: something that is no plain data would have to cross, or be compared."""
    self.foreign = reason
    raise remotes.ForeignError(reason)

  def read(self, key: str, answer: dict, args: tuple | None, name: str):
    """The value of an answer; what was raised there is raised here, by its builtin type."""
    if "lost" in answer:
      self.lost = f"{name}(): {answer['lost']}"
      raise remotes.LostError(self.lost)
    if "raised" in answer:
      kinds = (getattr(builtins, str(kind), None) for kind in answer["raised"])
      kind = next((k for k in kinds if isinstance(k, type) and issubclass(k, Exception)), None)
      raise (kind or RuntimeError)(str(answer["text"]))
    if args and "args" in answer:
      for mine, theirs in zip(args, wire.unpack(answer["args"])):
        restore(mine, theirs)
    if "value" in answer:
      return wire.unpack(answer["value"])
    return remotes.Remote(self, key, "", True)


def restore(mine, theirs) -> None:
  """Makes an argument what the call made of it, in place."""
  if type(mine) is not type(theirs):
    return
  if isinstance(mine, list | bytearray):
    mine[:] = theirs
  elif isinstance(mine, dict | set):
    mine.clear()
    mine.update(theirs)


Names = collections.namedtuple("Names", ["remote", "modules"])


def free_names(tree: ast.Module) -> Names:
  """The names of a test that neither it nor Python defines, and the modules that it only uses.

  `math.isclose(...)` without an import means the module. Where nothing is left the function
  under test is named like a builtin, and it is the one that an assertion starts with.
  """
  nodes = list(ast.walk(tree))
  used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
  bound = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
  bound |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
  bound |= {n.arg for n in nodes if isinstance(n, ast.arg)}
  bound |= {n.name for n in nodes if isinstance(n, ast.ExceptHandler) and n.name}
  for node in nodes:
    if isinstance(node, ast.Import | ast.ImportFrom) and not from_solution(node):
      bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
  called = {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
  free = {name for name in used - bound if not hasattr(builtins, name)}
  modules = (free & sys.stdlib_module_names) - called
  remote = free - modules
  if not remote:
    asserts = [n.test for n in nodes if isinstance(n, ast.Assert)]
    lefts = [t.left if isinstance(t, ast.Compare) else t for t in asserts]
    calls = [n.func for n in lefts if isinstance(n, ast.Call)]
    remote = {f.id for f in calls if isinstance(f, ast.Name) and f.id not in bound}
  return Names(remote, modules)


def from_solution(node: ast.AST) -> bool:
  """Whether a statement imports names from the module under test, as pytest files do."""
  return isinstance(node, ast.ImportFrom) and node.module == "solution"


class Rewritten(ast.NodeTransformer):
  """The test as it is run.

  A pending assertion does not keep the next ones from recording their calls; `is` looks at
  values; and what is imported from the solution is left free.
  """

  def visit_Assert(self, node: ast.Assert):
    self.generic_visit(node)
    handler = ast.ExceptHandler(ast.Name("__pending__", ast.Load()), None, [ast.Pass()])
    tried = ast.Try([node], [handler], [], [])
    return ast.fix_missing_locations(ast.copy_location(tried, node))

  def visit_Compare(self, node: ast.Compare):
    self.generic_visit(node)
    if any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
      node.left, *node.comparators = (looked_at(n) for n in (node.left, *node.comparators))
    return ast.fix_missing_locations(node)

  def visit_ImportFrom(self, node: ast.ImportFrom):
    return ast.copy_location(ast.Pass(), node) if from_solution(node) else node


def looked_at(node: ast.expr) -> ast.expr:
  return ast.copy_location(ast.Call(ast.Name("__value__", ast.Load()), [node], []), node)
