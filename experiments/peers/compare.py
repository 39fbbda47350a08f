"""Ours and theirs by turns on the same work, in one sitting: medians, and the ratio of each pair.

  python -m experiments.peers.compare --tunix-python=TUNIX/bin/python --trl-python=TRL/bin/python \\
    [--what=sample] [--steps=5] [--threads=1] [--plain-loop=SLOTS] [--json=FILE]

Each program is started once, and then they take turns: one step of ours, one of each peer, and so
on, the others standing still, warm-up included; a pair is ours and theirs of one round of turns.
Nothing is compared unless sizes, parameters, lengths and counted tokens agree. --plain-loop adds
our own step with the plain batch loop in place of the engine. --ours=--config.x=VALUE passes a flag
on to experiments.throughput, once for each flag.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from experiments.peers import work as peers
from r1.train import turns

ROOT = pathlib.Path(__file__).parents[2]
SAME = ("params", "sizes", "tokens", "longest", "lengths_sha256", "kl", "dtype")
OWN = ("tunix_python", "trl_python", "what", "json", "ours", "slots", "plain_loop", "turns")


def parser():
  """The peers' flags, and which programs are compared."""
  made = peers.flags(__doc__)
  made.add_argument("--tunix-python", default="", help="interpreter with google-tunix")
  made.add_argument("--trl-python", default="", help="interpreter with trl and transformers")
  made.add_argument("--what", choices=("step", "sample"), default="step")
  made.add_argument("--slots", type=int, default=0, help="of ours; 0: every answer at once")
  made.add_argument("--plain-loop", type=int, default=0, help="slots of the plain loop; 0: without")
  made.add_argument("--ours", action="append", default=[], help="a flag more for ours")
  made.add_argument("--json", default="", help="where the records and ratios go")
  return made


def our_command(given, slots: int, *more: str) -> list[str]:
  """experiments.throughput on this work."""
  after = {name: getattr(given, name) for name in peers.WORK}
  after |= {"lengths": given.lengths, "mean": given.mean, "file": given.lengths_file}
  after |= {"kl": given.kl, "slots": slots}
  arg = ",".join(f"{name}={value}" for name, value in after.items() if value != "")
  letters = {name: getattr(given, name) for name in peers.SIZES} | {"K": given.D // given.H}
  settings = {f"letters.{name}": value for name, value in letters.items()}
  settings |= {"clock.warmup": given.warmup, "clock.repeats": given.steps}
  settings |= {"clock.until": "update" if given.what == "step" else "sample"}
  settings |= {"optimizer.learning_rate": given.lr, "runtime.dtype": given.dtype}
  flags = [f"--config.{name}={value}" for name, value in settings.items()]
  command = [sys.executable, "-m", "experiments.throughput"]
  recipe = f"--config=configs/throughput.py:{arg}"
  return [*command, recipe, *flags, *given.ours, *more, "--json", "--turns"]


def their_commands(given) -> dict[str, list[str]]:
  """{program: command} of what ours is compared with."""
  shared = {name: value for name, value in vars(given).items() if name not in OWN and value != ""}
  flags = [f"--{name.replace('_', '-')}={value}" for name, value in shared.items()] + ["--turns"]
  sampling, made = given.what == "sample", {}
  if given.plain_loop:
    made["plain loop"] = our_command(given, given.plain_loop, "--config.loop=True")
  if given.tunix_python:
    command = [given.tunix_python, "-m", "experiments.peers.tunix_grpo", *flags]
    made["tunix"] = command + ["--sampler-only"] * sampling
  if given.trl_python:
    command = [given.trl_python, "-m", "experiments.peers.trl_grpo", *flags]
    made["transformers" if sampling else "trl"] = command + ["--generate-only"] * sampling
    if sampling:
      made["transformers static"] = [*command, "--generate-only", "--static-cache"]
  return made


def check_given(given) -> None:
  """Raises ValueError on what would end the comparison after its first minutes."""
  pythons = {"--tunix-python": given.tunix_python, "--trl-python": given.trl_python}
  if not any(pythons.values()) and not given.plain_loop:
    raise ValueError("nothing to compare with: give --tunix-python, --trl-python or --plain-loop")
  for flag, python in pythons.items():
    # Programs start from the repository's root.
    if python and not shutil.which(str(ROOT / python) if os.sep in python else python):
      raise ValueError(
        f"{flag}={python} is no program; see experiments/peers/README.md on how to make one"
      )
  for name in ("steps", "warmup"):
    if getattr(given, name) < 1:
      raise ValueError(f"--{name}={getattr(given, name)} must be >= 1")


@dataclasses.dataclass(frozen=True)
class Program:
  """A running program: its ends of the pipes, and the file that has what it says beside."""

  process: subprocess.Popen
  turns: IO[str]
  lines: IO[str]
  said: IO[str]


@contextlib.contextmanager
def started(commands: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Program]]:
  """The programs, each with a pipe in and out; none of them outlives the context."""
  env = os.environ | {"PYTHONPATH": str(ROOT)}
  with contextlib.ExitStack() as stack:
    running = {}
    for name, command in commands.items():
      said = stack.enter_context(tempfile.TemporaryFile("w+"))
      process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
      )
      assert process.stdin
      assert process.stdout
      stack.enter_context(process)  # closes the pipes and waits
      stack.callback(process.kill)
      running[name] = Program(process, process.stdin, process.stdout, said)
    yield running


