"""Ten thousand hostile responses through every pure verifier.

No exception, linear time, and no "right" unless an independent reading finds the gold answer.
A verifier is one line of VERIFIERS.
"""

import collections
import dataclasses
import functools
import itertools
import re
import time
import types
import unicodedata
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies

from r1.data import questions, responses
from r1.evals import options, qa
from r1.rewards import choice, form, language, shaping, short, verdict
from r1.rewards.maths import grade
from tests.rewards import fuzz_inputs, settings

BATCHES, BATCH = 1_000, 10  # ten thousand responses; a batch saves the cost of an example


@dataclasses.dataclass(frozen=True)
class Verifier:
  """What grades a text, and a second reading of the texts that it calls right."""

  grade: Callable[[str], verdict.Score]
  is_right: Callable[[str], bool]


# Second readings --------------------------------------------------------------------------------


def narrow(text):
  """Full-width forms as ASCII, character by character."""
  wide = lambda c: "\uff00" <= c <= "\uffef" or c == "\u3000"
  return "".join(unicodedata.normalize("NFKC", c) if wide(c) else c for c in text)


def marked(text, mode):
  """Every text that could be taken for the marked answer, however it is nested."""
  after = text.split("</think>")[-1]
  assert "<think>" not in after
  if mode == "boxed":
    last = after.split("\\boxed{")[-1]
    ends = (i for i, c in enumerate(last) if c == "}")
    return [last[:i] for i in ends if last[:i].count("{") == last[:i].count("}")]
  found = re.findall("<answer>(.*?)</answer>", after, re.DOTALL)
  assert len(found) == 1
  return found


def words_of(text):
  text = narrow(text).casefold()
  text = re.sub(r"\\(?:text|textbf|mathrm|mathbf|boxed)\b|答案[是为]?", " ", text)
  return re.findall(r"[^\W_]+", text)


FILLER = {
  "the",
  "a",
  "an",
  "my",
  "final",
  "correct",
  "answer",
  "is",
  "option",
  "so",
  "答案",
  "答案是",
}


def says(gold, mode, text):
  """The marked answer is the gold word and phrases around it."""
  return any([w for w in words_of(m) if w not in FILLER] == [gold] for m in marked(text, mode))


def names(gold, mode, text):
  """The marked answer has the gold letter by itself, and no other one."""
  letters = lambda m: set(re.findall(r"(?<![a-z0-9])[b-hj](?![a-z0-9])", narrow(m).casefold()))
  return any(letters(m) == {gold} for m in marked(text, mode))


def amounts(gold, mode, text):
  """The marked answer has the gold number's digits, and no other digit, letter or sign."""
  plain = (re.sub(r"\s|\\[,!]|[{}]", "", "".join(words_or_signs(m))) for m in marked(text, mode))
  return any(re.fullmatch(rf"\+?0*{gold}(\.0*)?[.%]*", m) for m in plain)


def words_or_signs(text):
  text = re.sub(
    r"\\(?:text|textbf|mathrm|mathbf|boxed)\b|答案[是为]?", " ", narrow(text).casefold()
  )
  text = re.sub(r"\b(?:the|an?|final|answer|is)\b", " ", text)
  return re.findall(r"[\w.%+/−²½-]", text.replace("$", ""))


def sum_of(gold, mode, text):
  """The only number of the marked answer is the gold one, and nothing changes it."""
  plain = (re.sub(r"\s", "", narrow(m)) for m in marked(text, mode))
  return any(re.fullmatch(rf"[^\d−²½/-]*{gold}(\.0*)?[^\d−²½/-]*", m) for m in plain)


NO_TAG = r"(?:(?!</?think>|</?answer>).)"
SOMETHING = rf"\s*(?!\s){NO_TAG}+"
TAGGED = re.compile(rf"\s*<think>{SOMETHING}</think>\s*<answer>{SOMETHING}</answer>\s*", re.DOTALL)
FOREIGN = (
  "CJK UNIFIED",
  "HIRAGANA",
  "KATAKANA",
  "HANGUL SYLL",
  "CYRILLIC",
  "ARABIC LETTER",
  "THAI",
)


def is_english(text):
  """No letter of another script inside the first thought."""
  thought = text.split("<think>", 1)[1].split("</think>")[0].split("<answer>")[0]
  names = (unicodedata.name(c, "") for c in set(thought) if c.isalpha())
  return not any(name.startswith(FOREIGN) for name in names)


# The verifiers ----------------------------------------------------------------------------------


def response(text):
  return responses.Response(text=text, tokens=len(text), truncated=False)


def asked(answer, kind="short", **meta):
  return questions.Question(id="q", prompt="?", answer=answer, kind=kind, meta=meta)


def rule(grade, question, mode):
  return lambda text: grade(question, response(text), mode)


def number(value):
  """A score of a metric that must lie in [0, 1]."""
  assert 0 <= value <= 1
  return verdict.Score(float(value), "right" if value == 1 else "wrong")


def settled(text):
  named = options.settled(text, 4)
  return verdict.Score(float(named == "C"), "right" if named == "C" else "wrong")


