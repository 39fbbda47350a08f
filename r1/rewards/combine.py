"""The total reward: a weighted sum of parts, each reported alone too (arXiv 2501.12948v2 eq. 8-10).

R = R_reasoning + R_general + R_language: a question that a rule can judge has its accuracy, a
general prompt has the score of a reward model in its place, helpful or safety as the data set that
it belongs to, and both have format and language.
"""

import collections
import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping, Sequence

from r1 import schedule
from r1.data import responses as records
from r1.rewards import accuracy, form, language, shaping, verdict

BUILT_IN = ("accuracy", "format", "language")
GENERAL = ("helpful", "safety")  # kinds without a rule, each with a reward model of its own

# (questions, responses) -> a Score each: a reward model, see `r1.train.reward_models`.
Model = Callable[[Sequence, Sequence[records.Response]], "list[verdict.Score]"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RewardConfig:
  """Weights of the parts; a weight of 0 still reports accuracy, format and language.

  helpful, safety: of the reward model of that kind, on questions of that kind; 0 never asks it.
  """

  accuracy: float
  format: float
  language: float
  helpful: float
  safety: float
  mode: str  # where the answer stands: "answer_tag" or "boxed"
  # That the model may fall into, beside other scripts; told apart from the question's own.
  languages: tuple[str, ...]
  shaping: shaping.ShapingConfig
  own: tuple[tuple[str, float], ...]  # ("package.module:function", weight), on every question
  general: tuple[tuple[str, float], ...]  # the same, on general prompts, in place of accuracy
  # (part, ((update, factor), ...)): its weight is multiplied by the factor from that update on.
  schedules: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]

  def __post_init__(self):
    form.check_mode(self.mode)
    weights = self.weights()
    for name, weight in weights.items():
      if not math.isfinite(weight):
        raise ValueError(f"weight {weight} of reward {name!r} given; use a finite number")
    ours = len(BUILT_IN) + len(GENERAL) + len(self.shaping.weights())
    if len(weights) != ours + len(self.own + self.general):
      raise ValueError(
        f"own rewards {self.own} and general ones {self.general} given; name each once, and none "
        f"as a part of ours: {sorted(weights)}"
      )
    for name, points in self.schedules:
      if name not in weights:
        raise ValueError(f"a schedule for reward {name!r} given; there are {sorted(weights)}")
      schedule.check(f"schedule of {name}", points)

  def weights(self) -> dict[str, float]:
    """Weight by name of the part, before schedules."""
    built_in = {"accuracy": self.accuracy, "format": self.format, "language": self.language}
    built_in |= {"helpful": self.helpful, "safety": self.safety}
    return built_in | self.shaping.weights() | dict(self.own) | dict(self.general)

  def weights_at(self, step: int) -> dict[str, float]:
    """Weight by name of the part at an update."""
    factors = {name: schedule.at(points, step) for name, points in self.schedules}
    return {name: weight * factors.get(name, 1.0) for name, weight in self.weights().items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rewards:
  """One entry per response; where valid is False the total is 0 and must be masked."""

  total: list[float]
  parts: dict[str, list[float | None]]  # unweighted; 0 without a verdict, None without a say
  verdicts: list[str]  # of what judges the question; no_verdict wherever valid is False
  valid: list[bool]  # every part of non-zero weight has a verdict
  errors: list[str]  # why verdicts are missing, one text for each part and response


def join(parts: Sequence[Rewards]) -> Rewards:
  """The rewards of several batches of the same settings, one after the other."""
  chain = lambda name: [x for part in parts for x in getattr(part, name)]
  names = parts[0].parts if parts else {}
  return Rewards(
    total=chain("total"),
    parts={name: [x for part in parts for x in part.parts[name]] for name in names},
    verdicts=chain("verdicts"),
    valid=chain("valid"),
    errors=chain("errors"),
  )


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
  questions: Sequence,
  responses: Sequence[records.Response],
  cfg: RewardConfig,
  verifier: accuracy.Verifier,
  step: int,
  models: Mapping[str, Model],
) -> Rewards:
  """Scores response i against question i, with the weights of update `step`.

  models: by the kind of question that they judge; one whose weight is 0 now is not asked. An own
  reward is called as function(question, response) and returns a number or a Score, None for no
  verdict. A fault of a grader is ours and never lowers a reward: the sample is masked.
  """
  if len(questions) != len(responses):
    raise ValueError(
      f"{len(questions)} questions and {len(responses)} responses given; pass one question for "
      "each response, so a group of 16 repeats its question 16 times"
    )
  errors: list[str] = []
  scores = _rules(questions, responses, cfg, verifier, errors)
  general = [question.kind in GENERAL for question in questions]
  weights = cfg.weights_at(step)
  for kind in (kind for kind in GENERAL if weights[kind]):
    scores[kind] = _preferred(kind, questions, responses, models, errors)
  for path, _ in (*cfg.own, *cfg.general):
    ask = [path in dict(cfg.own) or is_general for is_general in general]
    scores[path] = _own(path, questions, responses, ask, errors)
  counted = {name: weight for name, weight in weights.items() if weight}
  columns = [scores[name] for name in counted]
  rows = range(len(responses))
  valid = [
    all(score is None or score.verdict != "no_verdict" for score in (c[i] for c in columns))
    for i in rows
  ]
  total = [sum(w * _value(scores[name][i]) for name, w in counted.items()) for i in rows]
  judges = [name for name in ("accuracy", *GENERAL, *dict(cfg.general)) if name in scores]
  judged = [_verdict([scores[name][i] for name in judges]) for i in rows]
  return Rewards(
    total=[value if ok else 0.0 for value, ok in zip(total, valid)],
    parts={name: [s and s.value for s in column] for name, column in scores.items()},
    verdicts=[said if ok else "no_verdict" for said, ok in zip(judged, valid)],
    valid=valid,
    errors=errors,
  )


