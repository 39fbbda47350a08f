"""Right answers are right, hostile ones cost little, and our own faults are nobody's zero."""

import gzip
import json
import os
import pathlib
import random
import signal
import threading
import time

import pytest

from r1.data import questions, responses
from r1.rewards import verdict
from r1.rewards.maths import grade, guard
from r1.rewards.workers import pool
from tests.rewards import settings
from tests.rewards.maths import hostile


def config(**changes):
  return settings.verifier("answer_tag", **changes).pool


@pytest.fixture(scope="module")
def grader():
  opened = grade.Grader(config())
  yield opened
  opened.close()


def question(answer):
  return questions.Question(id="q", prompt="?", answer=answer)


def tagged(answer):
  text = f"<think>so</think><answer>{answer}</answer>"
  return responses.Response(text=text, tokens=1, truncated=False)


def said(grader, gold, answer):
  return grader.grade([question(gold)], [tagged(answer)], "answer_tag")[0].verdict


@pytest.mark.parametrize(
  ("gold", "answer", "verdict"),
  [
    ("8", "8", "right"),
    ("8", "$8.0$", "right"),
    ("8", "9", "wrong"),
    ("10%", "10", "right"),
    ("10%", "0.1", "wrong"),
    ("5", "5 cm", "right"),
    ("5 cm", "5", "right"),
    ("5 cm", "5 m", "wrong"),
    ("1000", "$1,000", "right"),
    ("1/3", "0.333333", "right"),
    ("1/3", "0.333", "wrong"),
    ("8", "8 \\text{ million}", "wrong"),  # the words were dropped
    ("8 \\text{ million}", "8", "wrong"),
    ("8 \\text{ million}", "8 \\text{ billion}", "wrong"),
    ("8 \\text{ million}", "8 million", None),
    ("1010_2", "1010_{2}", "right"),
    ("1010_2", "1010", "wrong"),
    ("Evelyn", "\\text{Evelyn}", "right"),
    ("x", "X", None),
    ("x+1", "1+x", None),
    ("", "", "wrong"),
  ],
)
def test_most_answers_are_decided_without_algebra(gold, answer, verdict):
  assert grade.quick(gold, answer) == verdict


@pytest.mark.parametrize(
  ("gold", "answer", "verdict"),
  [
    ("8", "8", "right"),
    ("x+1", "1+x", "right"),
    ("x+1", "1+y", "wrong"),
    ("\\frac{1}{2}", "x=0.5", "right"),
    ("8", "3+5", "wrong"),  # the question is no answer to itself
    ("8", "16/2", "right"),  # a fraction is one number, worked out
    ("8", "8 or 9", "wrong"),
    ("8", "9 = x = 8", "wrong"),
    ("8", "9" * 100_000, "unparsed"),
    ("8", "9^{9^{9^9}}", "wrong"),
    ("x+1", "\\frac{x}{", "unparsed"),
    ("8", "", "unparsed"),
    ("\\frac{1}{", "8", "no_verdict"),
    (" ", "8", "no_verdict"),
    (None, "8", "no_verdict"),
  ],
)
def test_an_answer_gets_one_verdict(grader, gold, answer, verdict):
  assert said(grader, gold, answer) == verdict


def test_right_is_one_and_everything_else_zero(grader):
  scores = grader.grade([question("8")] * 3, [tagged("8"), tagged("9"), tagged("")], "answer_tag")
  assert scores == [
    verdict.Score(1.0, "right"),
    verdict.Score(0.0, "wrong"),
    verdict.Score(0.0, "unparsed"),
  ]
  assert grader.grade([], [], "boxed") == []


def test_gold_answers_are_told_apart_before_they_are_trained_on(grader):
  """An unparsable gold answer was worth 1.0 in one library and 0 in others (cookbook #335)."""
  golds = ["5", "x^2", "\\text{red}", "\\{1,2\\}"]
  assert grader.readable(golds) == [True] * len(golds)
  bad = ["", "$ $", "Paris", "\\frac{1}{", "((", "\\int_0^1 x dx", "2004!", "9" * 700]
  assert grader.readable(bad) == [False] * len(bad)


def test_an_answer_is_judged_once_and_remembered(grader, monkeypatch):
  pair = ("x^2-1", "(x-1)(x+1)")
  assert grader.compare([pair]) == ["right"]
  asked = []
  monkeypatch.setattr(grader._pool, "run", lambda jobs: asked.extend(jobs) or [])
  assert grader.compare([pair, pair]) == ["right", "right"]
  assert asked == []


def test_what_a_lost_worker_would_have_said_is_not_remembered(grader, monkeypatch):
  pair = ("x^2-4", "(x-2)(x+2)")
  monkeypatch.setattr(grader._pool, "run", lambda jobs: [pool.Outcome("lost")] * len(jobs))
  assert grader.compare([pair]) == ["no_verdict"]
  monkeypatch.undo()
  assert grader.compare([pair]) == ["right"]


