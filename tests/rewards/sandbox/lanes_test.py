import concurrent.futures
import dataclasses
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import threading
import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.rewards.sandbox import bubblewrap, lanes, program
from tests.rewards.sandbox import isolation

ROOT = pathlib.Path(__file__).parents[3]
LIMITS = isolation.LIMITS
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(60)"

pytestmark = isolation.needs_bubblewrap


@pytest.fixture(scope="module")
def box():
  with lanes.open(2) as box:
    yield box


def only(box, given: program.Program) -> program.Run:
  (result,) = box.run([given])
  (run,) = result.runs
  return run


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


def test_results_keep_the_order_of_the_programs(box):
  waits = [0.4, 0.0, 0.2, 0.0, 0.1]
  code = "import time\nwait = float(input())\ntime.sleep(wait)\nprint(wait)"
  results = box.run([isolation.python(code, str(wait).encode()) for wait in waits])
  assert [float(result.runs[0].stdout) for result in results] == waits


def test_lanes_run_side_by_side(box):
  begin = time.monotonic()
  box.run([isolation.python("import time; time.sleep(1)")] * 2)
  assert time.monotonic() - begin < 1.9


def test_nothing_given_nothing_run(box):
  assert box.run([]) == []
  no_input = dataclasses.replace(isolation.python(""), stdins=())
  assert box.run([no_input])[0].runs == ()


def test_threads_share_a_box(box):
  """Each thread gets its own results, off the main thread too (a signal-based limit would not)."""
  code = "print(input())"

  def ask(number: int) -> list[bytes]:
    given = isolation.python(code, *(f"{number}-{n}".encode() for n in range(3)))
    return [run.stdout for run in box.run([given])[0].runs]

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(ask, range(8)))
  assert answers == [[f"{i}-{n}\n".encode() for n in range(3)] for i in range(8)]


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
  assert only(box, isolation.python(code, limits=limited(**changes))).status == status


def test_output_is_cut_at_its_limit(box):
  run = only(box, isolation.python("print('x' * 10**6)", limits=limited(output_bytes=100)))
  assert run.stdout == b"x" * 100
  assert run.exit_code is None


def test_a_signal_is_a_negative_exit_code(box):
  run = only(box, isolation.python("import os; os.kill(os.getpid(), 11)"))
  assert run.exit_code == -signal.SIGSEGV


def test_files_lie_beside_the_program(box):
  files = {"table.txt": b"\x00\xff", "package/part.py": b"VALUE = 7", "package/deep/x": b""}
  code = (
    "from package import part\nimport os\n"
    "print(part.VALUE, open('table.txt', 'rb').read(), os.path.exists('package/deep/x'))\n"
    "open('package/new', 'w').close()"
  )
  run = only(box, dataclasses.replace(isolation.python(code), files=files))
  assert run.stdout == b"7 b'\\x00\\xff' True\n", run.stderr


def test_given_files_use_up_none_of_the_disk(box):
  full = f"open('/tmp/x', 'wb').write(b'x' * {LIMITS.disk_bytes - 8192}); print('written')"
  run = only(box, isolation.python(full, table=b"x" * (3 * LIMITS.disk_bytes)))
  assert run.stdout == b"written\n", run.stderr


def test_a_source_larger_than_the_disk_is_run(box):
  """A lost run is masked, so an answer must not be able to buy one with its length."""
  run = only(box, isolation.python("#" * (4 * LIMITS.disk_bytes) + "\nprint(1)"))
  assert (run.status, run.stdout) == ("ok", b"1\n")


def test_a_large_input_arrives_whole(box):
  run = only(box, isolation.python("import sys; print(len(sys.stdin.read()))", b"x" * 10_000_000))
  assert run.stdout == b"10000000\n"


def test_exit_and_the_usual_names_are_there(box):
  """The interpreter's site module defines exit and quit, which answers use."""
  run = only(box, isolation.python("print(__name__, __file__)\nexit(4)"))
  assert run.stdout == b"__main__ /tmp/work/program.py\n"
  assert run.exit_code == 4


def test_the_trainers_packages_cannot_be_imported(box):
  run = only(box, isolation.python("import pytest"))
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
    run = only(box, isolation.python("import installed; print(installed.VALUE)"))
  assert run.stdout == b"7\n", run.stderr


def test_processes_of_one_lane_do_not_count_in_another(box):
  code = (
    "import os, time\n"
    "for _ in range(5):\n  if os.fork() == 0:\n    time.sleep(1)\n    os._exit(0)\n"
    "for _ in range(5): os.wait()\nprint('all')"
  )
  results = box.run([isolation.python(code)] * 4)
  assert [result.runs[0].stdout for result in results] == [b"all\n"] * 4


