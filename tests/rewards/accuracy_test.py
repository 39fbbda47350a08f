"""The kind of a question picks its verifier, and one batch may hold them all."""

import dataclasses

import pytest

from r1.data import questions, responses
from r1.rewards import accuracy
from tests.rewards import settings


def question(kind, answer, name="q", **more):
  return questions.Question(id=name, prompt="?", kind=kind, answer=answer, **more)


def tagged(answer):
  text = f"<think>so</think><answer>{answer}</answer>"
  return responses.Response(text=text, tokens=1, truncated=False)


ADD = question("code", None, tests=({"input": "1 2", "output": "3"},))
GOOD = "\n```python\nprint(sum(map(int, input().split())))\n```\n"

BATCH = [
  (question("maths", "x+1"), "1+x", "right"),
  (question("choice", "B"), "(B)", "right"),
  (question("short", "Paris"), "paris", "right"),
  (ADD, GOOD, "right"),
  (question("logic", "24"), "24.0", "right"),
  (question("maths", "8"), "9", "wrong"),
  (question("choice", "B"), "A or B", "unparsed"),
  (ADD, GOOD.replace("sum", "max"), "wrong"),
  (ADD, "no code", "unparsed"),
  (question("helpful", "8"), "8", "no_verdict"),
]


def test_each_kind_has_its_verifier_and_the_order_stays(verifier):
  asked, said, wanted = zip(*BATCH)
  scores = verifier.grade(asked, [tagged(text) for text in said])
  assert [score.verdict for score in scores] == list(wanted)
  assert [score.value for score in scores] == [float(v == "right") for v in wanted]
  assert verifier.right(asked, [tagged(text) for text in said]) == [v == "right" for v in wanted]
  assert verifier.grade([], []) == []


def test_a_program_outside_the_answer_does_not_count(verifier):
  text = f"<think>so</think>{GOOD}<answer>see above</answer>"
  outside = responses.Response(text=text, tokens=1, truncated=False)
  assert verifier.grade([ADD], [outside])[0].verdict == "unparsed"


def test_questions_that_can_never_be_judged_are_named_with_a_reason(verifier):
  asked = [
    question("maths", "8", "fine"),
    question("maths", "\\frac{1}{", "broken"),
    question("maths", "Paris", "words"),
    question("choice", "Z", "letter"),
    question("short", " ", "blank"),
    dataclasses.replace(ADD, id="program"),
    dataclasses.replace(ADD, id="no tests", tests=()),
    question("safety", None, "chat"),
  ]
  faults = verifier.faults(asked)
  assert set(faults) == {"broken", "words", "letter", "blank", "no tests", "chat"}
  assert "'short'" in faults["words"]
  assert "no tests given" in faults["no tests"]


def test_without_isolation_nothing_is_graded(monkeypatch):
  """A run must refuse to start, and say what to install; never fall back on bare processes."""
  monkeypatch.setattr("r1.rewards.sandbox.bubblewrap.PATH", "/nowhere")
  with (
    accuracy.Verifier(settings.verifier("answer_tag")) as verifier,
    pytest.raises(RuntimeError, match="apt-get install bubblewrap"),
  ):
    verifier.faults([ADD])


def test_a_sandbox_elsewhere_is_named_by_its_url():
  with (
    accuracy.Verifier(settings.verifier("boxed", url="ftp://x")) as verifier,
    pytest.raises(ValueError, match="http://host:port"),
  ):
    assert verifier.box


def test_an_unknown_mode_is_refused():
  with pytest.raises(ValueError, match="use one of answer_tag, boxed"):
    settings.verifier("free")


@pytest.mark.parametrize("changes", [{"lanes": 0}, {"workers": 0}, {"seconds": -1.0}])
def test_settings_that_cannot_work_are_refused_before_anything_starts(changes):
  with pytest.raises(ValueError, match="given"):
    settings.verifier("boxed", **changes)
