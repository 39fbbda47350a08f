"""Answers that a model would give, planted in place of its sampling: whole stages in seconds."""

import dataclasses
import re

from r1.data import questions as records
from r1.data import responses
from r1.data.worlds import arithmetic
from r1.stages import collect

KINDS = ("right", "right", "wrong", "mixed", "foreign", "cut", "bare", "code", "right")


def value(prompt: str) -> int:
  """What the sum of a prompt comes to, by Python's own arithmetic."""
  return eval("".join(re.findall(r"[0-9]+|[-+]", prompt)))


def thought(prompt: str, language: str, check: bool = True) -> str:
  """Its steps, each checked, in one language."""
  say, said = arithmetic.LEXICON[language], []
  numbers, signs = re.findall(r"[0-9]+", prompt), re.findall(r"[-+]", prompt)
  total = int(numbers[0])
  for i, (sign, n) in enumerate(zip(signs, numbers[1:])):
    after = total + int(n) if sign == "+" else total - int(n)
    said.append(f"{say.then if i else say.first} {total} {sign} {n} = {after}")
    if check:
      said.append(f"{say.check} {total} {sign} {n} = {after} {say.yes}")
    total = after
  return say.comma.join([*said, f"{say.so} {total}"])


def text(question, kind: str, number: int, mode: str) -> str:
  """An answer of that kind in the form of the mode."""
  language, right = question.language, value(question.prompt)
  other = "zh" if language == "en" else "en"
  told = thought(question.prompt, other if kind == "foreign" else language, number % 2 == 0)
  if kind == "mixed":
    told += f", {thought(question.prompt, other)}"
  if kind == "code":
    told += " ```python\nprint()\n```"
  if kind == "bare":
    return f"{right}."
  said = right + 1 if kind == "wrong" else right
  if mode == "answer_tag":
    return f"<think>{told}</think><answer>{said}</answer>"
  return f"<think>{told}</think>{arithmetic.recap(said, language)}"


def draw(mode: str):
  """Stands in for `collect.draw`."""

  def planted(model, asked, cfg, sampler, judge):
    rows = []
    for question in asked:
      for number in range(cfg.samples):
        kind = KINDS[(number + sum(map(ord, question.id))) % len(KINDS)]
        said = responses.Response(
          text=text(question, kind, number, mode), tokens=9, truncated=kind == "cut"
        )
        rows.append(
          collect.Collected(
            question=question, number=number, response=said, verdict="", prompt_tokens=5
          )
        )
    verdicts = judge([row.question for row in rows], [row.response for row in rows])
    return [dataclasses.replace(row, verdict=v) for row, v in zip(rows, verdicts)]

  return planted


def question(prompt: str, language: str) -> records.Question:
  """A sum as a question whose answer is its own value."""
  return records.Question(
    id=prompt, prompt=prompt, answer=str(value(prompt)), kind="maths", language=language
  )
