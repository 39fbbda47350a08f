"""Judges of the suites code_exec and code_extract: programs run by our rules, against the record.

Projects differ in what they forbid, trim or count. The rules that make a row `policy`, and those
for rows that cannot be run here, look at what a row holds, never at which row it is.
"""

import base64
import dataclasses
import math
import re
import secrets

from r1.data import questions
from r1.evals.audit import code_rows, suite
from r1.rewards.code import cases, extract, grade, steps
from r1.rewards.sandbox import program

LIMITS = program.Limits(
  wall_s=6.0,
  build_s=30.0,
  cpu_s=6.0,
  memory_bytes=1 << 30,
  disk_bytes=16 << 20,
  output_bytes=1 << 20,
  processes=32,
)
WHOLE = grade.CodeConfig(credit="all", limits=LIMITS)
EACH = grade.CodeConfig(credit="fraction", limits=LIMITS)
RUNS = ("python", "cpp", "bash")
# Imports that a project without isolation forbids; here the sandbox makes them harmless.
FORBIDDEN = (
  "ctypes",
  "multiprocessing",
  "os",
  "shutil",
  "socket",
  "subprocess",
  "sys",
  "threading",
)
# What a program is told that opens a path which only exists, or is only open, elsewhere.
DENIED = re.compile(
  r"(Permission denied|No such file or directory|Read-only file system): '/(?!tmp/)"
)
ENDS_WELL = {"assert": "assert True"}  # a test that any program passes if it runs to its end


def judge(row: dict, box) -> suite.Ruling:
  """The ruling for a row of code_exec; box is an open sandbox."""
  if reason := unfit(row, box):
    return suite.Ruling(outcome="skipped", mode=row["kind"], note=reason)
  kinds = {"script": script, "early_exit": early_exit, "stdio_score": share}
  kinds |= {"assert_each": each, "assert_passrate": each}
  return kinds.get(row["kind"], whole)(row, box)


def unfit(row: dict, box) -> str:
  """Why a row cannot be judged here; "" if it can."""
  language = code_rows.language(row)
  if language not in RUNS:
    return f"{language} is not run here"
  if language == "bash" and row["kind"] != "script":
    return "tests written in bash are no kind of test here"
  if any(path.startswith("/") for path in row.get("files") or {}):
    return "a file at an absolute path"
  if row["kind"] == "humaneval" and (reason := code_rows.mispaired(row)):
    return f"prompt, completion and tests are not of one problem: {reason}"
  packages = code_rows.packages(code_rows.code(row) or "") if language == "python" else []
  absent = [name for name in packages if _once(f"import {name}", "python", box).status != "ok"]
  return f"not installed in the sandbox: {', '.join(absent)}" if absent else ""


def _once(code: str, language: str, box, stdin="", files=None, **limits) -> program.Run:
  """One run of a whole program; its build stands in where that failed."""
  given = program.Program(
    code=code,
    language=language,
    stdins=(stdin.encode(),),
    files=files or {},
    limits=dataclasses.replace(LIMITS, **limits),
  )
  (result,) = box.run([given])
  return (*result.runs, result.build)[0]


def _score(code: str | None, tests: tuple, meta: dict, cfg: grade.CodeConfig, box) -> grade.Grade:
  question = questions.Question(id="row", prompt="", kind="code", tests=tests, meta=meta)
  return grade.score([(code, cases.read(question))], cfg, box.run)[0]


def _compared(row: dict, expected, said, note: str) -> suite.Ruling:
  """The comparison, or policy where we accept what another project forbids by name."""
  ruling = suite.compare(expected, said, row["kind"])
  if ruling.outcome == "agree":
    return ruling
  imported = code_rows.imports(code_rows.code(row) or "") & set(FORBIDDEN)
  if ruling.outcome == "false_pos" and imported:
    note = f"imports {', '.join(sorted(imported))}, forbidden there and isolated here"
    return dataclasses.replace(ruling, outcome="policy", note=note)
  return dataclasses.replace(ruling, note=f"{ruling.note}; {note}")


# One function for each way of counting -----------------------------------------------------------


def whole(row: dict, box) -> suite.Ruling:
  """Accepted if every test passes."""
  code, tests, language = code_rows.code(row), code_rows.tests(row), code_rows.language(row)
  if language == "cpp" and "assert" in tests[0]:
    ended = code is not None and _ends_cpp(f"{code}\n{_closed(tests[0]['assert'])}", box)
    return _compared(row, row["accepted"], ended, "assertions beside the code")
  given = _score(code, tests, code_rows.meta(row), WHOLE, box)
  note = f"{given.score.verdict} {given.outcomes} {given.note}"
  return _compared(row, row["accepted"], given.score.verdict == "right", note)


def _closed(tests: str) -> str:
  """Tests that go on where a body ends, without the brace that the whole function has itself."""
  return tests.removeprefix("}\n")


def each(row: dict, box) -> suite.Ruling:
  """Every assertion counts on its own."""
  outcomes = _outcomes(row, box)
  passed = [int(outcome == steps.PASSED) for outcome in outcomes]
  if "passed" not in row:
    return _compared(row, row["n_pass"], sum(passed), str(outcomes))
  ruling = _compared(row, sum(row["passed"]), sum(passed), str(outcomes))
  return ruling if ruling.outcome != "agree" else _compared(row, row["passed"], passed, "")


