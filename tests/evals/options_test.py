"""The option that prose settles on: the last declaration, never one of two."""

import time

import pytest

from r1.evals import options

DECLARED = [
  ("Answer: C", "C"),
  ("answer: C", "C"),
  ("Answer: $C$", "C"),
  ("**Answer:** (C)", "C"),
  ("Answer: **C**.", "C"),
  ("Answer: 'C'", "C"),
  ("Answer\nC", "C"),
  ("\\boxed{\\text{C}}", "C"),
  ("The answer is for sure D, it can't be A or B", "D"),
  ("The answer is not A but B", "B"),
  ("The answer is definitely not B, it's C", "C"),
  ("The correct option is (D).", "D"),
  ("The answer is C, D is wrong", "C"),
  ("Answer: A because B fails", "A"),
  ("Answer: A\n\nNo wait.\n\nAnswer: C", "C"),  # simple-evals would take the first
  ("<think>Answer: A</think>Answer: C", "C"),
  ("B is the correct answer, A is not", "B"),
  ("(D) is clearly the best choice.", "D"),
  ("The answer is no doubt C", "C"),
  ("答案是：B", "B"),
  ("答案是B。A也不错", "B"),
  ("选项A错误，选项B正确，故选B", "B"),
  ("本题选择B选项", "B"),
  ("réponse est C non A", "C"),
  ("La respuesta es C, no A", "C"),
  ("Die Antwort ist B, nicht A", "B"),
  ("Ответ: B, не A", "B"),
  ("正解はBです", "B"),
  ("정답은 C입니다", "C"),
  ("คำตอบคือ B", "B"),
]
MENTIONED = [
  ("D", "D"),
  ("(B)", "B"),
  ("B。不是 A", "B"),
  ("B ไม่ใช่ A", "B"),
  ("B। यह A नहीं है", "B"),
  ("AではなくB", "B"),
  ("D. it doesn't make sense for it to be A or B", "D"),
  ("It's not A, therefore I think it's B", "B"),
  ("A triangle has three sides, so B", "B"),
]
NEITHER = [
  "",
  "A or B",
  "Both A and B",
  "Answer: A or B",
  "Answer: A, B",
  "Answer: (A)/(B)",
  "正确答案是A和B",
  "Answer: c",  # capitals only
  "A good one",
  "I think so",
  "<think>Answer: C",
  "Answer: C</think>",
  "CCC",
  "H2O and D2O",
  "Answer: K",
  "A or B is the answer",
  "A, B, or C is the answer",
  "(A), (B) or (C)",
  "My answer will have to weigh what the author says about vitamin C against B",
]


@pytest.mark.parametrize(("text", "letter"), DECLARED + MENTIONED)
def test_a_text_settles_on_one_option(text, letter):
  assert options.settled(text, 10) == letter


@pytest.mark.parametrize("text", NEITHER)
def test_a_text_that_settles_on_none(text):
  assert options.settled(text, 10) is None


def test_letters_beyond_the_last_option_are_words():
  assert options.settled("Answer: E", 4) is None
  assert options.settled("Vitamin E, so B", 4) == "B"
  assert options.settled("Answer: J", 10) == "J"


@pytest.mark.parametrize(
  "piece", ["A ", "answer ", "A or ", "\\boxed{", "not ", "答", "'", "Answer: A\n"]
)
def test_ten_megabytes_are_read_from_their_end(piece):
  start = time.process_time()
  options.settled(piece * (10_000_000 // len(piece)), 10)
  assert time.process_time() - start < 2
