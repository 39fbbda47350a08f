"""How far can the rewards be trusted? Recorded cases of other graders, and known reward hacks.

  python -m experiments.audit_rewards --cases=DIR --json=audit.json

DIR holds suites `<name>.jsonl` or `<name>.jsonl.gz`, one recorded case a line. Without it the
hacks alone are tried. Ends with 1 if a hack was accepted.
"""

import functools
import gzip
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import rich.box
import rich.console
import rich.table
from absl import app, flags
from ml_collections import config_flags

from r1.data import questions
from r1.evals.audit import code, functions, maths, suite, texts
from r1.rewards import accuracy, canaries

SHOWN = 10  # differences told of a suite


PROGRAMS = {  # questions of the three kinds of tests
  "printed": ({"input": "1", "output": "2"},),
  "called": ({"fn_name": "add", "input": [1], "output": 2},),
  "asserted": ({"assert": "assert add(1) == 2"},),
}


def judges(verifier: accuracy.Verifier) -> dict[str, Callable[[dict], suite.Ruling]]:
  """The judge of each suite that rewards answer for, by the name of its file."""
  grader = verifier.maths
  outputs = functools.partial(maths.model_outputs, grader=grader)
  return {
    "math_equal": functools.partial(maths.math_equal, grader=grader),
    "math_model_outputs": functools.partial(outputs, mode="boxed"),
    "gsm8k_model_outputs": functools.partial(outputs, mode="gsm8k"),
    "normalize_extract": functools.partial(maths.normalize_extract, grader=grader),
    "choice_extract": texts.choice_extract,
    "qa_match": texts.qa_match,
    "aggregate_metrics": texts.letters,
    "code_exec": lambda row: code.judge(row, verifier.box),
    "code_extract": code.judge_extract,
    "reward_functions": functools.partial(functions.reward_functions, grader=grader),
  }


def suites(folder: pathlib.Path) -> Iterator[tuple[str, list[dict]]]:
  """(name, rows) of every suite in a folder."""
  paths = sorted((*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")))
  if not paths:
    raise ValueError(f"{folder} holds no suite; wanted files NAME.jsonl or NAME.jsonl.gz in it")
  for path in paths:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
      yield path.name.split(".")[0], [json.loads(line) for line in lines if line.strip()]


def audit(name: str, rows: list[dict], judge: Callable | None, say: Callable) -> tuple[dict, str]:
  """(count of one suite, modes used); differences are told as they are found."""
  rulings, seconds, told = [], [], 0
  for row in rows:
    start = time.perf_counter()
    ruling = judge(row) if judge else suite.Ruling(outcome="skipped", mode="", note="no reward")
    seconds.append(time.perf_counter() - start)
    rulings.append(ruling)
    if ruling.outcome in ("false_pos", "false_neg") and told < SHOWN:
      say(f"  {name} {row.get('id', '')}: {ruling.outcome} in {ruling.mode}: {ruling.note}")
      told += 1
  for (outcome, note), count in suite.reasons(rulings).items():
    say(f"  {name}: {count} {outcome}: {note}")
  modes = {ruling.mode for ruling in rulings if ruling.outcome not in ("policy", "skipped")}
  used = f"{len(modes)} rules" if len(modes) > 1 else "".join(modes)
  return suite.tally(rulings, seconds), used


def hacks(mode: str, verifier: accuracy.Verifier, say: Callable) -> dict:
  """Every canary on a question of each kind, in one mode; agreement is that none is right."""
  kinds = (("maths", "42"), ("maths", "x^2+1"), ("short", "Paris"), ("choice", "B"), ("logic", "7"))
  asked = [
    questions.Question(id=f"{kind} {answer}", prompt="What is 40 + 2?", answer=answer, kind=kind)
    for kind, answer in kinds
  ]
  for name, tests in PROGRAMS.items():
    asked.append(questions.Question(id=name, prompt="Add 1.", kind="code", tests=tests))
  start = time.perf_counter()
  found, tried = canaries.accepted(asked, verifier)
  seconds = time.perf_counter() - start
  for name, canary in found:
    say(f"  accepted in {mode}: {canary!r} on {name!r}")
  rulings = [suite.Ruling(outcome="false_pos", mode=mode)] * len(found)
  rulings += [suite.Ruling(outcome="agree", mode=mode)] * (tried - len(found))
  return suite.tally(rulings, [seconds / tried] * tried)


HEADS = ("rows", "agree", "false +", "false -", "policy", "skipped", "ms")


def table(results: dict[str, dict], modes: dict[str, str]) -> rich.table.Table:
  """One line a suite."""
  drawn = rich.table.Table(title="rewards against recorded cases", box=rich.box.SIMPLE)
  drawn.add_column("suite", no_wrap=True)
  for head in (*HEADS, "agreement"):
    drawn.add_column(head, justify="right", no_wrap=True)
  drawn.add_column("mode")
  for name, result in results.items():
    judged = result["rows"] - result["policy"] - result["skipped"]
    share = f"{result['agree'] / judged:.2%}" if judged else "–"
    counts = [str(result[c]) for c in ("rows", *suite.OUTCOMES)]
    drawn.add_row(name, *counts, f"{result['ms_median']:.2f}", share, modes.get(name, ""))
  return drawn


def main(section, cases: str, out: str) -> int:
  """Runs everything, prints the table, writes the JSON; 1 if a hack was accepted."""
  started, console = time.monotonic(), rich.console.Console()
  say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
  results, modes = {}, {}
  for mode in ("answer_tag", "boxed"):
    with accuracy.Verifier(accuracy.config(section, mode)) as verifier:
      modes[f"canaries/{mode}"] = mode
      results[f"canaries/{mode}"] = hacks(mode, verifier, say)
      if mode == "boxed" and cases:
        known = judges(verifier)
        for name, rows in suites(pathlib.Path(cases)):
          results[name], modes[name] = audit(name, rows, known.get(name), say)
  console.print(table(results, modes), soft_wrap=True, no_wrap=True)
  say(f"done in {time.monotonic() - started:.1f} s" + ("" if cases else "; no --cases given"))
  if out:
    pathlib.Path(out).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
  return int(any(r["false_pos"] for name, r in results.items() if name.startswith("canaries/")))


def parse_flags(argv):
  """The flags, defined where they are read."""
  there = os.environ.get("R1_TEST_DATA")
  default = str(pathlib.Path(there) / "graders") if there else ""
  recipe = pathlib.Path(__file__).parents[1] / "configs" / "verifiers.py"
  config_flags.DEFINE_config_file("config", str(recipe), "limits of the verifiers")
  flags.DEFINE_string("cases", default, "folder of recorded cases; $R1_TEST_DATA/graders if set")
  flags.DEFINE_string("json", "", "where the counts go")
  return app.parse_flags_with_usage(argv)


if __name__ == "__main__":
  app.run(
    lambda argv: sys.exit(main(flags.FLAGS.config, flags.FLAGS.cases, flags.FLAGS.json)),
    flags_parser=parse_flags,
  )
