"""The live line: a bar on a terminal, a line per rollout in a log."""

import io

import rich.console

from r1.report import progress

VALUES = {"reward/accuracy": 0.123456, "response/length": 41.26, "policy/loss": 9.0}


def shown(terminal, steps):
  out = io.StringIO()
  console = rich.console.Console(file=out, force_terminal=terminal, width=100)
  with progress.bar(console, total=3, done=1) as show:
    for n in steps:
      show(n, VALUES)
  return out.getvalue()


def test_the_numbers_that_move_are_shown_in_three_digits():
  assert progress.describe(VALUES) == "accuracy 0.123  length 41.3"
  assert progress.describe({}) == ""


def test_a_log_gets_one_plain_line_per_rollout():
  text = shown(False, [2, 3])
  assert text.splitlines() == [
    "rollout 2/3  accuracy 0.123  length 41.3",
    "rollout 3/3  accuracy 0.123  length 41.3",
  ]


def test_a_terminal_gets_a_bar_that_starts_where_the_run_was():
  text = shown(True, [])
  assert "1/3" in text
  assert "sampling the first rollout" in text
  assert "accuracy 0.123" in shown(True, [2])
