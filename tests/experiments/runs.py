"""Runs of any stage: how they are made small, how they die, and what is left of them."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from r1.stages import course
from r1.train import metrics, workdir

ROOT = pathlib.Path(__file__).parents[2]


class Killed(BaseException):
  """Nobody may catch it, as nobody catches SIGKILL."""


def changed(made, changes: dict, **more):
  """The config with other settings; a double underscore in a name stands for the dot."""
  dotted = {name.replace("__", "."): value for name, value in more.items()}
  made.update_from_flattened_dict(changes | dotted)
  return made


def kill(patch, stage, made, folder, *, at: int, loop=None):
  """Runs `stage` until the metrics before checkpoint `at` are logged, and dies without it.

  loop: the module whose `save` writes the checkpoint, where that is not the stage itself.
  """
  return _kill(patch, stage, made, folder, at, loop or stage, lambda given: given[2])


def kill_rl(patch, stage, made, folder, *, at: int):
  """The same of a stage of reinforcement learning; a checkpoint is told by its rollouts."""
  return _kill(patch, stage, made, folder, at, course, lambda given: given[1].rollouts)


def _kill(patch, stage, made, folder, at, loop, number):
  """number: which checkpoint it is, by what `loop.save` is given."""
  save = loop.save

  def save_until_killed(*given, **named):
    if number(given) == at:
      raise Killed
    save(*given, **named)

  with patch.context() as context:
    context.setattr(loop, "save", save_until_killed)
    with pytest.raises(Killed):
      stage.main(made, folder)
  return folder


def command(stage: str, config: str, folder, changes: dict) -> list[str]:
  """The command line of a stage."""
  module = ["-m", f"experiments.{stage}", f"--config=configs/{stage}.py:{config}"]
  more = [f"--config.{name}={value}" for name, value in changes.items()]
  return [sys.executable, *module, f"--workdir={folder}", *more]


def refused(tmp_path, stage: str, config: str, changes: dict) -> str:
  """What a command says that must fail and leave no workdir."""
  folder = tmp_path / "run"
  given = command(stage, config, folder, changes)
  done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.returncode != 0
  assert not folder.exists()
  return done.stderr


def run_through_signals(whole: list[str], folder, lines) -> None:
  """Runs a command to its end, killed each time that metrics.jsonl has so many lines."""
  for count in lines:
    child = subprocess.Popen(whole, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    path, started = folder / "metrics.jsonl", time.monotonic()
    while not path.exists() or path.read_text().count("\n") < count:
      assert child.poll() is None, child.stderr.read().decode()
      assert time.monotonic() - started < 300
      time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
  subprocess.run(whole, cwd=ROOT, check=True, capture_output=True, timeout=300)


def steady(folder) -> list[dict]:
  """The metrics without clocks."""
  return [metrics.steady(record) for record in metrics.read(folder / "metrics.jsonl")]


def by_step(folder) -> dict[int, dict]:
  """{step: everything logged at it}."""
  found: dict[int, dict] = {}
  for record in steady(folder):
    found.setdefault(record["step"], {}).update(record)
  return found


def parameters(folder) -> dict:
  return workdir.load(folder).params
