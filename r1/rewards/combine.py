"""The total reward: a weighted sum of parts, each reported alone too (arXiv 2501.12948v2 eq. 8)."""

import collections
import dataclasses
import importlib
import math
from collections.abc import Callable, Sequence

from r1.data import responses
from r1.rewards import form, language, maths, verdict

BUILT_IN = ("accuracy", "format", "language")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig:
  """Weights of the parts; a weight of 0 still reports its part."""

  accuracy: float
  format: float
  language: float
  mode: str  # where the answer stands: "answer_tag" or "boxed"
  own: tuple[tuple[str, float], ...]  # ("package.module:function", weight)

  def __post_init__(self):
    form.check_mode(self.mode)
    for name, weight in self.weights().items():
      if not math.isfinite(weight):
        raise ValueError(f"weight {weight} of reward {name!r} given; use a finite number")
    if len(self.weights()) != len(BUILT_IN) + len(self.own):
      raise ValueError(f"own rewards {self.own} given; name each once, and none {BUILT_IN}")

  def weights(self) -> dict[str, float]:
    """Weight by name of the part."""
    built_in = {"accuracy": self.accuracy, "format": self.format, "language": self.language}
    return built_in | dict(self.own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewards:
  """One entry per response; where valid is False the total is 0 and must be masked."""

  total: list[float]
  parts: dict[str, list[float]]  # unweighted; 0 where a part has no verdict
  verdicts: list[str]  # of the accuracy; no_verdict wherever valid is False
  valid: list[bool]  # every part of non-zero weight has a verdict
  errors: list[str]  # why verdicts are missing, one text for each part and response


def resolve(path: str) -> Callable:
  """The function behind "package.module:function"; ValueError that says which half is wrong."""
  module_name, colon, name = path.partition(":")
  if not (module_name and colon and name):
    raise ValueError(f"reward {path!r} given; write it as 'package.module:function'")
  try:
    module = importlib.import_module(module_name)
  except ImportError as error:
    raise ValueError(f"reward {path!r}: cannot import {module_name!r} ({error})") from error
  function = getattr(module, name, None)
  if not callable(function):
    raise ValueError(f"reward {path!r}: module {module_name!r} has no function {name!r}")
  return function


def combine(
  questions: Sequence, responses: Sequence[responses.Response], cfg: RewardConfig
) -> Rewards:
  """Scores response i against question i and adds the parts up.

  An own reward is called as function(question, response) and returns a number or a Score, None
  for no verdict. A fault of a grader is ours and never lowers a reward: the sample is masked.
  """
  if len(questions) != len(responses):
    raise ValueError(
      f"{len(questions)} questions and {len(responses)} responses given; pass one question for "
      "each response, so a group of 16 repeats its question 16 times"
    )
  errors: list[str] = []
  pairs = list(zip(questions, responses))
  scores = {
    name: [_noted(name, q, grade(q, r), errors) for q, r in pairs]
    for name, grade in _built_in(cfg).items()
  }
  for path, _ in cfg.own:
    grade = resolve(path)
    scores[path] = [_call_own(path, grade, q, r, errors) for q, r in pairs]
  counted = {name: weight for name, weight in cfg.weights().items() if weight}
  rows = range(len(responses))
  valid = [all(scores[name][i].verdict != "no_verdict" for name in counted) for i in rows]
  total = [sum(w * scores[name][i].value for name, w in counted.items()) for i in rows]
  return Rewards(
    total=[value if ok else 0.0 for value, ok in zip(total, valid)],
    parts={name: [score.value for score in column] for name, column in scores.items()},
    verdicts=[s.verdict if ok else "no_verdict" for s, ok in zip(scores["accuracy"], valid)],
    valid=valid,
    errors=errors,
  )


def _built_in(cfg: RewardConfig) -> dict[str, Callable]:
  return {
    "accuracy": lambda question, response: maths.reward(question, response, cfg.mode),
    "format": lambda question, response: form.reward(question, response, cfg.mode),
    "language": language.consistency,
  }


def _call_own(path: str, grade: Callable, question, response, errors: list[str]) -> verdict.Score:
  """The Score of an own reward; whatever it raises becomes no_verdict and a line in errors."""
  try:
    given = grade(question, response)
    if not isinstance(given, verdict.Score):
      given = verdict.Score(0.0, "no_verdict") if given is None else _plain(given)
  except Exception as error:  # foreign code: any class may come, and it must not stop the run
    errors.append(f"{path} on question {question.id!r}: {type(error).__name__}: {error}")
    return verdict.Score(0.0, "no_verdict")
  return _noted(path, question, given, errors)


def _plain(given) -> verdict.Score:
  """A bare number as a Score: it was graded, and only a positive value means approval."""
  value = float(given)
  return verdict.Score(value, "right" if value > 0 else "wrong")


def _noted(name: str, question, score: verdict.Score, errors: list[str]) -> verdict.Score:
  """The score itself, 0 and noted in errors where it has no verdict."""
  if score.verdict != "no_verdict":
    return score
  errors.append(f"{name} on question {question.id!r}: {_reason(name, question)}")
  return verdict.Score(0.0, "no_verdict")


def _reason(name: str, question) -> str:
  if name == "accuracy":
    return f"no rule reads the answer {question.answer!r} of kind {question.kind!r}"
  if name == "language":
    return f"no script known for language {question.language!r}"
  return "the grader gave no verdict"


def metrics(rewards: Rewards) -> dict[str, float]:
  """reward/* means over the samples with a verdict, verdict/* shares of all samples.

  A mean over nothing is left out.
  """
  count = len(rewards.valid)
  shares = collections.Counter(rewards.verdicts)
  result = {f"verdict/{name}": shares[name] / count for name in verdict.VERDICTS} if count else {}
  for name, column in {"total": rewards.total, **rewards.parts}.items():
    kept = [v for v, ok in zip(column, rewards.valid) if ok]
    if name == "accuracy":
      kept = [v for v, said in zip(column, rewards.verdicts) if said != "no_verdict"]
    if kept:
      result[f"reward/{name}"] = sum(kept) / len(kept)
  return result


def check(questions: Sequence, cfg: RewardConfig) -> None:
  """Raises ValueError where an enabled built-in reward can give a question no verdict, ever.

  Such a question would be sampled, masked and never learned from.
  """
  empty = responses.Response(text="", tokens=1, truncated=False)
  enabled = [name for name in BUILT_IN if cfg.weights()[name]]
  graders = _built_in(cfg)
  bad = [
    f"{q.id!r}: {_reason(name, q)}"
    for q in questions
    for name in enabled
    if graders[name](q, empty).verdict == "no_verdict"
  ]
  if bad:
    more = "" if len(bad) <= 5 else f"\n  and {len(bad) - 5} more"
    raise ValueError(
      f"{len(bad)} questions can never be graded; leave them out, or turn that reward off:\n  "
      + "\n  ".join(bad[:5])
      + more
    )
