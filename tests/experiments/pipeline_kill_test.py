"""The real pipeline, killed in every stage: it ends like one that nobody disturbed."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from configs import pipeline as recipe
from r1.stages import chain
from tests.experiments import runs

NAMES = [link.name for link in chain.links(recipe.get_config("smoke").stages)]
LIMIT = 3600  # seconds of one start, on a machine that has other work


@pytest.fixture(scope="module")
def env(tmp_path_factory):
  cache = str(tmp_path_factory.mktemp("cache"))
  return os.environ | {"R1_CACHE": cache, "R1_NO_REEXEC": "1"}


def start(root, env):
  """The command of the README, in a process group of its own."""
  module = ["-m", "experiments.pipeline", "--config=configs/pipeline.py:smoke"]
  with root.with_name("output.log").open("w") as log:
    return subprocess.Popen(
      [sys.executable, *module, f"--workdir={root}"],
      cwd=runs.ROOT,
      env=env,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )


def end(child, root) -> str:
  """Waits for a start that must go well; gives what it said."""
  code = child.wait(timeout=LIMIT)
  said = root.with_name("output.log").read_text()
  assert code == 0, said[-3000:]
  return said


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  """What is there; folders that a running stage takes away meanwhile are passed over."""
  return [pathlib.Path(at, name) for at, _, names in os.walk(folder) for name in names]


def kill_in(child, folder: pathlib.Path, after: int) -> None:
  """SIGKILL to the whole group as soon as the stage has written so many files."""
  started = time.monotonic()
  while len(files(folder)) < after:
    assert child.poll() is None, folder.parent.with_name("output.log").read_text()[-3000:]
    assert time.monotonic() - started < LIMIT
    time.sleep(0.005)
  os.killpg(child.pid, signal.SIGKILL)
  child.wait()


def papers(root: pathlib.Path) -> dict:
  """What must be the same: every digest, count, parent and number."""
  found = {name: json.loads((root / name).read_text()) for name in ("lineage.json", "table.json")}
  found["table.md"] = (root / "table.md").read_text()
  return found | {n: json.loads((root / n / "finished.json").read_text()) for n in NAMES}


@pytest.fixture(scope="module")
def whole(env, tmp_path_factory):
  """(a folder, the papers of an undisturbed run in it, how many files each stage has left)."""
  root = tmp_path_factory.mktemp("pipeline") / "r1"
  end(start(root, env), root)
  found, counts = papers(root), {name: len(files(root / name)) for name in NAMES}
  before = {path: path.stat().st_mtime_ns for path in files(root)}
  said = end(start(root, env), root)
  assert f"all {len(NAMES)} stages are finished, there is nothing to do" in said
  after = {path: path.stat().st_mtime_ns for path in files(root)}
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
    kill_in(start(root, env), root / name, rng.randrange(1, counts[name]))
  end(start(root, env), root)
  assert not list(root.glob("*.stale-*"))
  found = papers(root)
  for name, paper in wanted.items():
    assert found[name] == paper, name
