"""The programs that a grading runs in the sandbox, and how their output is read."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Sequence

from r1.rewards.sandbox import program

ROOT = pathlib.Path(__file__).parents[3]
MODULES = ("wire", "remotes", "player", "judge")  # what runs inside, of this package
ANSWER = ("id", "value", "object", "raised", "text", "args")  # what player.answer says
# A judge runs texts of the data set on plain values; its limits are not those of the answers.
JUDGE_LIMITS = program.Limits(
  wall_s=20, build_s=1, cpu_s=20, memory_bytes=2 << 30, disk_bytes=1 << 20, output_bytes=8 << 20,
  processes=8,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Answers:
  """What a player said before its process ended."""

  loaded: bool  # the code ran to its end
  by_id: dict[str, dict]
  run: program.Run


@functools.cache
def _files() -> dict[str, bytes]:
  """The modules that run inside, at their own paths, in packages without code."""
  folder = pathlib.Path(__file__).parent
  packages = [folder, *folder.parents][: len(folder.relative_to(ROOT).parts)]
  empty = {f"{path.relative_to(ROOT)}/__init__.py": b"" for path in packages}
  sources = [folder / f"{name}.py" for name in MODULES]
  return empty | {str(path.relative_to(ROOT)): path.read_bytes() for path in sources}


def _inside(module: str, job: dict, limits: program.Limits) -> program.Program:
  return program.Program(
    code=f"from r1.rewards.code import {module}\n{module}.main()\n",
    language="python",
    stdins=(json.dumps(job).encode(),),
    files=_files(),
    limits=limits,
  )


def player(code: str, prelude: bool, calls: Sequence[dict], limits: program.Limits):
  """The program that loads the code and answers the calls (see player.py)."""
  return _inside("player", {"code": code, "prelude": prelude, "calls": list(calls)}, limits)


def judge(tests: Sequence[str], answers: Sequence[dict]) -> program.Program:
  """The program that evaluates the tests with the answers (see judge.py)."""
  return _inside("judge", {"tests": list(tests), "answers": list(answers)}, JUDGE_LIMITS)


def answers(result: program.Result, calls: Sequence[dict]) -> Answers:
  """What a player's output holds.

  Lines that answer no call, and what an answer should not hold, are the code's doing: dropped.
  """
  (run,) = result.runs
  lines = run.stdout.split(b"\n")[:-1]  # a line that was cut off is none
  asked = {call["id"] for call in calls}
  by_id = {}
  for said in map(_object, lines[1:]):
    if isinstance(said.get("id"), str) and said["id"] in asked:
      by_id[said["id"]] = {key: said[key] for key in ANSWER if key in said}
  return Answers(lines[:1] == [b"true"], by_id, run)


def _object(line: bytes) -> dict:
  """The JSON object of a line, {} for any other line."""
  try:
    value = json.loads(line)
  except (ValueError, RecursionError):
    return {}
  return value if isinstance(value, dict) else {}


def rulings(result: program.Result) -> list[dict] | None:
  """What a judge says of each of its tests; None if it did not end."""
  (run,) = result.runs
  return json.loads(run.stdout) if run.status == "ok" else None
