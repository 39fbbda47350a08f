"""One option or none: letters are read strictly, and a hedge is no answer."""

import gzip
import json

import pytest

from r1.data import questions, responses
from r1.rewards import choice, verdict

PEOPLE = ("Bob", "Carla", "Dan", "Alina")


def question(answer, **meta):
  return questions.Question(id="q", prompt="?", answer=answer, kind="choice", meta=meta)


def said(text, answer="D", mode="answer_tag", truncated=False, **meta):
  given = responses.Response(text=text, tokens=1, truncated=truncated)
  return choice.reward(question(answer, **meta), given, mode).verdict


@pytest.mark.parametrize(
  "text",
  [
    *("D", " D ", "d", "(D)", "( d )", "[D]", "D.", "D)", "Ｄ", "（Ｄ）", "**D**", "$D$", "`D`"),
    *("\\text{D}", "$\\boxed{\\mathrm{(D)}}$", '"D"', "D. Alina", "(D) Alina", "D: Alina"),
    *(
      "D、阿琳娜",
      "D。",
      "答案是D",
      "答案：D",
      "选D",
      "选项D",
      "故选：D。",
      "正确答案是（D）",
      "因此答案为D",
    ),
    *("Answer: D", "The answer is D.", "the correct answer is (D)", "Option D", "My answer is: D"),
    *("Therefore, the answer is D", "**Answer: D**", "D. because it is", "(D) I am sure"),
  ],
)
def test_one_option_is_read(text):
  assert choice.letter(text) == "D"


@pytest.mark.parametrize(
  "text",
  [
    *(
      "",
      "K",
      "k",
      "AD",
      "A or D",
      "D or A",
      "A/D",
      "D, A",
      "A、D",
      "A和D",
      "D 和 A",
      "(A)(D)",
      "D (A)",
    ),
    *("D. A", "D or a", "not D", "D1", "D'", "Alina", "I think it is D", "42", "A B C D", "D\nB"),
    *("The answer is D or B", "答案是D或B", "选A和D", "DD", "不选D", "D) and (B)", "$D$ or $B$"),
    "D" + " " * 400,
  ],
)
def test_anything_else_names_no_option(text):
  assert choice.letter(text) is None


@pytest.mark.parametrize(
  ("text", "named"),
  [
    ("D", "D"),
    ("alina", "D"),
    ("“Alina”。", "D"),
    ("The answer is Alina", None),
    ("D. Alina", "D"),
    ("(D) alina.", "D"),
    ("D. Bob", None),  # another option's text
    ("D. whatever", None),
    ("E", None),  # four options end at D
    ("Alina or Bob", None),
  ],
)
def test_with_choices_letter_and_text_must_agree(text, named):
  assert choice.letter(text, PEOPLE) == named


def test_choices_may_carry_their_own_labels():
  assert choice.letter("Carla", ("(A) Bob", "(B) Carla")) == "B"
  assert choice.letter("B. Carla", ("A. Bob", "B. Carla")) == "B"
  assert choice.letter("A. Lincoln", ("G. Bush", "A. Lincoln")) == "B"  # an initial, no label


def test_a_text_that_two_options_share_names_neither():
  assert choice.letter("4", ("4", "5", "4")) is None
  assert choice.letter("5", ("4", "5", "4")) == "B"


def test_a_letter_is_a_label_even_where_options_are_letters():
  assert choice.letter("A", ("B", "A")) == "A"


def test_ten_options_reach_to_j():
  ten = tuple(map(str, range(10, 20)))
  assert [choice.letter(c, ten) for c in "AJK"] == ["A", "J", None]


@pytest.mark.parametrize(
  ("answer", "meta", "gold"),
  [
    ("D", {}, "D"),
    ("(D) Alina", {}, "D"),
    ("A Peter\nCelina bum", {}, "A"),
    ("(D) Vitamin A", {}, "D"),
    ("Alina", {"choices": PEOPLE}, "D"),
    ("D", {"choices": list(PEOPLE)}, "D"),
    ("E", {"choices": PEOPLE}, None),
    ("Zoe", {"choices": PEOPLE}, None),
    ("Alina", {}, None),
    ("", {}, None),
    (None, {}, None),
    ("A", {"choices": "AB"}, None),
    ("A", {"choices": ["a", 1]}, None),
    ("A", {"choices": ["a"] * 11}, None),
  ],
)
def test_the_gold_letter(answer, meta, gold):
  assert choice.gold(question(answer, **meta)) == gold


@pytest.mark.parametrize(
  ("text", "verdict"),
  [
    ("<think>A</think><answer>D</answer>", "right"),
    ("<think>D</think><answer>A</answer>", "wrong"),
    ("<think>so</think><answer>A or D</answer>", "unparsed"),
    ("<think>so</think>The answer is D", "unparsed"),  # Math-Verify scores "I think 42" as 42
    ("<think>so</think><answer>D</answer><answer>A</answer>", "unparsed"),
    ("<think>so <answer>D</answer>", "unparsed"),
    ("", "unparsed"),
  ],
)
def test_rewards_read_the_marked_answer_only(text, verdict):
  assert said(text) == verdict


def test_boxes_are_read_in_their_mode():
  assert said("<think>x</think>It is \\boxed{D}.", mode="boxed") == "right"
  assert said("<think>x</think>\\boxed{\\text{(D) Alina}}", mode="boxed") == "right"
  assert said("<think>x</think>D", mode="boxed") == "unparsed"


def test_the_gold_text_itself_is_right():
  assert said("<answer>(D) Vitamin A</answer>", answer="(D) Vitamin A") == "right"


def test_a_gold_answer_that_names_no_option_gives_no_verdict():
  assert said("<answer>D</answer>", answer="none of these") == "no_verdict"
  score = choice.reward(
    question(None), responses.Response(text="", tokens=1, truncated=False), "boxed"
  )
  assert score == verdict.Score(0.0, "no_verdict")


def test_recorded_chinese_questions_have_a_gold_letter_and_accept_only_it(test_data):
  """Options as the data set writes them, "(A)..."; every other option is wrong."""
  seen = 0
  for path in sorted((test_data / "chinese_mcq").glob("*.jsonl.gz")):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
      for row in map(json.loads, lines):
        if len(row["label"]) != 1 or len(set(row["options"])) != 4:
          continue
        seen += 1
        for name, option in zip("ABCD", row["options"]):
          wanted = "right" if name == row["label"] else "wrong"
          for text in (name, f"答案：{name}", f"（{name}）", option):
            got = said(f"<answer>{text}</answer>", answer=row["label"], choices=row["options"])
            assert got == wanted, (text, row)
  assert seen > 200


def test_recorded_english_questions_are_read_by_text_and_letter(test_data):
  with gzip.open(test_data / "mmlu" / "test_sample.jsonl.gz", "rt", encoding="utf-8") as lines:
    rows = [json.loads(line) for line in lines]
  rows = [row for row in rows if len({c.strip().casefold() for c in row["choices"]}) == 4]
  rows = [row for row in rows if row["answer"].isdigit()]
  for row in rows:
    named, text = "ABCD"[int(row["answer"])], row["choices"][int(row["answer"])]
    meta = {"choices": row["choices"]}
    assert choice.gold(question(named, **meta)) == named
    assert said(f"<answer>{named}. {text}</answer>", answer=named, **meta) == "right", row
    other = "BCDA"["ABCD".index(named)]
    assert said(f"<answer>{other}. {text}</answer>", answer=named, **meta) == "unparsed", row
    assert said(f"<answer>{other}</answer>", answer=named, **meta) == "wrong", row
  assert len(rows) > 1000
