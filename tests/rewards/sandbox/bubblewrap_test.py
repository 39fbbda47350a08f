import os
import pathlib
import sys

import pytest

from r1.rewards.sandbox import bubblewrap
from tests.rewards.sandbox import isolation


def argv(uid: int | None, python: str = "/usr/bin/python3", **files) -> list[str]:
  return bubblewrap.argv(
    ["true"], isolation.LIMITS, files=files, python=python, uid=uid, status_fd=5, seccomp_fd=6
  )


def has(words: list[str], *wanted: str) -> bool:
  return any(words[i : i + len(wanted)] == list(wanted) for i in range(len(words)))


def test_an_ordinary_user_gets_a_user_name_space_and_no_capability():
  words = argv(None)
  assert {"--unshare-user", "--disable-userns"} < set(words)
  assert "--cap-add" not in words
  assert "setpriv" not in words


def test_root_gives_itself_up_before_the_program_starts():
  words = argv(60706)
  assert words.index("setpriv") < words.index("prlimit") < words.index("true")
  assert "--reuid=60706" in words


@pytest.mark.parametrize("uid", [None, 60706])
def test_every_name_space_is_new_and_the_environment_is_empty(uid):
  wanted = {"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--clearenv"}
  assert wanted | {"--die-with-parent", "--new-session"} < set(argv(uid))


def test_bubblewraps_own_process_does_not_use_up_the_programs_count():
  assert "--nproc=8" in argv(60706)
  assert "--nproc=9" in argv(None)


def test_the_disk_has_room_for_the_given_files():
  """1 MiB, and for a file of 5000 bytes two pages and one for its folder entry."""
  words = argv(None, **{"a": (7, 5000, "0644")})
  assert has(words, "--size", str((1 << 20) + 3 * 4096))
  assert has(words, "--perms", "0644", "--file", "7", "/tmp/work/a")


def test_the_system_interpreter_needs_no_further_folder():
  assert bubblewrap.prefixes("/usr/bin/python3") == []


def test_an_interpreter_elsewhere_brings_its_folder_and_its_bases(tmp_path):
  """A virtual environment links to the interpreter that it was made from."""
  base, environment = tmp_path / "base", tmp_path / "environment"
  for folder in (base, environment):
    (folder / "bin").mkdir(parents=True)
  (base / "bin/python3").touch()
  (base / "lib/python3.11/site-packages").mkdir(parents=True)
  (environment / "bin/python").symlink_to(base / "bin/python3")
  python = str(environment / "bin/python")
  assert bubblewrap.prefixes(python) == [str(base), str(environment)]
  assert bubblewrap.packages(python) == [str(base / "lib/python3.11/site-packages")]
  words = argv(None, python)
  assert has(words, "--perms", "0755", "--dir", str(tmp_path))
  assert has(words, "--ro-bind", str(environment), str(environment))


def test_the_default_interpreter_is_the_one_below_a_virtual_environment():
  assert pathlib.Path(bubblewrap.PYTHON).is_relative_to(sys.base_prefix)
  assert os.access(bubblewrap.PYTHON, os.X_OK)
