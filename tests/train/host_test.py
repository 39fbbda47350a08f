"""The process starts itself once more only where that helps, and never twice."""

import os
import platform
import sys

import jax
import pytest
from absl import logging

from r1.train import host


@pytest.fixture
def started(monkeypatch):
  """What execve was called with; the environment is that of a fresh Linux shell."""
  calls = []
  monkeypatch.setattr(os, "execve", lambda *given: calls.append(given))
  monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
  monkeypatch.setattr(sys, "platform", "linux")
  monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.r1_zero", "--x=a b"])
  for name in (*host.ALLOCATOR, host.OFF):
    monkeypatch.delenv(name, raising=False)
  return calls


def test_the_same_command_starts_once_more_and_says_so(started, capsys):
  host.restart_with_huge_pages()
  ((program, command, environment),) = started
  assert program == sys.executable
  assert command == [sys.executable, "-m", "experiments.r1_zero", "--x=a b"]
  assert host.ALLOCATOR.items() <= environment.items()
  assert environment["PATH"] == os.environ["PATH"]
  assert "R1_NO_REEXEC=1 turns this off" in capsys.readouterr().out


def test_the_restarted_process_does_not_restart(started, monkeypatch):
  for name, value in host.ALLOCATOR.items():
    monkeypatch.setenv(name, value)
  host.restart_with_huge_pages()
  assert started == []


@pytest.mark.parametrize("name", ["R1_NO_REEXEC", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"])
def test_settings_of_the_user_s_own_are_left_alone(started, monkeypatch, name):
  monkeypatch.setenv(name, "1")
  host.restart_with_huge_pages()
  assert started == []


@pytest.mark.parametrize(
  ("system", "libc"),
  [("darwin", ("", "")), ("linux", ("", "")), ("linux", ("glibc", "2.31"))],
)
def test_another_system_is_left_alone(started, monkeypatch, system, libc):
  monkeypatch.setattr(sys, "platform", system)
  monkeypatch.setattr(platform, "libc_ver", lambda: libc)
  host.restart_with_huge_pages()
  assert started == []


def test_an_interactive_python_is_left_alone(started, monkeypatch):
  monkeypatch.setattr(sys, "orig_argv", ["python"])
  host.restart_with_huge_pages()
  assert started == []


def test_the_cache_is_the_user_s_choice_then_xdg_s_then_home(monkeypatch, tmp_path):
  monkeypatch.setenv("R1_CACHE", str(tmp_path / "own"))
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  monkeypatch.setenv("HOME", str(tmp_path))
  assert host.cache_folder() == tmp_path / "own"
  monkeypatch.delenv("R1_CACHE")
  assert host.cache_folder() == tmp_path / "xdg" / "r1"
  monkeypatch.delenv("XDG_CACHE_HOME")
  assert host.cache_folder() == tmp_path / ".cache" / "r1"


def test_compiled_programs_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
  before = jax.config.jax_compilation_cache_dir
  monkeypatch.setenv("R1_CACHE", str(tmp_path))
  try:
    host.keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "programs")
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_libraries_only_warn():
  before = logging.get_verbosity()
  try:
    host.quiet_libraries()
    assert logging.get_verbosity() == logging.WARNING
  finally:
    logging.set_verbosity(before)