def advance(name: str, program: Program) -> str:
  """Reads up to where the program waits for a turn: TURN, or its last line where it has ended.

  Raises RuntimeError with what it said where it failed.
  """
  last = ""
  while line := program.lines.readline():
    last = line.strip() or last
    if last == turns.TURN:
      return last
  if program.process.wait() or not last:
    program.said.seek(0)
    raise RuntimeError(f"{name} failed: {program.process.args}\n{program.said.read()[-3000:]}")
  return last


def by_turns(commands: Mapping[str, Sequence[str]]) -> dict[str, dict]:
  """{program: its record}, each program moving on only when all others stand still."""
  with started(commands) as running:
    state = {name: advance(name, program) for name, program in running.items()}
    while waiting := [name for name, last in state.items() if last == turns.TURN]:
      for name in waiting:
        running[name].turns.write("\n")
        running[name].turns.flush()
        state[name] = advance(name, running[name])
  return {name: json.loads(last) for name, last in state.items()}


def as_peer(record: dict, what: str) -> dict:
  """Our record in the peers' form."""
  part = record["parts"][what]
  work = record["work"]
  return {
    **{name: record[name] for name in ("what", "params", "tokens", "longest", "lengths_sha256")},
    "sizes": {name: record["sizes"][name] for name in peers.SIZES},
    "kl": work["kl"],
    "dtype": record["dtype"],
    "counted": record["tokens"],
    **{name: part[name] for name in ("seconds", "seconds_median", "seconds_min", "tokens_per_s")},
    "record": record,
  }


def check(records: dict[str, dict]) -> None:
  """Raises ValueError naming what does not agree: nothing is to be compared then."""
  ours = records["ours"]
  faults = [
    f"{name}: {key} is {record[key]}, ours {ours[key]}"
    for name, record in records.items()
    for key in SAME
    if record[key] != ours[key]
  ]
  faults += [
    f"{name}: counted {record['counted']} tokens of {record['tokens']}"
    for name, record in records.items()
    if record["counted"] != record["tokens"]
  ]
  if faults:
    raise ValueError("the programs did not do the same work:\n  " + "\n  ".join(faults))


def ratios(records: dict[str, dict]) -> dict[str, list[float]]:
  """{program: how many times as long as ours it took, in each round of turns}."""
  ours = records["ours"]["seconds"]
  return {
    name: [theirs / own for theirs, own in zip(record["seconds"], ours, strict=True)]
    for name, record in records.items()
  }


def summary(records: dict[str, dict]) -> dict[str, dict]:
  """{program: seconds, tokens/s and ratio, medians over the rounds}."""
  found = ratios(records)
  return {
    name: {
      "seconds": record["seconds_median"],
      "tokens_per_s": record["tokens_per_s"],
      "ratio": statistics.median(found[name]),
      "ratios": found[name],
    }
    for name, record in records.items()
  }


def show(found: dict[str, dict], what: str) -> None:
  print(f"{what:20} {'seconds':>9} {'tokens/s':>10} {'ratio':>6}   ratio of each pair")
  for name, x in found.items():
    pairs = " ".join(f"{ratio:.2f}" for ratio in x["ratios"])
    print(f"{name:20} {x['seconds']:9.4f} {x['tokens_per_s']:10,.0f} {x['ratio']:6.2f}   {pairs}")


def main(given) -> dict:
  """Runs all programs by turns, prints, and returns what was found."""
  check_given(given)
  theirs = their_commands(given)
  peers.use_cores(given.threads)  # of every child too
  records = by_turns({"ours": our_command(given, given.slots)} | theirs)
  for name in {"ours", "plain loop"} & records.keys():
    records[name] = as_peer(records[name], given.what)
  check(records)
  found = summary(records)
  show(found, given.what)
  if given.json:
    text = json.dumps({"what": given.what, "summary": found, "records": records})
    pathlib.Path(given.json).write_text(text + "\n", encoding="utf-8")
  return found


if __name__ == "__main__":
  main(parser().parse_args())
