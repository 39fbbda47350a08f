"""The real pipeline, killed in every stage: it ends like one that nobody disturbed."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest

from configs import pipeline as recipe
from r1.stages import chain
from tests.experiments import runs

STARTED = re.compile(r"(\w+): (begun|continued)\n")
NAMES = [link.name for link in chain.links(recipe.get_config("smoke").stages)]


@pytest.fixture(scope="module")
def env(tmp_path_factory):
  cache = str(tmp_path_factory.mktemp("cache"))
  return os.environ | {"R1_CACHE": cache, "R1_NO_REEXEC": "1", "PYTHONUNBUFFERED": "1"}


def start(root, env):
  """The command of the issue, in a process group of its own."""
  module = ["-m", "experiments.pipeline", "--config=configs/pipeline.py:smoke"]
  return subprocess.Popen(
    [sys.executable, *module, f"--workdir={root}"],
    cwd=runs.ROOT,
    env=env,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    start_new_session=True,
  )


def lines_of(child) -> dict[str, int]:
  """How many lines every stage prints, until the pipeline is at its end."""
  counts, now, said = {}, None, []
  for line in child.stdout:
    said.append(line)
    if found := STARTED.fullmatch(line):
      now = found[1]
    counts[now] = counts.get(now, 0) + 1
  assert child.wait() == 0, "".join(said[-50:])
  return counts


def kill_in(child, name: str, after: int) -> None:
  """SIGKILL to the whole group when the stage has printed so many lines."""
  count = None
  for line in child.stdout:
    if found := STARTED.fullmatch(line):
      count = 0 if found[1] == name else None
    count = None if count is None else count + 1
    if count == after:
      os.killpg(child.pid, signal.SIGKILL)
      break
  child.stdout.close()
  child.wait()
  assert count == after, f"{name} never printed {after} lines"


def papers(root: pathlib.Path) -> dict:
  """What must be the same: every digest, count, parent and number."""
  found = {name: json.loads((root / name).read_text()) for name in ("lineage.json", "table.json")}
  found["table.md"] = (root / "table.md").read_text()
  return found | {n: json.loads((root / n / "finished.json").read_text()) for n in NAMES}


@pytest.fixture(scope="module")
def whole(env, tmp_path_factory):
  """(the folder, its undisturbed papers, lines by stage); the folder is free again."""
  root = tmp_path_factory.mktemp("pipeline") / "r1"
  counts = lines_of(start(root, env))
  found = papers(root)
  before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
  again = start(root, env)
  said = again.communicate()[0]
  assert again.returncode == 0
  assert f"all {len(NAMES)} stages are finished, there is nothing to do" in said
  after = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
  assert {p.name for p in after if after[p] != before.get(p)} <= {chain.LOCK}
  shutil.rmtree(root)
  return root, found, counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_a_pipeline_killed_in_every_stage_ends_like_one_that_was_not(whole, env, seed):
  root, wanted, counts = whole
  shutil.rmtree(pathlib.Path(env["R1_CACHE"]) / "bases")  # or the bases would be there already
  rng = random.Random(seed)
  for name in NAMES:
    kill_in(start(root, env), name, rng.randrange(2, counts[name]))
    assert not (root / name / "finished.json").exists(), f"{name} was done before it was killed"
  lines_of(start(root, env))
  assert not list(root.glob("*.stale-*"))
  found = papers(root)
  for name, paper in wanted.items():
    assert found[name] == paper, name
