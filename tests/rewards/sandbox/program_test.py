import dataclasses

import pytest

from r1.rewards.sandbox import program
from tests.rewards.sandbox import isolation


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_a_limit_is_finite_and_above_0(value):
  with pytest.raises(ValueError, match=r"limit wall_s=.* given; use a finite number above 0"):
    dataclasses.replace(isolation.LIMITS, wall_s=value)


def test_an_unknown_language_is_refused():
  with pytest.raises(ValueError, match="language 'cobol' given; use one of python, cpp, bash"):
    dataclasses.replace(isolation.python(""), language="cobol")


@pytest.mark.parametrize("path", ["", ".", "/etc/x", "../x", "a/../../x", "a\0b", "a/"])
def test_files_stay_below_the_program(path):
  with pytest.raises(ValueError, match="name it by a relative path below the program"):
    dataclasses.replace(isolation.python(""), files={path: b""})


@pytest.mark.parametrize("path", ["program.py", "program", "program.cpp/x"])
def test_a_file_cannot_take_the_programs_place(path):
  with pytest.raises(ValueError, match="is where the program itself stands"):
    dataclasses.replace(isolation.python(""), files={path: b""})


def test_a_lost_run_gives_its_reason():
  run = program.lost("no memory")
  assert (run.status, run.exit_code, run.stdout, run.stderr) == ("lost", None, b"", b"no memory")
