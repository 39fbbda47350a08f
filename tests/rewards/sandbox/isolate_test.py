import dataclasses
import pathlib
import secrets
import signal
import subprocess

import pytest

from r1.rewards.sandbox import bubblewrap, lanes, program
from tests.rewards.sandbox import isolation

LIMITS = isolation.LIMITS

pytestmark = isolation.needs_bubblewrap


@pytest.fixture(scope="module")
def box():
  with lanes.open(2) as box:
    yield box


def limited(**changes) -> program.Limits:
  return dataclasses.replace(LIMITS, **changes)


def test_each_stdin_has_a_run_of_its_own_in_order(box):
  given = isolation.python("print(int(input()) * 2)", b"1", b"2", b"x")
  (result,) = box.run([given])
  assert result.build is None
  assert [run.stdout for run in result.runs] == [b"2\n", b"4\n", b""]
  assert [run.status for run in result.runs] == ["ok", "ok", "failed"]
  assert [run.exit_code for run in result.runs] == [0, 0, 1]


def test_runs_end_with_the_first_failure_if_wanted(box):
  given = isolation.python("exit(int(input()))", b"0", b"1", b"0")
  assert len(box.run([given])[0].runs) == 3
  (result,) = box.run([dataclasses.replace(given, until_failure=True)])
  assert [run.exit_code for run in result.runs] == [0, 1]


@pytest.mark.parametrize(
  ("code", "changes", "status"),
  [
    ("pass", {}, "ok"),
    ("raise SystemExit(3)", {}, "failed"),
    ("import os; os.kill(os.getpid(), 11)", {}, "failed"),
    ("import time; time.sleep(60)", {"wall_s": 0.5}, "timeout"),
    ("while True: pass", {"cpu_s": 1.0}, "timeout"),
    ("x = bytearray(1 << 29)", {}, "memory"),
    ("print('x' * 1000)", {"output_bytes": 100}, "output"),
    ("print('x' * 99)", {"output_bytes": 100}, "ok"),
  ],
)
def test_the_status_says_how_a_run_ended(box, code, changes, status):
  assert isolation.only(box, isolation.python(code, limits=limited(**changes))).status == status


def test_output_is_cut_at_its_limit(box):
  run = isolation.only(
    box, isolation.python("print('x' * 10**6)", limits=limited(output_bytes=100))
  )
  assert run.stdout == b"x" * 100
  assert run.exit_code is None


def test_a_signal_is_a_negative_exit_code(box):
  run = isolation.only(box, isolation.python("import os; os.kill(os.getpid(), 11)"))
  assert run.exit_code == -signal.SIGSEGV


def test_files_lie_beside_the_program(box):
  files = {"table.txt": b"\x00\xff", "package/part.py": b"VALUE = 7", "package/deep/x": b""}
  code = (
    "from package import part\nimport os\n"
    "print(part.VALUE, open('table.txt', 'rb').read(), os.path.exists('package/deep/x'))\n"
    "open('package/new', 'w').close()"
  )
  run = isolation.only(box, dataclasses.replace(isolation.python(code), files=files))
  assert run.stdout == b"7 b'\\x00\\xff' True\n", run.stderr


def test_given_files_use_up_none_of_the_disk(box):
  full = f"open('/tmp/x', 'wb').write(b'x' * {LIMITS.disk_bytes - 8192}); print('written')"
  run = isolation.only(box, isolation.python(full, table=b"x" * (3 * LIMITS.disk_bytes)))
  assert run.stdout == b"written\n", run.stderr


def test_a_source_larger_than_the_disk_is_run(box):
  """A lost run is masked, so an answer must not be able to buy one with its length."""
  run = isolation.only(box, isolation.python("#" * (4 * LIMITS.disk_bytes) + "\nprint(1)"))
  assert (run.status, run.stdout) == ("ok", b"1\n")


def test_a_large_input_arrives_whole(box):
  run = isolation.only(
    box, isolation.python("import sys; print(len(sys.stdin.read()))", b"x" * 10_000_000)
  )
  assert run.stdout == b"10000000\n"


def test_exit_and_the_usual_names_are_there(box):
  """The interpreter's site module defines exit and quit, which answers use."""
  run = isolation.only(box, isolation.python("print(__name__, __file__)\nexit(4)"))
  assert run.stdout == b"__main__ /tmp/work/program.py\n"
  assert run.exit_code == 4


def test_the_trainers_packages_cannot_be_imported(box):
  run = isolation.only(box, isolation.python("import pytest"))
  assert b"No module named 'pytest'" in run.stderr


def test_a_virtual_environment_brings_its_packages(tmp_path):
  version = pathlib.Path(bubblewrap.PYTHON).name
  packages = tmp_path / "lib" / version / "site-packages"
  packages.mkdir(parents=True)
  (packages / "installed.py").write_text("VALUE = 7")
  (tmp_path / "bin").mkdir()
  (tmp_path / "bin/python").symlink_to(bubblewrap.PYTHON)
  (tmp_path / "pyvenv.cfg").write_text(f"home = {pathlib.Path(bubblewrap.PYTHON).parent}\n")
  tmp_path.chmod(0o755)
  with lanes.open(1, str(tmp_path / "bin/python")) as box:
    run = isolation.only(box, isolation.python("import installed; print(installed.VALUE)"))
  assert run.stdout == b"7\n", run.stderr


@isolation.needs_compiler
def test_cpp_is_built_once_and_run_for_each_input(box):
  code = "#include <iostream>\nint main(){int a; std::cin >> a; std::cout << a + 1;}"
  given = dataclasses.replace(isolation.python(code, b"1", b"2"), language="cpp")
  (result,) = box.run([given])
  assert result.build
  assert result.build.status == "ok"
  assert result.build.stdout == b""
  assert [run.stdout for run in result.runs] == [b"2", b"3"]


@isolation.needs_compiler
def test_a_failed_build_says_why_and_runs_nothing(box):
  (result,) = box.run([dataclasses.replace(isolation.python("int main("), language="cpp")])
  assert result.runs == ()
  assert result.build
  assert result.build.status == "failed"
  assert b"program.cpp:1" in result.build.stderr


def test_bash_runs_in_the_working_directory(box):
  given = dataclasses.replace(
    isolation.python("read x; echo $x; ls; exit 7", b"in"), language="bash"
  )
  run = isolation.only(box, given)
  assert run.stdout == b"in\nprogram.sh\n"
  assert run.exit_code == 7


def test_orphans_are_gone_when_run_returns(box):
  token = f"token-{secrets.token_hex(8)}"
  code = (
    "import os, time\n"
    "if os.fork() == 0:\n  os.setsid()\n  os.closerange(0, 9)\n  time.sleep(60)\nprint('done')"
  )
  run = isolation.only(box, isolation.python(code, **{token: b""}))
  assert run.stdout == b"done\n"
  assert isolation.alive(token) == []


def test_what_the_machine_refuses_is_a_lost_run(box, monkeypatch):
  def refuse(*args, **kwargs):
    raise OSError(11, "Resource temporarily unavailable")

  monkeypatch.setattr(subprocess, "Popen", refuse)
  run = isolation.only(box, isolation.python("print(1)"))
  assert run.status == "lost"
  assert b"Resource temporarily unavailable" in run.stderr
