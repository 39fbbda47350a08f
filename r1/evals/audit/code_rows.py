"""What a row of code_exec says, whichever project it comes from: language, code and tests."""

import ast
import builtins
import json
import sys

from r1.rewards.code import extract, judge


def language(row: dict) -> str:
  """The language of the program, which rows of many languages hide in their data."""
  data = row.get("data") or {}
  said = data.get("language") or _object(data.get("labels")).get("programming_language")
  said = str(said or row["language"])
  return {"sh": "bash", "py": "python"}.get(said, said)


def code(row: dict) -> str | None:
  """The program: as given, or that of the completion, beside its prompt if it is only a body."""
  if "code" in row:
    return row["code"]
  fenced = extract.code(row["completion"], language(row))
  if fenced is not None or "prompt" not in row or "```" in row["completion"]:
    return fenced
  return f"{row['prompt']}{_body(row['completion'])}"


def _body(completion: str) -> str:
  """The indented lines that a completion starts with."""
  lines = completion.split("\n")
  ends = [i for i, line in enumerate(lines) if line.strip() and not line.startswith((" ", "\t"))]
  return "\n".join(lines[: ends[0]] if ends else lines)


def tests(row: dict) -> tuple[dict, ...]:
  """The tests in the form of cases.py."""
  data = row.get("data") or {}
  given = row.get("tests") or data.get("tests") or _object(data.get("test")).get("code", "")
  if isinstance(given, str):
    return ({"assert": _complete(given, row)},)
  if isinstance(given, dict) and "functional" in given:
    return ({"assert": given["functional"]},)
  if isinstance(given, dict):  # a missing comma in the source may have glued two inputs
    pairs = zip(given["inputs"], given["outputs"])
    given = [{"input": a, "output": b, "fn_name": given.get("fn_name")} for a, b in pairs]
  return tuple({"assert": t} if isinstance(t, str) else _pair(t) for t in given)


def _pair(test: dict) -> dict:
  """Input and output as texts, or as values where a function is tested."""
  wanted, given = test["input"], test["output"]
  name = test.get("fn_name") or (test.get("metadata") or {}).get("func_name")
  if not name:
    given = given["stdout"] if isinstance(given, dict) else given
    return {"input": wanted["stdin"] if isinstance(wanted, dict) else wanted, "output": given}
  if isinstance(wanted, str):  # one argument a line
    wanted = [json.loads(line) for line in wanted.split("\n") if line.strip()]
    given = json.loads(given)
  return {"input": wanted, "output": given, "fn_name": name}


def _complete(text: str, row: dict) -> str:
  """The text of tests, with the calls that a runner of its project adds to it."""
  text = text.replace("#<INSERT>", "")
  if language(row) != "python":
    return text
  tree = ast.parse(text)
  defined = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
  calls = [f"{n.name}()" for n in defined if n.name.startswith("test_") and not n.args.args]
  if any(n.name == "check" for n in defined) and "\ncheck(" not in text:
    calls.append(f"check({_functions(row.get('prompt') or code(row) or '')[-1].name})")
  asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree))
  return "\n".join([text, *calls] if asserts else [text, "assert True"])


def meta(row: dict) -> dict:
  """LeetCode's completions count on names of the standard library."""
  return {"prelude": "class Solution" in (code(row) or "")}


def imports(source: str) -> set[str]:
  """The top-level modules that a Python program imports; none if it cannot be parsed."""
  try:
    nodes = list(ast.walk(ast.parse(source)))
  except (SyntaxError, ValueError):
    return set()
  plain = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
  named = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and not n.level]
  return {name.split(".")[0] for name in (*plain, *named)}


def packages(source: str) -> list[str]:
  """Those of them that are not in the standard library."""
  return sorted(imports(source) - sys.stdlib_module_names - {"solution"})


def mispaired(row: dict) -> str:
  """Why prompt, completion and tests of a row cannot belong to one problem; "" if they may.

  The completion defines other functions than the prompt, or uses names that the prompt does not
  give it; or the tests hand floats to what the prompt declares an int.
  """
  functions = _functions(row["prompt"])
  if not functions:
    return ""
  asked = functions[-1]
  fenced = extract.code(row["completion"], "python")
  if fenced is not None:
    names = {function.name for function in _functions(fenced)}
    return "" if asked.name in names else f"asks for {asked.name}, defines {sorted(names)}"
  if strangers := judge.free_names(_parsed(code(row) or "")).remote - set(dir(builtins)):
    return f"the body of {asked.name} uses {sorted(strangers)}, which the prompt lacks"
  ints = {i for i, a in enumerate(asked.args.args) if getattr(a.annotation, "id", "") == "int"}
  calls = [n for n in ast.walk(_parsed(row["tests"])) if isinstance(n, ast.Call)]
  floats = {
    i
    for call in calls
    if getattr(call.func, "id", "") == "candidate"
    for i, arg in enumerate(call.args)
    if isinstance(arg, ast.Constant) and isinstance(arg.value, float)
  }
  return f"the tests hand floats to {asked.name}, which takes ints" if ints & floats else ""


def _functions(source: str) -> list[ast.FunctionDef]:
  return [node for node in _parsed(source).body if isinstance(node, ast.FunctionDef)]


def _parsed(source: str) -> ast.Module:
  """The tree of a text that may end in the middle of a function; an empty one if it is broken."""
  for text in (source, f"{source}\n  pass"):
    try:
      return ast.parse(text)
    except SyntaxError:
      continue
  return ast.Module([], [])


def _object(value) -> dict:
  """An object that may be written as a JSON text."""
  return (json.loads(value) if isinstance(value, str) else value) or {}
