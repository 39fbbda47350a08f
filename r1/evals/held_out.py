"""The evaluation of a policy on questions it never saw: greedy, sampled, pass@k, behaviour."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from r1.data import questions as records
from r1.evals import behaviour, score
from r1.rewards import form, maths
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


def evaluate(answer: Answer, questions: Sequence[records.Question], mode: str, cfg: EvalConfig):
  """eval/* of one policy: a flat dict of numbers, those of shares with their standard errors.

  answer(questions, samples each, temperature) samples the policy. mode: how answers are marked.
  """
  result, questions = {}, questions[: cfg.questions]
  for name, temperature in (("eval/greedy", 0.0), ("eval/pass@1_t0.6", 0.6), ("eval/pass@1", 1.0)):
    samples = answer(questions, 1, temperature)
    result |= _with_error(name, [[right(s, mode)] for s in samples])
  result |= _with_error("eval/pass@1_any_format", [[right_anywhere(s)] for s in samples])
  result |= describe(samples, mode)
  result |= _wide(answer(questions[: cfg.wide], cfg.samples, 1.0), mode, cfg)
  return result


def right(sample: rollout.Sample, mode: str) -> bool:
  """Did the answer, in the demanded format, match the gold?"""
  return maths.reward(sample.question, sample.response, mode).value == 1.0


def right_anywhere(sample: rollout.Sample) -> bool:
  """Was the last number of the text the gold, whatever its format?"""
  said = maths.number_anywhere(sample.response.text)
  return said is not None and maths.equal(sample.question.answer or "", said)


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


def _wide(samples: Sequence[rollout.Sample], mode: str, cfg: EvalConfig) -> dict[str, float]:
  k = cfg.samples
  groups = [samples[i : i + k] for i in range(0, len(samples), k)]
  correct = [[right(s, mode) for s in group] for group in groups]
  votes = [score.majority([maths.extract(s.response.text, mode) for s in g]) for g in groups]
  agreed = [
    [vote is not None and maths.equal(group[0].question.answer or "", vote)]
    for vote, group in zip(votes, groups)
  ]
  return {f"eval/pass@{k}": score.pass_at(correct, k)} | _with_error(f"eval/cons@{k}", agreed)


def _with_error(name: str, correct) -> dict[str, float]:
  mean, error = score.mean_and_error(correct)
  return {name: mean, f"{name}_se": error}
