"""The judge of recorded reward functions of other projects, by the function's name.

Each is scored by our rule for the same thing. Where a function encodes a choice that is refused
here, a row is policy only if that very choice explains the difference; any other is an error.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from r1.data import questions, responses
from r1.evals.audit import suite
from r1.rewards import form, shaping
from r1.rewards.maths import grade

LINES = re.compile(r"<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>", re.DOTALL)
TAG = re.compile(r"</?(?:think|answer)>")
IN_ORDER = ["<think>", "</think>", "<answer>", "</answer>"]
TAG_LINES = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")


def reward_functions(row, grader: grade.Grader) -> suite.Ruling:
  """Scores every completion of the row; one value that differs without a reason decides it."""
  rule = RULES.get(row["fn"])
  if rule is None:
    return suite.Ruling(outcome="skipped", mode=row["fn"], note="no such reward here")
  if note := _refused(row):
    return suite.Ruling(outcome="policy", mode=row["fn"], note=note)
  said, wanted = rule(row, grader), row["reward"]
  notes = []
  for i, (ours, theirs) in enumerate(zip(said, wanted, strict=True)):
    if ours is not None and theirs is not None and abs(ours - theirs) <= 1e-9:
      continue
    note = _explained(row, i) if ours != theirs else ""
    if note is None:
      return suite.compare(theirs, ours, row["fn"])
    notes += [note] if note else []
  if notes:
    return suite.Ruling(outcome="policy", mode=row["fn"], note="; ".join(dict.fromkeys(notes)))
  return suite.Ruling(outcome="agree", mode=row["fn"])


# What a row is made of -------------------------------------------------------------------------


def _argument(row, place: int, *names: str) -> Any:
  """An argument given by name or by place; None where it is not given."""
  given = [row["kwargs"][name] for name in names if name in row["kwargs"]]
  return given[0] if given else dict(enumerate(row["args"])).get(place)


def _texts(row) -> list[str]:
  completions = _argument(row, 0, "completions")
  return [c if isinstance(c, str) else c[0]["content"] for c in completions]


def _response(text: str) -> responses.Response:
  return responses.Response(text=text, tokens=len(text), truncated=False)


def _solutions(row) -> list[str]:
  return _argument(row, 1, "solution", "solutions", "answer")


def _lengths(row) -> list[int]:
  """Tokens where the row has them, else characters: the formula is the same."""
  ids = _argument(row, 2, "completion_ids") if row["fn"] == "get_cosine_scaled_reward" else None
  return [len(text) for text in (_texts(row) if ids is None else ids)]


def _graded(row, grader) -> list[float | None]:
  """Accuracy of each completion, None where the gold answer cannot be read."""
  pairs = zip(_texts(row), _solutions(row), strict=True)
  return [_maths(text, gold, grader) for text, gold in pairs]


def _maths(text: str, gold: str, grader: grade.Grader) -> float | None:
  question = questions.Question(id="row", prompt="?", answer=gold)
  (score,) = grader.grade([question], [_response(text)], "boxed")
  return None if score.verdict == "no_verdict" else score.value


def _thought_ends(row) -> list[str]:
  return row["kwargs"].get("reasoning_delimiters") or ["</think>"]


# Our values, one per completion ----------------------------------------------------------------


def _format(row, _) -> list[float]:
  return [form.reward(None, _response(text)).value for text in _texts(row)]


def _think_format(row, _) -> list[float]:
  return [form.reward(None, _response(text), "boxed").value for text in _texts(row)]


def _tag_count(row, _) -> list[float]:
  return [form.tags(None, _response(text)).value for text in _texts(row)]


def _code_format(row, _) -> list[float]:
  language = (row["factory_kwargs"] or {}).get("language", "python")
  return [form.fenced(None, _response(text), language).value for text in _texts(row)]


def _steps(row, _) -> list[float]:
  return [shaping.steps(text) for text in _texts(row)]


def _length(row, grader) -> list[float | None]:
  graded = _graded(row, grader)
  values = shaping.length(_lengths(row), [score == 1 for score in graded], _solutions(row))
  return [None if score is None else value for score, value in zip(graded, values)]


def _cosine(row, grader) -> list[float | None]:
  given = COSINE_DEFAULTS | (row["factory_kwargs"] or {})
  cfg = shaping.CosineConfig(
    limit=given["max_len"],
    right_short=given["max_value_correct"],
    right_long=given["min_value_correct"],
    wrong_short=given["min_value_wrong"],
    wrong_long=given["max_value_wrong"],
  )
  return [
    None if score is None else shaping.cosine(n, score == 1, cfg)
    for n, score in zip(_lengths(row), _graded(row, grader), strict=True)
  ]


def _repetition(row, _) -> list[float]:
  given = row["factory_kwargs"]
  completions = _argument(row, 0, "completion_ids", "completions")
  sequences = (
    shaping.units(c if isinstance(c, str) else c[0]["content"]) if _is_text(c) else c
    for c in completions
  )
  n, worst = given["ngram_size"], given["max_penalty"]
  return [worst * shaping.repetition(sequence, n) for sequence in sequences]


def _is_text(completion) -> bool:
  return isinstance(completion, str) or (bool(completion) and isinstance(completion[0], dict))


def _overlong(row, _) -> list[float]:
  given = row["factory_kwargs"]
  limit, buffer = given["max_completion_len"], given["soft_punish_cache"]
  return [shaping.overlong(len(ids), limit, buffer) for ids in _argument(row, 0, "completion_ids")]


def _reasoning_accuracy(row, grader) -> list[float | None]:
  """Accuracy of what follows the thought, whose end the row may spell in its own way."""
  values = []
  for text, gold in zip(_texts(row), _solutions(row), strict=True):
    for end in _thought_ends(row):
      text = text.replace(end, "</think>")
    values.append(_maths(text, gold, grader))
  return values


COSINE_DEFAULTS = {
  "max_len": 1000,
  "min_value_wrong": -1.0,
  "max_value_wrong": -0.5,
  "min_value_correct": 0.5,
  "max_value_correct": 1.0,
}
RULES: dict[str, Callable[..., Sequence[float | None]]] = {
  "format_reward": _format,
  "think_format_reward": _think_format,
  "tag_count_reward": _tag_count,
  "get_code_format_reward": _code_format,
  "reasoning_steps_reward": _steps,
  "len_reward": _length,
  "get_cosine_scaled_reward": _cosine,
  "get_repetition_penalty_reward": _repetition,
  "get_soft_overlong_punishment": _overlong,
  "reasoning_accuracy_reward": _reasoning_accuracy,
  "accuracy_reward": _graded,
}


# Choices that differ ---------------------------------------------------------------------------


def _refused(row) -> str:
  """Why the whole row rests on a choice that is refused here; "" where it does not."""
  given = row["factory_kwargs"] or {}
  if row["fn"] == "len_reward" and len(set(_solutions(row))) > 1:
    return "lengths are ranked within the group of one question, not over the batch"
  if row["fn"] == "get_repetition_penalty_reward" and given.get("language", "en") != "en":
    return "an unspaced script counts by the character, not by a segmenter's word"
  if row["fn"] == "get_cosine_scaled_reward" and "completion_ids" not in row["kwargs"]:
    limit = (COSINE_DEFAULTS | given)["max_len"]
    if len(row["args"]) < 3 and max(_lengths(row)) > limit:
      return "lengths are tokens, and beyond the limit the curve is flat"
  return ""


def _explained(row, i: int) -> str | None:
  """The choice that makes completion i differ, or None where nothing does."""
  graded = row["fn"] in ("len_reward", "get_cosine_scaled_reward", "accuracy_reward")
  if graded and not re.search(r"\d", _solutions(row)[i]):
    return "a gold answer that cannot be read gives no verdict"
  text = _texts(row)[i]
  for end in _thought_ends(row):
    text = text.replace(end, "</think>")
  explain = EXPLAINED.get(row["fn"])
  return explain(text, row["reward"][i]) if explain else None


def _format_choice(text: str, theirs: float) -> str | None:
  if theirs and (TAG.findall(text) != IN_ORDER or not _starts_and_ends(text)):
    return "the whole text must match: nothing outside the two blocks, no block twice"
  if not theirs and not LINES.search(text):
    return "line breaks around the tags are not demanded"
  return None


def _starts_and_ends(text: str) -> bool:
  return text.strip().startswith("<think>") and text.strip().endswith("</answer>")


def _think_choice(text: str, theirs: float) -> str | None:
  head, _, rest = text.partition("</think>")
  if theirs and (not rest.strip() or not head.replace("<think>", "").strip()):
    return "neither the thought nor the answer may be blank"
  if theirs and text.count("</think>") > 1:
    return "a thought is closed once"
  return None


def _tag_choice(text: str, theirs: float) -> str | None:
  lines = sum(text.count(tag) == 1 for tag in TAG_LINES) / 4
  return "line breaks around the tags are not demanded" if lines == theirs else None


def _reasoning_choice(text: str, theirs: float) -> str | None:
  missing = theirs == 0 and "</think>" not in text
  return "a missing thought is the format's business, not the accuracy's" if missing else None


def _accuracy_choice(text: str, theirs: float) -> str | None:
  unmarked = theirs == 1 and "\\boxed{" not in text
  return "an answer that nothing marks is no answer" if unmarked else None


EXPLAINED: dict[str, Callable[[str, float], str | None]] = {
  "format_reward": _format_choice,
  "get_code_format_reward": _format_choice,
  "think_format_reward": _think_choice,
  "tag_count_reward": _tag_choice,
  "reasoning_accuracy_reward": _reasoning_choice,
  "accuracy_reward": _accuracy_choice,
}
