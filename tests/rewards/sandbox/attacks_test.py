import json
import os
import pathlib
import random
import secrets
import socket
import subprocess
import sys

import pytest

from r1.rewards.sandbox import bubblewrap
from tests.rewards.sandbox import isolation, run_attacks

ROOT = pathlib.Path(__file__).parents[3]
SECRET = f"secret-{secrets.token_hex(8)}"
SLACK_S = 3.0  # beyond the wall limit, on a machine that does other things too

pytestmark = isolation.needs_bubblewrap


def as_user(who: str) -> list[str]:
  """The command that starts a Python as root or as an ordinary user; skips where it cannot."""
  if who == "root":
    if os.geteuid() != 0:
      pytest.skip("not root, so the sandbox of root cannot be tried")
    return [sys.executable]
  if os.geteuid() != 0:
    return [sys.executable]
  uid = random.randrange(50000, 60000)
  setpriv = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
  for python in (bubblewrap.PYTHON, "/usr/bin/python3"):
    command = [*setpriv, python]
    works = subprocess.run(
      [*command, "-c", "import r1.rewards.sandbox.lanes"], cwd=ROOT, check=False
    )
    if works.returncode == 0:
      return command
  pytest.skip(f"no Python that another user may execute, or {ROOT} is closed to others")


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def report(request, tmp_path_factory):
  """What came of all attacks, and what the host saw of them."""
  command = as_user(request.param)
  folder = tmp_path_factory.mktemp("host")
  for closed in (*folder.parents[:3], folder):
    if closed.stat().st_uid == os.getuid():
      closed.chmod(0o755)
  (folder / "secret").write_text(SECRET)
  scratch = folder / "scratch"
  scratch.mkdir()
  scratch.chmod(0o777)
  token = f"token-{secrets.token_hex(8)}"
  abstract = f"r1-attacks-{token}"
  with (
    socket.create_server(("127.0.0.1", 0)) as tcp,
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    socket.socket(socket.AF_UNIX) as unix,
    socket.socket(socket.AF_UNIX) as named,
  ):
    udp.bind(("127.0.0.1", 0))
    unix.bind("\0" + abstract)
    unix.listen()
    named.bind(str(folder / "socket"))
    named.listen()
    (folder / "socket").chmod(0o777)
    before = sorted(folder.rglob("*"))
    host = {
      "tcp": tcp.getsockname()[1],
      "udp": udp.getsockname()[1],
      "abstract": abstract,
      "folder": str(folder),
      "pid": os.getpid(),
      "secret": SECRET,
      "token": token,
    }
    done = subprocess.run(
      [*command, "-m", "tests.rewards.sandbox.run_attacks"],
      input=json.dumps(host),
      env=os.environ
      | {"R1_SECRET": SECRET, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"},
      cwd=ROOT,
      capture_output=True,
      text=True,
      timeout=240,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = []
    for listener in (tcp, udp, unix, named):
      listener.setblocking(False)
      try:
        calls.append(listener.recv(10) if listener is udp else listener.accept())
      except BlockingIOError:
        continue
  written = [str(path) for path in sorted(folder.rglob("*")) if path not in before]
  assert (folder / "secret").read_text() == SECRET
  gone = isolation.wait_until(lambda: not isolation.alive(token), 2.0)
  left = [] if gone else isolation.alive(token)
  return json.loads(done.stdout) | {"calls": calls, "written": written, "left": left}


@pytest.mark.parametrize("name", run_attacks.ATTACKS)
def test_an_attack_is_refused_or_ended_in_time(report, name):
  attack = run_attacks.ATTACKS[name]
  if attack.language == "cpp" and name not in report["attacks"]:
    pytest.skip("g++ is not installed")
  said = report["attacks"][name]
  end = "refused" if said["end"] == "ok" and "refused" in said["stdout"] else said["end"]
  assert end in attack.ends, said
  assert "ESCAPED" not in said["stdout"], said["stdout"]
  assert SECRET not in said["stdout"].replace(json.dumps(SECRET), ""), said["stdout"]
  limit = run_attacks.LIMITS.build_s if end == "build" else run_attacks.LIMITS.wall_s
  assert said["seconds"] < limit + SLACK_S


def test_there_are_enough_attacks():
  assert len(run_attacks.ATTACKS) >= 60


def test_the_host_heard_of_none(report):
  assert report["calls"] == []


def test_nothing_is_written_on_the_host(report):
  assert report["written"] == []


def test_nothing_is_left_running(report):
  assert report["left"] == []
  assert report["children"] == []


def test_no_descriptor_is_left_open(report):
  assert report["left_open"] == []


def test_a_healthy_program_still_passes(report):
  assert report["healthy"] == ["6\n", "42\n"]


def test_a_process_inside_can_be_found_from_outside_while_it_lives():
  """The search behind test_nothing_is_left_running finds something where there is something."""
  token = f"token-{secrets.token_hex(8)}"
  with subprocess.Popen(["sleep", "60"], executable="/bin/sleep", env={}) as idle:
    assert isolation.alive(token) == []
    idle.kill()
  with subprocess.Popen([f"sleep-{token}", "60"], executable="/bin/sleep") as named:
    assert isolation.wait_until(lambda: isolation.alive(token) == [str(named.pid)])
    named.kill()
