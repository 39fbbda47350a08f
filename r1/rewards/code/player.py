"""Runs inside the sandbox: loads a model's code, then answers calls from a list that it is given.

It is told names and arguments, never what is expected. The code shares this process and may
change anything in it, which gains nothing: all it can do is to answer, and an answer is compared
elsewhere, by code that it never meets.
"""

import builtins
import itertools
import json
import os
import sys
import types

from r1.rewards.code import wire

LONGEST = 100_000  # items taken from an iterator

# Names that solutions in LeetCode's style expect; the recursion limit is LiveCodeBench's.
PRELUDE = """
from bisect import *
from collections import *
from copy import *
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from string import *
from typing import *
from builtins import *
import bisect, collections, copy, datetime, functools, heapq, itertools, json, math
import operator, random, re, statistics, string, sys, typing
sys.setrecursionlimit(50_000)
"""


def main() -> None:
  """Reads {code, prelude, calls} from stdin; writes one line of JSON for each call to stdout.

  The first line is true, once the code has run to its end. What the code prints is lost.
  """
  job = json.loads(sys.stdin.buffer.read())
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
  namespace = load(job["code"], job["prelude"])
  print("true", file=answers, flush=True)
  kept: dict[str, object] = {}
  for call in job["calls"]:
    print(json.dumps(answer(call, namespace, kept)), file=answers, flush=True)
  os._exit(0)  # neither threads nor exit handlers of the code are waited for


def load(code: str, prelude: bool) -> dict:
  """The globals of the code after it ran, as a module that is not the main one."""
  module = types.ModuleType("solution")
  sys.modules["solution"] = module
  if prelude:
    exec(PRELUDE, module.__dict__)
  exec(compile(code, "solution.py", "exec"), module.__dict__)
  return module.__dict__


def answer(call: dict, namespace: dict, kept: dict) -> dict:
  """{id, value | object | raised} for a call {id, base, name, args, kwargs}.

  base is the id of an earlier answer, null for the code's globals. args null looks at the value
  without calling it. object is the name of a type whose instance stays here, under the id;
  raised holds the names of the exception's types. args in the answer: as the call changed them.
  """
  try:
    found = find(call["base"], call["name"], namespace, kept)
    args = before = None
    if call["args"] is not None:
      args, kwargs = (wire.unpack(call[key], kept.__getitem__) for key in ("args", "kwargs"))
      before = plain(args)
      found = found(*args, **kwargs)
    kept[call["id"]] = found
    value = plain(found)
    said = {"id": call["id"]}
    said |= {"object": type(found).__name__} if value is None else {"value": value[0]}
    after = plain(args)
    return said | ({"args": after[0]} if before and after and after != before else {})
  except BaseException as error:  # whatever the code raises is its answer
    names = [kind.__name__ for kind in type(error).__mro__ if hasattr(builtins, kind.__name__)]
    return {"id": call["id"], "raised": names, "text": f"{type(error).__name__}: {error}"[:200]}


def find(base: str | None, name: str, namespace: dict, kept: dict):
  """A global, a method of LeetCode's class Solution, an attribute, or the base itself."""
  if base is None:
    if name in namespace or "Solution" not in namespace:
      return namespace[name] if name in namespace else getattr(builtins, name)
    return getattr(namespace["Solution"](), name)
  if name == "__iter__":
    return lambda: list(itertools.islice(kept[base], LONGEST))
  return getattr(kept[base], name) if name else kept[base]


def plain(value) -> tuple | None:
  """(the value as JSON data,), or None for what does not cross."""
  try:
    return (wire.pack(value),)
  except wire.NotPlainError:
    return None
