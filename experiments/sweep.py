"""An ablation: the same experiment with one thing changed, over several seeds, as a table.

  python -m experiments.sweep --config=configs/ablations.py:clip --workdir=runs/clip

Every arm and seed is a run of its own below the workdir, made by the command that it prints, and
evaluated by `experiments.evaluate`; `lanes` of them go side by side, each on cores of its own. What
is there already is not run again, so a sweep that was stopped goes on, and one more seed is cheap;
the arm that changes nothing is the stage of `experiments.pipeline` itself.
"""

import concurrent.futures
import dataclasses
import json
import math
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import time

import rich.console

from r1.report import interval
from r1.train import lineage, metrics, run

DONE = "evaluation.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """One seed of an arm: the workdirs of its training and of its evaluation, and what makes them.

  commands: [] where the arm is a stage of the pipeline, which has made them.
  """

  arm: str
  seed: int
  trained: pathlib.Path
  asked: pathlib.Path
  commands: list[list[str]]


def runs(config, folder: pathlib.Path) -> list[Run]:
  """Every arm with every seed, seed by seed, so that whole rows of a seed are there early."""
  return [make(config, given, seed, folder) for seed in config.seeds for given in config.arms]


def make(config, given: tuple, seed: int, folder: pathlib.Path) -> Run:
  """The run and its evaluation as commands; {seed} and {pipeline} stand in its argument."""
  name, experiment, arg, mode, overrides = given
  pipeline = pathlib.Path(config.pipeline.format(seed=seed))
  arg = arg.format(seed=seed, pipeline=pipeline)
  if experiment == "pipeline":
    home, asked = pipeline / arg, pipeline / f"eval_{arg}"
    return Run(arm=name, seed=seed, trained=home, asked=asked, commands=[])
  here = folder / f"{name}-{seed}"
  home, asked = here / "run", here / "eval"
  flags = [f"--config.{key}={value}" for key, value in overrides]
  learn = command(experiment, arg, home, flags)
  ask = command("evaluate", f"tiny,model={home},mode={mode}", asked, [])
  return Run(arm=name, seed=seed, trained=home, asked=asked, commands=[learn, ask])


def command(experiment: str, arg: str, workdir: pathlib.Path, flags: list[str]) -> list[str]:
  recipe = f"--config=configs/{experiment}.py:{arg}"
  return [sys.executable, "-m", f"experiments.{experiment}", recipe, f"--workdir={workdir}", *flags]


def go(one: Run, cores: queue.SimpleQueue, console) -> None:
  """Runs what is missing of an arm on a set of cores that nobody else has.

  Raises RuntimeError with the command and the end of its output where one fails.
  """
  if (one.asked / DONE).exists():
    return
  mine, started = cores.get(), time.monotonic()
  one.trained.parent.mkdir(parents=True, exist_ok=True)
  try:
    for words in one.commands:
      console.print(" ".join(words[1:]), style="dim", soft_wrap=True, markup=False)
      path = one.trained.with_name("output.log")
      with path.open("a") as log, subprocess.Popen(words, stdout=log, stderr=log) as program:
        os.sched_setaffinity(program.pid, mine)  # long before it has threads
      if program.returncode:
        tail = path.read_text()[-2000:]
        raise RuntimeError(f"{' '.join(words)} ended with {program.returncode}:\n{tail}")
  finally:
    cores.put(mine)
  console.print(f"{one.arm}, seed {one.seed}: {(time.monotonic() - started) / 60:.1f} minutes")


def numbers(one: Run, reach: float) -> dict[str, float]:
  """The evaluation's means, and of the training (arms that have rollouts) by its metrics:

  - updates_to: after how many updates the accuracy of three rollouts came to `reach`; inf is never,
    NaN a training without rollouts
  - helpful: what the helpful reward model gave in the last three rollouts
  - trained, sampled: millions of tokens that went through updates and that were sampled
  """
  found = json.loads((one.asked / DONE).read_text())
  lines = metrics.read(one.trained / "metrics.jsonl")
  return {name: mean for name, (mean, _) in found.items()} | {
    "updates_to": updates_to(lines, reach),
    "helpful": statistics.fmean(column(lines, "reward/helpful")[-3:] or [0.0]),
    "trained": tokens(lines, "train", "update"),
    "sampled": tokens(lines, "sample", "sample"),
  }


def column(lines: list[dict], name: str) -> list[float]:
  return [line[name] for line in lines if name in line]


def updates_to(lines: list[dict], reach: float) -> float:
  lines = [line for line in lines if "reward/accuracy" in line]
  if not lines:
    return float("nan")
  each = column(lines, "reward/accuracy")
  means = [statistics.fmean(each[i - 2 : i + 1]) for i in range(2, len(each))]
  there = (line["step"] for line, mean in zip(lines[2:], means, strict=True) if mean >= reach)
  return float(next(there, float("inf")))


def tokens(lines: list[dict], what: str, part: str) -> float:
  """Millions of tokens, from the rate and the time of every rollout or step."""
  rate, seconds = f"throughput/{what}_tokens_per_s", f"time/{part}_s"
  return sum(line[rate] * line[seconds] for line in lines if rate in line) / 1e6


def plain(values: dict[str, float]) -> dict[str, float | None]:
  """As JSON has them: None for what never came about."""
  return {name: value if math.isfinite(value) else None for name, value in values.items()}


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


def check(config, every: list[Run], cores: list[int]) -> None:
  """Raises ValueError for what would fail only after hours."""
  if not config.arms:
    raise ValueError("no ablation given: name one after the colon, see configs/ablations.py")
  if not 1 <= config.lanes <= len(cores):
    raise ValueError(f"lanes={config.lanes}: wanted 1 to {len(cores)}, the cores of this process")
  for one in every:
    who = f"arm {one.arm}, seed {one.seed}: "
    if not one.commands and not (one.asked / DONE).exists():
      raise ValueError(
        f"{who}{one.asked} has no {DONE}; run experiments.pipeline with that seed first, or name "
        "its workdir with pipeline="
      )
    if lines := [*lineage.changed(one.trained), *lineage.changed(one.asked)]:
      raise ValueError(
        f"{who}what it came from has changed since; remove {one.trained} and {one.asked}, or give "
        "another --workdir:\n  " + "\n  ".join(lines)
      )


def main(config, folder: pathlib.Path) -> None:
  console = rich.console.Console()
  every, here = runs(config, folder), sorted(os.sched_getaffinity(0))
  check(config, every, here)
  cores = queue.SimpleQueue()
  for lane in range(config.lanes):
    cores.put(set(here[lane :: config.lanes]))
  again = {"arms": config.arms, "pipeline": config.pipeline}  # more seeds may come
  run.claim(folder, "sweep", again)
  with concurrent.futures.ThreadPoolExecutor(config.lanes) as lanes:
    waiting = [lanes.submit(go, one, cores, console) for one in every]
    concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_EXCEPTION)
    lanes.shutdown(cancel_futures=True)  # after an error the others do not begin
    for each in waiting:
      if not each.cancelled():
        each.result()
  found = [(one, numbers(one, config.reach)) for one in every]
  told = {f"{one.arm}-{one.seed}": plain(values) for one, values in found}
  run.note(folder / "table.json", told)
  (folder / "table.md").write_text(table(config, found))
  console.print((folder / "table.md").read_text(), markup=False, soft_wrap=True)


if __name__ == "__main__":
  run.stage(main)
