"""Strict JAX on eight virtual CPU devices, and the folder of recorded data."""

import gc
import os
import pathlib
import sys

import pytest

# Variables, not jax.config, so that subprocesses inherit them; set before jax is imported.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("MPLBACKEND", "Agg")
# The tests' programs run for milliseconds and compile for seconds: half of them in LLVM's passes,
# and two thirds of the rest in the newer of XLA's two ways of making a CPU kernel of a fusion.
os.environ.setdefault(
  "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)


MAPS = 30_000  # of memory; Linux gives a process 65,530, and LLVM crashes where it gets no more


def pytest_collection_finish():
  """What was imported and collected stays to the end, so garbage is not looked for in it."""
  gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Each worker takes half of the files, and later half of what the other has not begun.

  The default gives out few tests at a time, so both workers would compile most files' programs.
  """
  from xdist import scheduler

  if config.getoption("dist") == "load":
    return scheduler.WorkStealingScheduling(config, log)
  return None


@pytest.fixture(scope="module", autouse=True)
def few_programs():
  """Each compiled program holds some maps of memory, and a worker compiles thousands of them."""
  yield
  maps = pathlib.Path("/proc/self/maps")
  if "jax" in sys.modules and maps.exists() and maps.read_bytes().count(b"\n") > MAPS:
    sys.modules["jax"].clear_caches()


@pytest.fixture(scope="session")
def verifier():
  """Graders of tagged answers, whose workers start when a test first needs them."""
  from r1.rewards import accuracy
  from tests.rewards import settings

  with accuracy.Verifier(settings.verifier("answer_tag")) as opened:
    yield opened


@pytest.fixture(scope="session")
def test_data() -> pathlib.Path:
  """The folder $R1_TEST_DATA of recorded data; the test is skipped where it is not set."""
  folder = os.environ.get("R1_TEST_DATA")
  if not folder:
    pytest.skip("R1_TEST_DATA is not set: no recorded data on this machine")
  path = pathlib.Path(folder)
  if not path.is_dir():
    pytest.fail(f"R1_TEST_DATA={folder} is not a folder")
  return path