def test_killing_a_worker_in_a_batch_costs_its_answer_only(grader):
  pairs = [(f"x+{n}", f"{n}+x") for n in range(300)]
  grader.compare([("x", "y")])

  def strike():
    zygote = grader._pool._zygote.pid
    children = pathlib.Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
    for pid in children[:1]:
      os.kill(int(pid), signal.SIGKILL)

  timer = threading.Timer(0.2, strike)
  timer.start()
  found = grader.compare(pairs)
  timer.join()
  assert found.count("right") >= 299
  assert set(found) <= {"right", "no_verdict"}
  assert grader.compare(pairs) == ["right"] * 300


@pytest.fixture(scope="module")
def healthy(test_data):
  """448 answers of models, each with what a quiet batch says of it."""
  with gzip.open(test_data / "graders" / "math_model_outputs.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  return [(row["gold"], row["extracted"] or "none") for row in rows[:448]]


def mixed(healthy, seed):
  pairs = [(pair, True) for pair in healthy]
  pairs += [(("42", answer), False) for answer in hostile.answers()]
  random.Random(seed).shuffle(pairs)
  return pairs


def test_hostile_answers_cost_little_and_change_no_other_verdict(healthy):
  """One such answer costs math-verify five seconds, 512 of them 43 minutes (trap 33)."""
  graders = [grade.Grader(config()) for _ in range(2)]
  for opened in graders:
    opened.compare([("x^2", "y^2")])
  start = time.monotonic()
  quiet = dict(zip(healthy, graders[0].compare(healthy)))
  alone = time.monotonic() - start
  pairs = mixed(healthy, seed=0)
  start = time.monotonic()
  found = graders[1].compare([pair for pair, _ in pairs])
  together = time.monotonic() - start
  for opened in graders:
    opened.close()
  assert len(pairs) == 512
  assert [f for f, (pair, fine) in zip(found, pairs) if fine and f != quiet[pair]] == []
  assert "right" not in [f for f, (_, fine) in zip(found, pairs) if not fine]
  # Quiet, on two cores: 0.5 to 1.0 s and 1.8 to 3.0 s. One at a time, at five seconds each, the
  # hostile ones would take as many minutes.
  assert together < 60, f"448 answers took {alone:.1f} s, with 64 hostile ones {together:.1f} s"


@pytest.mark.slow
def test_without_guards_the_batch_still_ends_and_nothing_is_left_running(healthy):
  opened = grade.Grader(config(), guarded=False)
  opened.compare([("x^2", "y^2")])
  zygote = opened._pool._zygote.pid
  pairs = mixed(healthy, seed=1)
  found = opened.compare([pair for pair, _ in pairs])
  bad = [f for f, (_, fine) in zip(found, pairs) if not fine]
  assert bad.count("timeout") > 10
  assert set(bad) <= {"timeout", "crashed", "wrong", "unparsed"}
  opened.close()
  assert not pathlib.Path(f"/proc/{zygote}").exists()


def test_every_recorded_gsm8k_answer_is_judged_as_labelled(test_data):
  with gzip.open(test_data / "graders" / "gsm8k_model_outputs.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  assert len(rows) > 3000
  wrong = [
    row["id"]
    for row in rows
    if (grade.quick(row["gold"], row["extracted"] or "") == "right") != row["equal"]
  ]
  assert wrong == []


def test_answers_of_models_are_judged_as_labelled(grader, test_data):
  with gzip.open(test_data / "graders" / "math_model_outputs.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  found = grader.compare([(row["gold"], row["extracted"] or "") for row in rows])
  wrong = [row["id"] for row, said in zip(rows, found) if (said == "right") != row["equal"]]
  assert len(rows) > 500
  assert len(wrong) <= 0.01 * len(rows)


@pytest.mark.parametrize("free", [False, True])
def test_no_false_positive_of_math_verify_gets_through(grader, free):
  pairs = [
    ("3x-y+13=0", "3x + 4y + 14=0"),
    ("1/2004!", "1/2006!"),
    ("2^-99", "2^-98"),
    ("10%", "0.1"),
    ("(1,2)", "{1,2}"),
    ("1010_2", "1010"),
    ("1", "+".join("1" * 3_001)),
    ("f(x)", "f(y)"),
  ]
  assert "right" not in grader.compare(pairs, free=free)


@pytest.mark.parametrize(
  "piece",
  [*"9{}<\0,.-/ $\\", "\\boxed{", "<answer>", "</think>", "1,", "9,999", "\\{", "{\\boxed{", "٣²"],
)
def test_hostile_megabytes_get_a_score_in_linear_time(grader, piece):
  """In either mode; a quadratic scan of two million characters would take hours."""
  text = piece * (2_000_000 // len(piece))
  start = time.perf_counter()
  for mode in ("answer_tag", "boxed"):
    for whole in (text, f"<think>a</think><answer>{text}</answer>", f"\\boxed{{{text}}}"):
      answer = responses.Response(text=whole, tokens=1, truncated=False)
      assert grader.grade([question("8")], [answer], mode)[0].value == 0
  assert time.perf_counter() - start < 5


def test_guards_can_be_off_only_on_purpose():
  opened = grade.Grader(config(seconds=0.3), guarded=False)
  answer = "2^{2^{20}}-1"
  assert guard.costly(answer)
  assert opened.compare([("8", answer)])[0] in ("timeout", "wrong")
  opened.close()
