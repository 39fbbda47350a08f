"""Words are counted by script, after everything that is no language is gone."""

import gzip
import json
import time
import types

import pytest

from r1.data import responses
from r1.rewards import language


def consistency(text, target="en"):
  given = responses.Response(text=text, tokens=1, truncated=False)
  return language.consistency(types.SimpleNamespace(language=target), given)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("first 3 + 9 = 12, check", {"latin": 2}),
    ("先 3 + 9 = 12，检查", {"han": 3}),  # 先, 检, 查
    ("so 所以 8", {"latin": 1, "han": 2}),
    ("don't re-check café", {"latin": 4}),
    ("x + y = a, αβ α", {"greek": 1}),  # single letters are variables
    (
      "これは計算です。好",
      {"kana": 7, "han": 1},
    ),  # こ れ は 計 算 で す: Han beside kana; 好 alone
    ("답은 팔 입니다", {"hangul": 3}),
    ("Ответ восемь", {"cyrillic": 2}),
    ("उत्तर आठ", {"devanagari": 2}),
    ("คำตอบ", {"thai": 5}),  # five letters and signs of Thai: ค ำ ต อ บ
    ("መልስ ስምንት", {"other": 2}),
    ("12 ½ ² ① ℝ 𝐱 ٣ ８ 。，!?", {}),
    ("", {}),
  ],
)
def test_words_by_script(text, words):
  assert language.words(text) == words


@pytest.mark.parametrize(
  "text",
  [
    "$ab + cd$",
    "$$ab\ncd$$",
    "\\(sin ab\\)",
    "\\[ab \\\\ cd\\]",
    "\\begin{align} ab \\end{align}",
    "\\frac \\alpha",
    "```python\nprint(ab)\n```",
    "`ab`",
    "https://example.org/ab?cd",
    "<think></think><br/><b>",
  ],
)
def test_formulas_code_links_and_tags_are_not_words(text):
  assert language.words(text) == {}
  assert language.words(f"so {text} then") == {"latin": 2}


def test_a_lone_dollar_is_money():
  """500 - 450: no formula, so the words between two prices stay."""
  assert language.words("her change is $500 and not $450 = $50.")["latin"] == 5
  assert language.words("costs \\$5 or $x+y$ and")["latin"] == 3
  assert language.words("from $five-$5 so")["latin"] == 3


def test_an_open_formula_hides_nothing():
  assert language.words("$$ so then \\[ and \\( yes ``` no") == {"latin": 5}


def test_chinese_inside_a_formula_or_code_still_counts():
  """Else a policy could earn the reward by wrapping the other language in dollars."""
  assert language.words("so $所以$ `检查` \\text{对}") == {"latin": 1, "han": 5}


def test_shares_sum_to_one():
  # 2 English words, 3 Chinese characters.
  assert language.shares("so then 所以对") == {"latin": 0.4, "han": 0.6}
  assert language.shares("3 + 9 = 12") == {}


@pytest.mark.parametrize(
  ("text", "target", "value", "said"),
  [
    ("<think>so then 所以对</think><answer>8</answer>", "en", 0.4, "wrong"),
    ("<think>so then 所以对</think><answer>8</answer>", "zh", 0.6, "wrong"),
    ("<think>so then</think>所以对", "en", 1.0, "right"),  # the thought only
    ("<think>so then</think>所以对", "fr", 1.0, "right"),  # one script: not told apart
    ("<think>3 + 9 = 12</think>", "en", 1.0, "right"),  # no words
    ("<think>so 所", "en", 0.5, "wrong"),  # cut: the format's business
    ("so then", "en", 0.0, "unparsed"),
    ("", "en", 0.0, "unparsed"),
    ("<think>so</think>", "tlh", 0.0, "no_verdict"),
  ],
)
def test_consistency_is_the_share_of_the_target_language_in_the_thought(text, target, value, said):
  score = consistency(text, target)
  assert score.verdict == said
  assert score.value == pytest.approx(value, abs=1e-12)


def test_a_text_is_mixed_from_one_word_in_twenty():
  assert language.mixed("so " * 19 + "对")  # 1/20 = .05
  assert not language.mixed("so " * 20 + "对")  # 1/21
  assert not language.mixed("so then 3 + 9 = 12")
  assert not language.mixed("")


HOSTILE = ["$", "`", "\\(", "\\[", "```", "\\begin{", "$5 ", "`$\\(", "<a", "'a", "a'", "\\", "检"]
HOSTILE += ["あ检", "a\u0301", "\0", "https://", "\ud800", "é", "$a", "$ ", "あ。"]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_megabyte_is_counted_in_linear_time(piece):
  text = "<think>" + piece * (1_000_000 // len(piece))
  start = time.perf_counter()
  assert 0 <= consistency(text).value <= 1
  assert time.perf_counter() - start < 3


def test_recorded_worked_solutions_are_told_apart(test_data):
  """English and Chinese with raw LaTeX: counting scripts was exact on these rows."""
  share = {"en": [], "zh": []}
  with gzip.open(test_data / "language" / "math_explanations.jsonl.gz", "rt") as lines:
    for row in map(json.loads, lines):
      script = language.SCRIPT_OF[row["lang"]]
      share[row["lang"]].append(language.share_of(row["text"], script))
  assert len(share["en"]) == len(share["zh"]) == 350
  for values in share.values():
    assert min(values) > 0.5
    assert sum(values) / len(values) > 0.995


def test_recorded_questions_in_eleven_languages_show_their_script(test_data):
  with gzip.open(test_data / "language" / "mgsm_parallel.jsonl.gz", "rt") as lines:
    for row in map(json.loads, lines):
      shares = language.shares(row["text"])
      assert max(shares, key=shares.get) == language.SCRIPT_OF[row["lang"]], row["id"]


def test_the_share_of_a_recorded_mixture_is_that_of_its_segments(test_data):
  """Counts add up over segments, so the share of the whole follows from its parts."""
  with gzip.open(test_data / "language" / "mixed_en_zh.jsonl.gz", "rt") as lines:
    rows = [json.loads(line) for line in lines]
  off = 0
  for row in rows:
    parts = [language.words(segment["text"]) for segment in row["segments"]]
    han = sum(part.get("han", 0) for part in parts)
    total = sum(sum(part.values()) for part in parts)
    off += abs(language.share_of(row["text"], "han") - han / total) > 0.02
  assert len(rows) == 300
  assert off <= 6  # a dollar left open in one segment may pair up with another segment's
