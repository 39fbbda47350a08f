"""The evaluation of a policy on questions it never saw: greedy, sampled, pass@k, behaviour."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from r1.data import questions as records
from r1.evals import behaviour, score
from r1.rewards import accuracy, form
from r1.rewards.maths import extract, grade, numbers
from r1.sampling import rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig:
  """questions: how many, one sample each. wide: of them with `samples` samples, for pass@k.

  limit: most tokens of an answer. seed: of the questions and of the sampling.
  """

  questions: int
  wide: int
  samples: int
  limit: int
  seed: int

  def __post_init__(self):
    if not 0 < self.wide <= self.questions or self.samples < 1:
      raise ValueError(
        f"wide={self.wide} must be within questions={self.questions}, samples={self.samples} >= 1"
      )


Answer = Callable[[Sequence[records.Question], int, float], list[rollout.Sample]]


def evaluate(
  answer: Answer,
  questions: Sequence[records.Question],
  verifier: accuracy.Verifier,
  cfg: EvalConfig,
) -> dict[str, float]:
  """eval/* of one policy: a flat dict of numbers, those of shares with their standard errors.

  answer(questions, samples each, temperature) samples the policy. verifier: that of the training
  reward, so that both mean the same by a right answer.
  """
  result, questions = {}, questions[: cfg.questions]
  for name, temperature in (("eval/greedy", 0.0), ("eval/pass@1_t0.6", 0.6), ("eval/pass@1", 1.0)):
    samples = answer(questions, 1, temperature)
    result |= _with_error(name, [[right] for right in rights(samples, verifier)])
  result |= _with_error("eval/pass@1_any_format", [[right_anywhere(s)] for s in samples])
  result |= describe(samples, verifier.mode)
  result |= _wide(answer(questions[: cfg.wide], cfg.samples, 1.0), verifier, cfg)
  return result


def rights(samples: Sequence[rollout.Sample], verifier: accuracy.Verifier) -> list[bool]:
  """Did each answer, in the demanded format, match the gold?"""
  return verifier.right([s.question for s in samples], [s.response for s in samples])


def right_anywhere(sample: rollout.Sample) -> bool:
  """Was the last number of the text the gold, whatever its format?"""
  said = numbers.anywhere(sample.response.text)
  return said is not None and grade.quick(sample.question.answer or "", said) == "right"


def describe(samples: Sequence[rollout.Sample], mode: str) -> dict[str, float]:
  """How the policy answers at temperature 1: length, format, and what its thoughts do."""
  texts = [s.response.text for s in samples]
  thoughts = behaviour.summary(texts, [s.question.language for s in samples])
  result = {name.replace("think/", "eval/"): v for name, v in thoughts.items() if "think/" in name}
  result["eval/length"] = float(np.mean([s.length for s in samples]))
  result["eval/format"] = float(
    np.mean([form.reward(s.question, s.response, mode).value for s in samples])
  )
  return result


def _wide(
  samples: Sequence[rollout.Sample], verifier: accuracy.Verifier, cfg: EvalConfig
) -> dict[str, float]:
  k = cfg.samples
  starts = range(0, len(samples), k)
  right = rights(samples, verifier)
  said = [extract.extract(s.response.text, verifier.mode) for s in samples]
  agreed = []
  for i in starts:
    vote = score.majority(said[i : i + k])
    agreed.append([vote is not None and right[i + said[i : i + k].index(vote)]])
  correct = [right[i : i + k] for i in starts]
  return {f"eval/pass@{k}": score.pass_at(correct, k)} | _with_error(f"eval/cons@{k}", agreed)


def _with_error(name: str, correct) -> dict[str, float]:
  mean, error = score.mean_and_error(correct)
  return {name: mean, f"{name}_se": error}
