"""A program waits for its line, and does not wait for one that cannot come."""

import io
import sys
import time

import pytest

from r1.train import turns


def test_a_turn_says_that_the_program_stands_still_and_reads_one_line(monkeypatch, capsys):
  lines = io.StringIO("\n\n")
  monkeypatch.setattr(sys, "stdin", lines)
  before = time.perf_counter()
  assert before <= turns.take(True) <= time.perf_counter()
  assert capsys.readouterr().out == "turn\n"
  assert lines.tell() == 1


def test_without_turns_nothing_is_said_or_read(monkeypatch, capsys):
  monkeypatch.setattr(sys, "stdin", io.StringIO(""))
  turns.take(False)
  assert not capsys.readouterr().out


def test_a_turn_that_nobody_gives_ends_the_program(monkeypatch):
  monkeypatch.setattr(sys, "stdin", io.StringIO(""))
  with pytest.raises(EOFError, match="has ended"):
    turns.take(True)
