"""One open sandbox for all tests of graders, and what they are graded with."""

import shutil

import pytest

from r1.rewards.code import grade
from r1.rewards.sandbox import lanes, program

LIMITS = program.Limits(
  wall_s=3.0,
  build_s=30.0,
  cpu_s=3.0,
  memory_bytes=1 << 30,
  disk_bytes=8 << 20,
  output_bytes=1 << 20,
  processes=16,
)


@pytest.fixture(scope="session")
def box():
  if shutil.which("bwrap") is None:
    pytest.skip("bubblewrap is not installed: nothing to isolate programs with")
  with lanes.open(2) as opened:
    yield opened


@pytest.fixture
def whole():
  return grade.CodeConfig(credit="all", limits=LIMITS)


@pytest.fixture
def fraction():
  return grade.CodeConfig(credit="fraction", limits=LIMITS)