Column = list[verdict.Score | None]  # None where a part has no say on a question


def _rules(questions, responses, cfg, verifier, errors: list[str]) -> dict[str, Column]:
  """The parts that are rules: accuracy, format, language and the shaping that is on."""
  asked = [i for i, question in enumerate(questions) if question.kind not in GENERAL]
  judged = verifier.grade([questions[i] for i in asked], [responses[i] for i in asked])
  said: Column = [None] * len(questions)
  for i, score in zip(asked, judged):
    said[i] = _noted("accuracy", questions[i], score, errors)
  pairs = list(zip(questions, responses))
  result: dict[str, Column] = {
    "accuracy": said,
    "format": [form.reward(q, r, cfg.mode) for q, r in pairs],
    "language": [
      _noted("language", q, language.consistency(q, r, cfg.languages), errors) for q, r in pairs
    ],
  }
  right = [score is not None and score.verdict == "right" for score in said]
  shaped = shaping.parts(responses, right, [q.id for q in questions], cfg.shaping)
  for name, column in shaped.items():
    result[name] = [_plain(value) for value in column]
  return result


def _preferred(kind: str, questions, responses, models, errors: list[str]) -> Column:
  """What the reward model of a kind says of the questions of that kind."""
  if kind not in models:
    raise ValueError(
      f"reward {kind!r} has a weight and no reward model; there are {sorted(models)}: give the "
      "preference stage's workdir, or the weight 0"
    )
  asked = [i for i, question in enumerate(questions) if question.kind == kind]
  said: Column = [None] * len(questions)
  found = models[kind]([questions[i] for i in asked], [responses[i] for i in asked])
  for i, score in zip(asked, found, strict=True):
    said[i] = _noted(kind, questions[i], score, errors)
  return said


def _own(path: str, questions, responses, ask: list[bool], errors: list[str]) -> Column:
  grade = resolve(path)
  rows = zip(questions, responses, ask)
  return [_call_own(path, grade, q, r, errors) if asked else None for q, r, asked in rows]


def _value(score: verdict.Score | None) -> float:
  return score.value if score else 0.0


def _verdict(scores: Column) -> str:
  """The verdict of the first part that judges the question; nothing judges: no_verdict."""
  return next((score.verdict for score in scores if score), "no_verdict")


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
    return f"the verifier of kind {question.kind!r} was lost, or cannot read {question.answer!r}"
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
    if kept := [v for v, ok in zip(column, rewards.valid) if ok and v is not None]:
      result[f"reward/{name}"] = sum(kept) / len(kept)
  return result


def gradable(
  questions: Sequence, cfg: RewardConfig, verifier: accuracy.Verifier
) -> tuple[list, dict[str, str]]:
  """(questions that can be learned from, why not by id of the others).

  A question that no enabled rule can judge would be sampled, masked and never learned from.
  """
  ruled = [q for q in questions if q.kind not in GENERAL]
  faults = verifier.faults(ruled) if cfg.accuracy else {}
  empty = records.Response(text="", tokens=1, truncated=False)
  for question in questions:
    kind = question.kind
    if kind in GENERAL and not (cfg.general or cfg.weights()[kind]):
      faults[question.id] = f"kind {kind!r} needs a reward model: give `{kind}` a weight"
    if cfg.language and language.consistency(question, empty).verdict == "no_verdict":
      faults[question.id] = _reason("language", question)
  return [question for question in questions if question.id not in faults], faults