LETTER, WORD, FORTY_TWO = asked("C", "choice"), asked("Paris"), asked("42", "logic")
ENGLISH = types.SimpleNamespace(language="en")
SUM = asked("42", "maths")
PEOPLE = asked("Paris", "choice", choices=["Rome", "Bonn", "Paris", "Oslo"])

MATHS = grade.Grader(settings.verifier("boxed").pool)


@pytest.fixture(scope="module", autouse=True)
def _workers_end():
  yield
  MATHS.close()


def maths(mode):
  return Verifier(
    lambda text: MATHS.grade([SUM], [response(text)], mode)[0],
    functools.partial(sum_of, "42", mode),
  )


VERIFIERS = {
  "maths/answer_tag": maths("answer_tag"),
  "maths/boxed": maths("boxed"),
  "choice/answer_tag": Verifier(
    rule(choice.reward, LETTER, "answer_tag"), functools.partial(names, "c", "answer_tag")
  ),
  "choice/boxed": Verifier(
    rule(choice.reward, LETTER, "boxed"), functools.partial(names, "c", "boxed")
  ),
  "choice/texts": Verifier(
    rule(choice.reward, PEOPLE, "answer_tag"),
    lambda text: names("c", "answer_tag", text) or says("paris", "answer_tag", text),
  ),
  "short/answer_tag": Verifier(
    rule(short.reward, WORD, "answer_tag"), functools.partial(says, "paris", "answer_tag")
  ),
  "short/boxed": Verifier(
    rule(short.reward, WORD, "boxed"), functools.partial(says, "paris", "boxed")
  ),
  "logic/answer_tag": Verifier(
    rule(short.logic, FORTY_TWO, "answer_tag"), functools.partial(amounts, "42", "answer_tag")
  ),
  "logic/boxed": Verifier(
    rule(short.logic, FORTY_TWO, "boxed"), functools.partial(amounts, "42", "boxed")
  ),
  "form": Verifier(
    lambda text: form.reward(None, response(text)), lambda text: bool(TAGGED.fullmatch(text))
  ),
  "form/tags": Verifier(
    lambda text: form.tags(None, response(text)),
    lambda text: sorted(re.findall("</?(?:think|answer)>", text)) == sorted(form.TAGS),
  ),
  "language": Verifier(lambda text: language.consistency(ENGLISH, response(text)), is_english),
  "language/candidates": Verifier(
    lambda text: language.consistency(ENGLISH, response(text), ("en", "de")),
    is_english,
  ),
  "repetition": Verifier(
    lambda text: number(shaping.repetition(shaping.units(text), 2)), lambda text: False
  ),
  "steps": Verifier(
    lambda text: number(shaping.steps(text)),
    lambda text: bool(re.search("[,:.*-]|步骤|[先次后]", text)),
  ),
  "settled": Verifier(settled, lambda text: "c" in narrow(text.split("</think>")[-1]).casefold()),
  "exact": Verifier(
    lambda text: number(qa.exact(qa.final(text), ["Paris"])),
    lambda text: "paris" in text.lower().translate(qa.PUNCTUATION),
  ),
}


NEVER_RIGHT = {"repetition"}  # a share of repeats is always below 1
SLOWER = {"language", "language/candidates"}  # about half a second a megabyte


@hypothesis.settings(
  max_examples=BATCHES,
  database=None,
  deadline=None,
  derandomize=True,
  suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(strategies.lists(fuzz_inputs.RESPONSES, min_size=BATCH, max_size=BATCH))
def grade_all(rights, texts):
  """All verifiers see the same responses: making them up costs more than grading them."""
  for text, (name, verifier) in itertools.product(texts, VERIFIERS.items()):
    score = verifier.grade(text)
    assert 0 <= score.value <= 1, name
    if score.verdict == "right":
      assert verifier.is_right(text), name
      rights[name] += 1


def test_right_means_that_the_gold_answer_is_there():
  rights = collections.Counter()
  grade_all(rights)
  rare = {name for name in VERIFIERS if rights[name] < 10}
  assert rare == NEVER_RIGHT, f"else the second readings prove nothing: {rights}"


HOSTILE = ["<think>", "<answer>C", "\\boxed{", "{}", "$ab ", "答", "\ud800", "((", "a. ", "\\text{"]


def slowest_s(name, length):
  """The longest of ten gradings of a hostile thought and answer, each half of `length` long."""
  times = []
  for piece in HOSTILE:
    half = piece * (length // 2 // len(piece))
    answer = f"\\boxed{{{half}}}" if name.endswith("boxed") else f"<answer>{half}</answer>"
    text = f"<think>{half}</think>{answer}"
    start = time.process_time()
    assert VERIFIERS[name].grade(text).value <= 1
    times.append(time.process_time() - start)
  return max(times)


@pytest.mark.parametrize("name", [name for name in VERIFIERS if name not in SLOWER])
def test_ten_responses_of_ten_megabytes_are_graded_in_linear_time(name):
  assert slowest_s(name, 10_000_000) < 5


@pytest.mark.parametrize("name", sorted(SLOWER))
def test_ten_responses_of_one_megabyte_in_many_scripts(name):
  assert slowest_s(name, 1_000_000) < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SLOWER))
def test_ten_responses_of_ten_megabytes_in_many_scripts(name):
  assert slowest_s(name, 10_000_000) < 50
