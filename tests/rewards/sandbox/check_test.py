import dataclasses
import os

import pytest

from r1.rewards.sandbox import bubblewrap, check, lanes, memory, seccomp
from tests.rewards.sandbox import isolation

pytestmark = isolation.needs_bubblewrap


def opened():
  with lanes.open(1):
    pass


def without(*unwanted: str):
  """A change to the command line: that sequence of words is left out, where it first stands."""

  def change(words: list[str]) -> list[str]:
    for i in range(len(words)):
      if words[i : i + len(unwanted)] == list(unwanted):
        return words[:i] + words[i + len(unwanted) :]
    raise AssertionError(f"{unwanted} is not on the command line: {words}")

  return change


def replaced(old: str, new: str):
  return lambda words: [new if word.startswith(old) else word for word in words]


def with_more(*options: str):
  def change(words: list[str]) -> list[str]:
    end = words.index("--chdir") - 2  # before the root is made read-only
    return [*words[:end], *options, *words[end:]]

  return change


def change_command(monkeypatch, change):
  original = bubblewrap.argv
  monkeypatch.setattr(bubblewrap, "argv", lambda *args, **kwargs: change(original(*args, **kwargs)))


@pytest.mark.parametrize(
  ("change", "escape"),
  [
    (without("--unshare-net"), "reach the network"),
    (with_more("--ro-bind", "/proc", "/proc"), "see processes of the host"),
    (with_more("--perms", "0755", "--dir", "/etc", "--ro-bind", "/etc", "/etc"), "see the files"),
    (with_more("--setenv", "SECRET", "1"), "see the environment"),
    (replaced("--nproc=", "--nproc=500"), "use more processes than its limit"),
    (replaced("--reuid=", "--reuid=0"), "be root"),
  ],
)
def test_an_opening_in_the_walls_is_found(monkeypatch, change, escape):
  """Each wall is taken away in turn, and the sandbox refuses to open."""
  if escape == "be root" and os.geteuid() != 0:
    pytest.skip("only root can stay root")
  change_command(monkeypatch, change)
  with pytest.raises(RuntimeError, match=f"not isolated: one could .*{escape}"):
    opened()


def test_a_filter_that_lets_all_pass_is_found(monkeypatch):
  allow = seccomp._step(seccomp.RETURN, seccomp.ALLOW)
  monkeypatch.setattr(seccomp, "program", lambda: allow)
  with pytest.raises(RuntimeError, match="make a file in memory"):
    opened()


def test_a_watch_that_does_not_see_is_found(monkeypatch):
  monkeypatch.setattr(memory, "exceeds", lambda root, limit: False)
  with pytest.raises(RuntimeError, match="hold more memory than its limit"):
    opened()


def test_a_bubblewrap_that_cannot_start_gives_its_reason_and_what_to_change(monkeypatch, tmp_path):
  fake = tmp_path / "bwrap"
  fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
  fake.chmod(0o755)
  monkeypatch.setattr(bubblewrap, "PATH", f"{tmp_path}:{bubblewrap.PATH}")
  with pytest.raises(RuntimeError, match=r"(?s)'lost' and said .*No permissions.*max_user_names"):
    opened()


def test_missing_executables_are_named_with_their_packages(monkeypatch, tmp_path):
  monkeypatch.setattr(bubblewrap, "PATH", str(tmp_path))
  with pytest.raises(RuntimeError, match=r"bwrap, .*not found in .*apt-get install bubble"):
    opened()


def test_an_interpreter_that_cannot_be_executed_is_refused():
  with pytest.raises(RuntimeError, match=r"interpreter '/no/python' given; .* cannot execute it"):
    check.find_executables("/no/python")


def test_a_missing_compiler_is_no_fault_of_the_program(monkeypatch, tmp_path):
  given = dataclasses.replace(isolation.python("int main(){}"), language="cpp")
  with lanes.open(1) as box:
    monkeypatch.setattr(bubblewrap, "PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"g\+\+ not found in .* \(apt-get install g\+\+\)"):
      box.run([given])
