"""Stages without a model: their workdirs have all the papers, and take no time to make.

A stage's product is a number, its seed plus the numbers of its parents, so a changed seed changes
everything behind it.
"""

import importlib
import json
import pathlib
import textwrap

import ml_collections

from r1.train import lineage, run

RECIPE = """
from tests.experiments import fake_stages
get_config = fake_stages.get_config
"""
PROGRAM = """
from r1.train import run
from tests.experiments import fake_stages
run.stage(fake_stages.main)
"""


def get_config(arg):
  c = ml_collections.ConfigDict({"seed": 0, "model": "", "data": "", "scale": 1, "fail": ""})
  for item in filter(None, arg.split(",")):
    name, _, value = item.partition("=")
    c[name] = int(value) if isinstance(c[name], int) else value
  return c


def value(where) -> int:
  return json.loads((pathlib.Path(where) / "value.json").read_text())["value"]


def main(config, folder: pathlib.Path) -> None:
  """Fails, where it is told to, at one of the moments in which a stage can die."""
  if lineage.finished(folder) is not None:
    return
  parents = [where for where in (config.model, config.data) if where]
  for where in parents:
    lineage.parent(where)
  run.claim(folder, "fake", config.to_dict())
  die(config.fail, folder, "claimed")
  digests = {where: lineage.digest(where) for where in parents}
  lineage.begin(folder, "fake", digests, {}, {"train": lineage.count(3, ["wrong"])})
  die(config.fail, folder, "begun")
  made = config.scale * config.seed + sum(value(where) for where in parents)
  run.note(folder / "value.json", {"value": made})
  die(config.fail, folder, "made")
  lineage.finish(folder, {"model": f"digest of {made}"})


def die(when: str, folder: pathlib.Path, now: str) -> None:
  """Once per workdir."""
  if when == now and not (folder / "died").exists():
    (folder / "died").write_text("")
    raise SystemExit(7)


def write(root: pathlib.Path) -> None:
  """A folder from which `python -m experiments.fake --config=configs/fake.py:` works."""
  for name, text in (("configs", RECIPE), ("experiments", PROGRAM)):
    (root / name).mkdir()
    (root / name / "fake.py").write_text(textwrap.dedent(text))


def play(words, **_):
  """What `subprocess.run` does with a stage's command, in this process."""
  given = {w.split("=", 1)[0]: w.split("=", 1)[1] for w in words if w.startswith("--")}
  config = get_config(given.pop("--config").partition(":")[2])
  folder = pathlib.Path(given.pop("--workdir"))
  for name, text in given.items():
    name = name.removeprefix("--config.")
    config[name] = int(text) if isinstance(config[name], int) else text
  code = 0
  try:
    main(config, folder)
  except SystemExit as stop:
    code = stop.code
  return importlib.import_module("subprocess").CompletedProcess(words, code)