def share(row: dict, box) -> suite.Ruling:
  """The share of the tests that pass; a project that stops after ten tests counts those alone."""
  passed = [outcome == steps.PASSED for outcome in _outcomes(row, box)]
  of_all, of_ten = (sum(some) / len(some) for some in (passed, passed[:10]))
  if of_all != of_ten and math.isclose(of_ten, row["score"], abs_tol=1e-6):
    note = f"{of_all:.3f} of {len(passed)} tests here, {of_ten:.3f} of the first ten there"
    return suite.Ruling(outcome="policy", mode=row["kind"], note=note)
  return _compared(row, round(row["score"], 6), round(of_all, 6), str(passed))


def _outcomes(row: dict, box) -> list[str]:
  """One outcome for each test, that of the program where it could not be run at all."""
  tests = code_rows.tests(row)
  given = _score(code_rows.code(row), tests, code_rows.meta(row), EACH, box)
  missing = len(tests) - len(given.outcomes)
  return [*given.outcomes, *([given.score.verdict] * missing)]


def early_exit(row: dict, box) -> suite.Ruling:
  """Accepted if the program runs to its end: that of its text in Python, of main() in C++."""
  if row["language"] == "cpp":
    return _compared(row, row["accepted"], _ends_cpp(row["code"], box), "")
  given = _score(row["code"], (ENDS_WELL,), {}, WHOLE, box)
  return _compared(row, row["accepted"], given.score.verdict == "right", given.score.verdict)


def _ends_cpp(code: str, box) -> bool:
  """Whether main() returns: it is renamed and called, and a token is printed only after that.

  So a project's assertions in C++ run beside the code; the graders of training never do this.
  """
  token = secrets.token_hex(16)
  run = _once(
    # Only a function of the name main may leave out its return, unless nothing is optimised.
    f'#pragma GCC optimize("O0")\n#define main renamed_main\n{code}\n#undef main\n'
    f'#include <cstdio>\nint main() {{ renamed_main(); std::puts("\\n{token}"); }}\n',
    "cpp",
    box,
  )
  return run.status == "ok" and run.stdout.endswith(f"{token}\n".encode())


def script(row: dict, box) -> suite.Ruling:
  """What is expected of status, exit code and output, each checked on its own."""
  names = {"run_timeout": "wall_s", "compile_timeout": "build_s"}
  limits = {limit: row[name] for name, limit in names.items() if row.get(name)}
  given = program.Program(
    code=row["code"],
    language=row["language"],
    stdins=((row.get("stdin") or "").encode(),),
    files={path: base64.b64decode(text or "") for path, text in (row.get("files") or {}).items()},
    limits=dataclasses.replace(LIMITS, **limits),
  )
  (result,) = box.run([given])
  seen = _seen(result)
  wrong = [f"{e}: {seen.get(e[0])!r:.100}" for e in row["expect"] if not _holds(e, seen)]
  succeeded = seen["status"] == "RunStatus.Success"
  if not wrong:
    return suite.Ruling(outcome="agree", mode="script")
  if not succeeded and DENIED.search(seen["run_result.stderr"]):
    note = "writes outside its working directory and /tmp, which is not possible here"
    return suite.Ruling(outcome="policy", mode="script", note=note)
  outcome = "false_pos" if succeeded else "false_neg"
  return suite.Ruling(outcome=outcome, mode="script", note="; ".join(wrong))


def _seen(result: program.Result) -> dict[str, str]:
  """The result under the names of the record, as texts."""
  runs = {"compile_result": result.build, "run_result": result.runs[0] if result.runs else None}
  fine = all(run.status == "ok" for run in runs.values() if run is not None)
  seen = {"status": "RunStatus.Success" if fine and result.runs else "RunStatus.Failed"}
  for name, run in runs.items():
    if run is None:
      continue
    ended = "TimeLimitExceeded" if run.status == "timeout" else "Finished"
    stdout = run.stdout.decode(errors="replace")
    seen |= {f"{name}.status": f"CommandRunStatus.{ended}", f"{name}.stdout": stdout}
    seen |= {f"{name}.stdout.strip": stdout.strip(), f"{name}.return_code": str(run.exit_code)}
    seen[f"{name}.stderr"] = run.stderr.decode(errors="replace")
  return {"run_result.stderr": ""} | seen


def _holds(expected: list, seen: dict[str, str]) -> bool:
  field, relation, value = expected
  if field not in seen:
    return False
  match relation:
    case "==":
      return seen[field] == str(value)
    case "!=":
      return seen[field] != str(value)
    case "contains":
      return str(value) in seen[field]
  raise ValueError(f"relation {relation!r} in a row's expect; there are ==, != and contains")


# Extraction --------------------------------------------------------------------------------------


def judge_extract(row: dict) -> suite.Ruling:
  """The ruling for a row of code_extract: our block against the recorded one.

  That project also trims: imports, assertions, examples, a class around the function. We run
  what was written, so a recorded text that is a part of ours is a policy.
  """
  args = row["args"]
  language = args.get("language", "python")
  expected, said = row["out"][0].strip(), (extract.code(args["completion"], language) or "").strip()
  if expected != said and _trimmed(expected, said):
    note = f"{len(said) - len(expected)} characters are trimmed there and kept here"
    return suite.Ruling(outcome="policy", mode="fenced", note=note)
  return suite.compare(expected, said, "fenced")


def _trimmed(expected: str, said: str) -> bool:
  """Whether every line of one text stands in the other, in order; a part of a line is enough."""
  lines = iter(said.split("\n"))
  return bool(expected) and all(
    any(part.strip() in line for line in lines) for part in expected.split("\n")
  )
