"""The pipeline on stages that take no time: in order, once each, and again only where needed."""

import json
import os
import pathlib
import subprocess
import sys
import time

import ml_collections
import pytest

from experiments import pipeline
from r1.stages import chain
from tests.experiments import fake_stages, runs

# ml_collections loads a config's file in a way that Python 3.12 drops.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

NAMES = ("base", "zero", "cold", "sft")


def config(**fails):
  """base -> zero -> cold; base and cold -> sft. fails: when a stage dies, once."""
  given = {
    "base": "seed=1",
    "zero": "seed=10,model={base}",
    "cold": "seed=100,model={zero}",
    "sft": "seed=1000,model={base},data={cold}",
  }
  stages = [(name, "fake", arg, [("fail", fails.get(name, ""))]) for name, arg in given.items()]
  return ml_collections.ConfigDict({"stages": stages, "rows": [("base", "base", "")]} | RIVAL)


RIVAL = {"rival": "base"}


@pytest.fixture
def played(tmp_path, monkeypatch):
  """The names of the stages that ran, in order; a repository whose stages are fakes is here."""
  fake_stages.write(tmp_path)
  monkeypatch.chdir(tmp_path)
  seen = []

  def play(words, **given):
    seen.append(words[-1].rpartition("/")[2])
    return fake_stages.play([w for w in words if w != "--config.fail="], **given)

  monkeypatch.setattr(subprocess, "run", commit_or(play, subprocess.run))
  return seen


def commit_or(play, run):
  """git is asked as ever."""
  return lambda words, **given: run(words, **given) if words[0] == "git" else play(words, **given)


def go(made=None, *ends):
  pipeline.main(made or config(), pathlib.Path("runs"), *ends)


def papers():
  return {path.name: path.read_bytes() for path in pathlib.Path("runs").glob("*.[jm]*")}


def test_stages_run_in_order_and_a_second_start_does_nothing_and_says_so(played, capsys):
  go()
  assert played == list(NAMES)
  assert fake_stages.value("runs/sft") == 1112
  before = papers()
  stats = {path: path.stat().st_mtime_ns for path in pathlib.Path("runs").rglob("*.json")}
  go()
  assert played == list(NAMES)
  assert "all 4 stages are finished, there is nothing to do" in capsys.readouterr().out
  assert papers() == before
  assert {p: p.stat().st_mtime_ns for p in pathlib.Path("runs").rglob("*.json")} == stats


def test_only_what_is_behind_a_change_is_made_again_and_nothing_is_lost(played, capsys):
  go()
  made = config()
  made.stages[1] = ("zero", "fake", "seed=20,model={base}", [])
  played.clear()
  go(made)
  assert played == ["zero", "cold", "sft"]
  assert fake_stages.value("runs/sft") == 1122
  assert fake_stages.value("runs/sft.stale-1") == 1112
  said = capsys.readouterr().out
  assert "seed: 10 there, 20 now" in said
  assert f"{pathlib.Path('runs').resolve()}/zero was digest of 11, is digest of 21" in said


def test_a_change_without_consequences_stops_where_it_ends(played):
  """zero comes out the same, so its children are as good as they were."""
  go()
  made = config()
  made.stages[1] = ("zero", "fake", "seed=5,model={base}", [("scale", "2")])
  played.clear()
  go(made)
  assert played == ["zero"]


def test_a_part_of_the_chain_runs_alone(played):
  go(None, None, "zero")
  assert played == ["base", "zero"]
  go(None, "cold", "cold")
  assert played == ["base", "zero", "cold"]
  go(None, "sft", None)
  assert played == list(NAMES)


def test_a_parent_that_is_not_there_or_not_finished_is_named(played):
  with pytest.raises(ValueError, match="parent runs/zero: no such file or folder"):
    go(None, "cold", None)
  go()
  pathlib.Path("runs/zero/finished.json").unlink()
  with pytest.raises(ValueError, match="parent runs/zero: this run of fake is not finished"):
    go(None, "cold", None)
  assert pathlib.Path("runs/cold").exists(), "it was not set aside for that"


