"""An ablation: the same experiment with one thing changed, over several seeds, as a table.

  python -m experiments.sweep --config=configs/ablations.py:clip --workdir=runs/clip

Every arm and seed is a run of its own below the workdir, made by the command that it prints, and
evaluated by `experiments.evaluate`; `lanes` of them go side by side, each on cores of its own. What
is there already is not run again, so a sweep that was stopped goes on, and one more seed is cheap.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import time

import rich.console

from r1.report import interval
from r1.train import metrics, run

DONE = "evaluation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One seed of an arm: its commands, and the folder where its numbers will stand."""

  arm: str
  seed: int
  folder: pathlib.Path
  commands: list[list[str]]


def runs(config, folder: pathlib.Path) -> list[Run]:
  """Every arm with every seed, seed by seed, so that whole rows of a seed are there early."""
  return [make(config, given, seed, folder) for seed in config.seeds for given in config.arms]


def make(config, given: tuple, seed: int, folder: pathlib.Path) -> Run:
  """The run and its evaluation as commands; {seed} and {pipeline} stand in its argument."""
  name, experiment, arg, mode, overrides = given
  here = folder / f"{name}-{seed}"
  arg = arg.format(seed=seed, pipeline=config.pipeline.format(seed=seed))
  flags = [f"--config.{key}={value}" for key, value in overrides]
  learn = command(experiment, arg, here / "run", flags)
  ask = command("evaluate", f"tiny,model={here / 'run'},mode={mode}", here / "eval", [])
  return Run(arm=name, seed=seed, folder=here, commands=[learn, ask])


def command(experiment: str, arg: str, workdir: pathlib.Path, flags: list[str]) -> list[str]:
  recipe = f"--config=configs/{experiment}.py:{arg}"
  return [sys.executable, "-m", f"experiments.{experiment}", recipe, f"--workdir={workdir}", *flags]


def go(one: Run, cores: queue.SimpleQueue, console) -> None:
  """Runs what is missing of an arm on a set of cores that nobody else has.

  Raises RuntimeError with the command and the end of its output where one fails.
  """
  if (one.folder / "eval" / DONE).exists():
    return
  mine, started = cores.get(), time.monotonic()
  one.folder.mkdir(parents=True, exist_ok=True)
  try:
    for words in one.commands:
      console.print(" ".join(words[1:]), style="dim", soft_wrap=True, markup=False)
      path = one.folder / "output.log"
      with path.open("a") as log, subprocess.Popen(words, stdout=log, stderr=log) as program:
        os.sched_setaffinity(program.pid, mine)  # long before it has threads
      if program.returncode:
        tail = path.read_text()[-2000:]
        raise RuntimeError(f"{' '.join(words)} ended with {program.returncode}:\n{tail}")
  finally:
    cores.put(mine)
  console.print(f"{one.arm}, seed {one.seed}: {(time.monotonic() - started) / 60:.1f} minutes")


def numbers(one: Run, reach: float) -> dict[str, float]:
  """The evaluation's means, and `updates_to`: after how many updates the accuracy of training, over
  three rollouts, came to `reach` (infinite where it never did)."""
  found = json.loads((one.folder / "eval" / DONE).read_text())
  values = {name: mean for name, (mean, _) in found.items()}
  lines = [r for r in metrics.read(one.folder / "run" / "metrics.jsonl") if "reward/accuracy" in r]
  last = [r["reward/accuracy"] for r in lines]
  reached = [
    line["step"] for i, line in enumerate(lines) if i >= 2 and sum(last[i - 2 : i + 1]) / 3 >= reach
  ]
  return values | {"updates_to": float(reached[0]) if reached else float("inf")}


def table(config, found: list[tuple[Run, dict[str, float]]]) -> str:
  """Markdown: a row for each arm, its metrics as mean ± 95 % interval over the seeds."""
  lines = ["| arm | " + " | ".join(config.metrics) + " | seeds |"]
  lines.append("| --- " * (len(config.metrics) + 2) + "|")
  for name, *_ in config.arms:
    rows = [values for one, values in found if one.arm == name]
    cells = [interval.text([row[metric] for row in rows]) for metric in config.metrics]
    seeds = ", ".join(str(one.seed) for one, _ in found if one.arm == name)
    lines.append(f"| {name} | " + " | ".join(cells) + f" | {seeds} |")
  return "\n".join(lines) + "\n"


def main(config, folder: pathlib.Path) -> None:
  console = rich.console.Console()
  if not config.arms:
    raise ValueError("no ablation given: name one after the colon, see configs/ablations.py")
  every, cores = runs(config, folder), queue.SimpleQueue()
  here = sorted(os.sched_getaffinity(0))
  if not 1 <= config.lanes <= len(here):
    raise ValueError(f"lanes={config.lanes}: wanted 1 to {len(here)}, the cores of this process")
  for lane in range(config.lanes):
    cores.put(set(here[lane :: config.lanes]))
  again = {"arms": config.arms, "pipeline": config.pipeline}  # more seeds may come
  run.claim(folder, "sweep", again)
  with concurrent.futures.ThreadPoolExecutor(config.lanes) as lanes:
    for waiting in [lanes.submit(go, one, cores, console) for one in every]:
      waiting.result()
  found = [(one, numbers(one, config.reach)) for one in every]
  run.note(folder / "table.json", {f"{one.arm}-{one.seed}": values for one, values in found})
  (folder / "table.md").write_text(table(config, found))
  console.print((folder / "table.md").read_text(), markup=False, soft_wrap=True)


if __name__ == "__main__":
  run.stage(main)