def test_two_boxes_share_no_uid():
  with lanes.open(2) as first, lanes.open(2) as second:
    code = "import os; print(os.getuid())"
    runs = [only(box, isolation.python(code)).stdout for box in (first, second) for _ in range(2)]
  if os.geteuid() == 0:
    assert set(runs[:2]).isdisjoint(runs[2:])


def test_too_many_lanes_are_refused_with_what_to_do():
  if os.geteuid() != 0:
    pytest.skip("an ordinary user's lanes share his uid")
  with pytest.raises(
    ValueError, match=r"10000 lanes given and \d+ uids are free; open fewer lanes"
  ):
    lanes.open(10000).__enter__()


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
  run = only(box, given)
  assert run.stdout == b"in\nprogram.sh\n"
  assert run.exit_code == 7


def test_orphans_are_gone_when_run_returns(box):
  token = f"token-{secrets.token_hex(8)}"
  code = (
    "import os, time\n"
    "if os.fork() == 0:\n  os.setsid()\n  os.closerange(0, 9)\n  time.sleep(60)\nprint('done')"
  )
  run = only(box, isolation.python(code, **{token: b""}))
  assert run.stdout == b"done\n"
  assert isolation.alive(token) == []


def test_a_killed_bwrap_loses_its_own_run_only(box):
  token = f"token-{secrets.token_hex(8)}"
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    victim = isolation.python(SLEEPER, **{token: b""})
    batch = pool.submit(box.run, [victim, isolation.python("print(1)")])
    assert isolation.wait_until(lambda: len(isolation.alive(token)) >= 3)
    os.kill(min(map(int, isolation.alive(token))), signal.SIGKILL)
    lost, whole = (result.runs[0] for result in batch.result(10))
  assert (lost.status, lost.exit_code) == ("lost", None)
  assert whole.stdout == b"1\n"
  assert isolation.alive(token) == []
  assert only(box, isolation.python("print(2)")).stdout == b"2\n"


def test_the_death_of_the_parent_leaves_nothing():
  token = f"token-{secrets.token_hex(8)}"
  code = (
    "from r1.rewards.sandbox import lanes\nfrom tests.rewards.sandbox import isolation\n"
    f"with lanes.open(2) as box: box.run([isolation.python({SLEEPER!r}, **{{{token!r}: b''}})] * 2)"
  )
  with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
    assert isolation.wait_until(lambda: len(isolation.alive(token)) >= 6, 10.0)
    parent.kill()
  assert isolation.wait_until(lambda: not isolation.alive(token))


def test_what_the_machine_refuses_is_a_lost_run(box, monkeypatch):
  def refuse(*args, **kwargs):
    raise OSError(11, "Resource temporarily unavailable")

  monkeypatch.setattr(subprocess, "Popen", refuse)
  run = only(box, isolation.python("print(1)"))
  assert run.status == "lost"
  assert b"Resource temporarily unavailable" in run.stderr


def test_closing_waits_and_then_refuses():
  with lanes.open(1) as box:
    seen = []
    given = isolation.python("import time; time.sleep(0.3); print('end')")
    thread = threading.Thread(target=lambda: seen.append(only(box, given)))
    thread.start()
    time.sleep(0.1)
  thread.join(5)
  assert seen[0].stdout == b"end\n"
  with pytest.raises(RuntimeError, match="after shutdown"):
    box.run([given])


HEALTH = (hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large)
CODES = strategies.one_of(
  strategies.text(max_size=200),
  strategies.binary(max_size=200).map(lambda b: b.decode("utf-8", "surrogateescape")),
  strategies.text(
    strategies.sampled_from("print(input())\n:[]{}'\"\\=+-*/ 0123456789abc\x00\ud800"), max_size=200
  ),
)


PROGRAMS = strategies.builds(
  lambda code, stdin, language: program.Program(
    code=code, language=language, stdins=(stdin,), files={}, limits=LIMITS
  ),
  CODES,
  strategies.binary(max_size=300),
  strategies.sampled_from(("python", "bash")),
)


@hypothesis.settings(max_examples=30, deadline=None, database=None, suppress_health_check=HEALTH)
@hypothesis.given(programs=strategies.lists(PROGRAMS, min_size=10, max_size=10))
def test_any_text_is_run_without_an_exception(box, programs):
  """300 programs, in batches of ten."""
  runs = [result.runs[0] for result in box.run(programs)]
  assert all(run.status in ("ok", "failed", "timeout", "memory", "output") for run in runs), runs


@pytest.mark.slow
def test_thirty_simple_programs_a_second_on_two_lanes(box):
  count = 200
  programs = [isolation.python("print(int(input()) + 1)", b"1") for _ in range(count)]
  begin = time.monotonic()
  results = box.run(programs)
  assert {result.runs[0].stdout for result in results} == {b"2\n"}
  assert count / (time.monotonic() - begin) >= 30