@pytest.mark.parametrize("when", ["claimed", "begun", "made"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stage_that_dies_passes_its_code_on_and_the_same_command_ends_like_one_that_did_not(
  played, tmp_path, capsys, name, when
):
  with pytest.raises(SystemExit) as stopped:
    go(config(**{name: when}))
  assert stopped.value.code == 7
  said = capsys.readouterr().out
  assert f"{name} ended with 7; this repeats it by hand:" in said
  assert f"python -m experiments.fake --config=configs/fake.py:{ARGS[name]}" in said.replace(
    f"{tmp_path.resolve()}/", ""
  )
  go(config(**{name: when}))
  assert played == [n for n in NAMES for _ in range(2 if n == name else 1)]
  assert f"{name}: continued" in capsys.readouterr().out
  killed = json.loads(pathlib.Path("runs/lineage.json").read_text())
  (tmp_path / "runs").rename(tmp_path / "killed")
  go()
  assert json.loads(pathlib.Path("runs/lineage.json").read_text()) == killed


ARGS = {
  "base": "seed=1",
  "zero": "seed=10,model=runs/base",
  "cold": "seed=100,model=runs/zero",
  "sft": "seed=1000,model=runs/base,data=runs/cold",
}


def test_a_stage_that_ends_well_without_having_finished_is_an_error(played, monkeypatch):
  monkeypatch.setattr(
    pipeline.subprocess,
    "run",
    commit_or(lambda words, **_: subprocess.CompletedProcess(words, 0), subprocess.run),
  )
  with pytest.raises(ValueError, match=r"base ended without finished\.json"):
    go()


# The real command --------------------------------------------------------------------------------

PIPELINE = """
import ml_collections
def get_config(arg):
  stages = [("one", "fake", "seed=1", [("fail", arg)]), ("two", "fake", "seed=2,model={one}", [])]
  rows = [("one", "one", "")]
  return ml_collections.ConfigDict({"stages": stages, "rows": rows, "rival": "one"})
"""


@pytest.fixture
def command(tmp_path):
  fake_stages.write(tmp_path)
  (tmp_path / "configs" / "pipeline.py").write_text(PIPELINE)
  env = os.environ | {"PYTHONPATH": f"{tmp_path}:{runs.ROOT}", "R1_NO_REEXEC": "1"}
  script = str(runs.ROOT / "experiments" / "pipeline.py")

  def start(*given, kind=subprocess.run, **more):
    whole = [sys.executable, script, "--workdir=runs", *given]
    return kind(whole, cwd=tmp_path, env=env, text=True, **more)

  return start


@pytest.mark.slow
def test_the_command_runs_stages_in_processes_of_their_own(command, tmp_path):
  done = command("--config=configs/pipeline.py:made", capture_output=True)
  assert done.returncode == 7, done.stderr
  assert "one ended with 7" in done.stdout
  done = command("--config=configs/pipeline.py:made", "--until=one", capture_output=True)
  assert done.returncode == 0, done.stderr
  assert not (tmp_path / "runs" / "two").exists()
  done = command("--config=configs/pipeline.py:made", "--from=three", capture_output=True)
  assert done.returncode == 1
  assert done.stderr == "experiments.pipeline: there is no stage 'three'; there are one, two\n"


@pytest.mark.slow
def test_a_stage_that_outlives_its_pipeline_keeps_the_folder(command, tmp_path):
  """Or a second start would run the same stage beside it, in the same workdir."""
  program = tmp_path / "experiments" / "fake.py"
  program.write_text(f"import time\ntime.sleep(6)\n{program.read_text()}")
  given = {"stdout": subprocess.DEVNULL, "kind": subprocess.Popen}
  child = command("--config=configs/pipeline.py:", "--until=one", **given)
  lock, started = tmp_path / "runs" / chain.LOCK, time.monotonic()
  while not lock.exists() or not busy(child.pid):
    assert time.monotonic() - started < 120
    time.sleep(0.05)
  child.kill()
  child.wait()
  done = command("--config=configs/pipeline.py:", capture_output=True)
  assert done.returncode == 1
  assert "or a stage that it started, is at work in runs" in done.stderr


def busy(pid: int) -> bool:
  """Has the process started another?"""
  return bool(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().strip())
