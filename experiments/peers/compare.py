"""Ours and theirs by turns on the same work, in one sitting: medians, and the ratio of each pair.

  python -m experiments.peers.compare --tunix-python=TUNIX/bin/python --trl-python=TRL/bin/python \\
    [--what=sample] [--rounds=5] [--threads=1] [--json=FILE]

Every round starts each program once, in the same order, and each measures inside itself after its
own warm-up. A pair is ours and theirs of one round. Nothing is compared unless sizes, parameters,
lengths and counted tokens agree. --ours=--config.batch.microbatch_tokens=2560 passes a flag on to
experiments.throughput, once for each flag.
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence

from experiments.peers import work as peers

ROOT = pathlib.Path(__file__).parents[2]
SAME = ("params", "sizes", "tokens", "longest", "lengths_sha256", "kl", "dtype")
OWN = ("tunix_python", "trl_python", "what", "rounds", "json", "ours", "slots")


def parser():
  """The peers' flags, and which programs are compared."""
  made = peers.flags(__doc__)
  made.add_argument("--tunix-python", default="", help="interpreter with google-tunix")
  made.add_argument("--trl-python", default="", help="interpreter with trl and transformers")
  made.add_argument("--what", choices=("step", "sample"), default="step")
  made.add_argument("--rounds", type=int, default=5)
  made.add_argument("--slots", type=int, default=0, help="of ours; 0: every answer at once")
  made.add_argument("--ours", action="append", default=[], help="a flag more for ours")
  made.add_argument("--json", default="", help="where the records and ratios go")
  return made


def our_command(given) -> list[str]:
  """experiments.throughput on this work."""
  after = {name: getattr(given, name) for name in peers.WORK}
  after |= {"lengths": given.lengths, "mean": given.mean, "file": given.lengths_file}
  after |= {"kl": given.kl, "slots": given.slots}
  arg = ",".join(f"{name}={value}" for name, value in after.items() if value != "")
  letters = {name: getattr(given, name) for name in peers.SIZES} | {"K": given.D // given.H}
  settings = {f"letters.{name}": value for name, value in letters.items()}
  settings |= {"clock.warmup": given.warmup, "clock.repeats": given.steps}
  settings |= {"clock.until": "update" if given.what == "step" else "sample"}
  settings |= {"optimizer.learning_rate": given.lr, "runtime.dtype": given.dtype}
  flags = [f"--config.{name}={value}" for name, value in settings.items()]
  command = [sys.executable, "-m", "experiments.throughput"]
  return [*command, f"--config=configs/throughput.py:{arg}", *flags, *given.ours, "--json"]


def their_commands(given) -> dict[str, list[str]]:
  """{program: command} of the peers whose interpreters were given."""
  shared = {name: value for name, value in vars(given).items() if name not in OWN and value != ""}
  flags = [f"--{name.replace('_', '-')}={value}" for name, value in shared.items()]
  sampling, made = given.what == "sample", {}
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
  if not any(pythons.values()):
    raise ValueError("nothing to compare with: give --tunix-python or --trl-python")
  for flag, python in pythons.items():
    # Programs start from the repository's root.
    if python and not shutil.which(str(ROOT / python) if os.sep in python else python):
      raise ValueError(
        f"{flag}={python} is no program; see experiments/peers/README.md on how to make one"
      )
  for name in ("rounds", "steps", "warmup"):
    if getattr(given, name) < 1:
      raise ValueError(f"--{name}={getattr(given, name)} must be >= 1")


def line(name: str, command: Sequence[str]) -> dict:
  """The last line that a program prints. Raises RuntimeError with its end where it failed."""
  env = os.environ | {"PYTHONPATH": str(ROOT)}
  done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
  if done.returncode:
    raise RuntimeError(f"{name} failed: {' '.join(command)}\n{done.stderr[-3000:]}")
  return json.loads(done.stdout.splitlines()[-1])


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


def ratios(rounds: Sequence[dict[str, dict]]) -> dict[str, list[float]]:
  """{program: how many times as long as ours it took, in each round}, of the rounds' medians."""
  return {
    name: [r[name]["seconds_median"] / r["ours"]["seconds_median"] for r in rounds]
    for name in rounds[0]
  }


def summary(rounds: Sequence[dict[str, dict]]) -> dict[str, dict]:
  """{program: seconds, tokens/s and ratio, medians over the rounds}."""
  found = ratios(rounds)
  return {
    name: {
      "seconds": statistics.median(r[name]["seconds_median"] for r in rounds),
      "tokens_per_s": statistics.median(r[name]["tokens_per_s"] for r in rounds),
      "ratio": statistics.median(found[name]),
      "ratios": found[name],
    }
    for name in rounds[0]
  }


def show(found: dict[str, dict], what: str) -> None:
  print(f"{what:20} {'seconds':>9} {'tokens/s':>10} {'ratio':>6}   ratio of each pair")
  for name, x in found.items():
    pairs = " ".join(f"{ratio:.2f}" for ratio in x["ratios"])
    print(f"{name:20} {x['seconds']:9.4f} {x['tokens_per_s']:10,.0f} {x['ratio']:6.2f}   {pairs}")


def main(given) -> dict:
  """Runs the rounds, prints, and returns what was found."""
  check_given(given)
  theirs = their_commands(given)
  peers.use_cores(given.threads)  # of every child too
  rounds = []
  for number in range(given.rounds):
    records = {"ours": as_peer(line("ours", our_command(given)), given.what)}
    records |= {name: line(name, command) for name, command in theirs.items()}
    check(records)
    rounds.append(records)
    times = ", ".join(f"{name} {r['seconds_median']:.4f} s" for name, r in records.items())
    print(f"round {number + 1}/{given.rounds}: {times}", flush=True)
  found = summary(rounds)
  show(found, given.what)
  if given.json:
    text = json.dumps({"what": given.what, "summary": found, "rounds": rounds})
    pathlib.Path(given.json).write_text(text + "\n", encoding="utf-8")
  return found


if __name__ == "__main__":
  main(parser().parse_args())
