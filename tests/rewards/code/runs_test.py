"""What is run holds what it needs, and what it prints is believed only as far as it may speak."""

import json

import pytest

from r1.rewards.code import runs
from r1.rewards.sandbox import program

CALLS = [{"id": "a", "base": None, "name": "f", "args": {"t": []}, "kwargs": {"d": []}}]


def result(stdout, status="ok"):
  run = program.Run(status=status, exit_code=0, stdout=stdout, stderr=b"", seconds=0.1)
  return program.Result(build=None, runs=(run,))


def test_a_player_answers_inside(box):
  (done,) = box.run([runs.player("def f(): return 5", False, CALLS, runs.JUDGE_LIMITS)])
  assert runs.answers(done, CALLS).by_id == {"a": {"id": "a", "value": 5}}


def test_a_judge_rules_inside(box):
  (done,) = box.run([runs.judge(["assert f()"], [])])
  (ruling,) = runs.rulings(done)
  assert ruling["status"] == "pending"
  assert [call["name"] for call in ruling["calls"]] == ["f"]


@pytest.mark.parametrize(
  "line",
  [
    b'{"id": "b", "value": 1}',  # was not asked
    b'{"id": 1}',
    b"[1]",
    b"true",
    b"\xff",
    b"[" * 100_000,
    b"9" * 10_000,
    b"",
  ],
  ids=range(8),
)
def test_lines_that_answer_nothing_are_dropped(line):
  said = runs.answers(result(b'true\n%b\n{"id": "a", "value": 5}\n' % line), CALLS)
  assert (said.loaded, said.by_id) == (True, {"a": {"id": "a", "value": 5}})


def test_an_answer_holds_no_more_than_an_answer_may():
  said = runs.answers(result(b'true\n{"id": "a", "lost": "right", "value": 1}\n'), CALLS)
  assert said.by_id == {"a": {"id": "a", "value": 1}}


def test_a_line_that_was_cut_off_is_no_answer():
  assert runs.answers(result(b'true\n{"id": "a", "value": 5}'), CALLS).by_id == {}


def test_code_that_did_not_run_to_its_end_is_not_loaded():
  assert not runs.answers(result(b""), CALLS).loaded
  assert not runs.answers(result(b'{"id": "a", "value": 5}\n'), CALLS).loaded


def test_a_judge_that_did_not_end_says_nothing():
  assert runs.rulings(result(b"[]", status="timeout")) is None
  assert runs.rulings(result(json.dumps([{}]).encode())) == [{}]
