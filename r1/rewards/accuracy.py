"""Is the answer right? The kind of the question picks the verifier."""

import dataclasses
from collections.abc import Callable, Sequence

from r1.data import responses
from r1.rewards import choice, form, short, verdict
from r1.rewards.maths import grade, symbolic
from r1.rewards.workers import pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierConfig:
  """mode: where answers stand (form.MODES). The rest is of the workers for algebra."""

  mode: str
  workers: int
  seconds: float  # by the clock, for one answer
  memory_bytes: int  # address space of a worker
  jobs: int  # answers after which a worker is replaced

  def __post_init__(self):
    form.check_mode(self.mode)


class Verifier:
  """The verifiers of all kinds and the processes they use; a with statement ends those.

  The same object scores training and evaluation, so both mean the same by "right".
  """

  def __init__(self, cfg: VerifierConfig):
    self.mode = cfg.mode
    self.maths = grade.Grader(
      pool.PoolConfig(
        work=grade.WORK,
        warm=tuple(symbolic.warm_up()),
        workers=cfg.workers,
        seconds=cfg.seconds,
        memory_bytes=cfg.memory_bytes,
        jobs=cfg.jobs,
      )
    )
    each = lambda rule: lambda qs, rs: [rule(q, r, cfg.mode) for q, r in zip(qs, rs)]
    self._of_kind: dict[str, Callable] = {
      "maths": lambda qs, rs: self.maths.grade(qs, rs, cfg.mode),
      "choice": each(choice.reward),
      "short": each(short.reward),
      "logic": each(short.logic),
    }

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    self.maths.close()

  def grade(
    self, questions: Sequence, answers: Sequence[responses.Response]
  ) -> list[verdict.Score]:
    """One score per answer, in order; no_verdict for a kind that no rule can judge."""
    scores = [verdict.Score(0.0, "no_verdict")] * len(questions)
    for kind, judge in self._of_kind.items():
      rows = [i for i, question in enumerate(questions) if question.kind == kind]
      if rows:
        judged = judge([questions[i] for i in rows], [answers[i] for i in rows])
        for i, score in zip(rows, judged):
          scores[i] = score
    return scores

  def right(self, questions: Sequence, answers: Sequence[responses.Response]) -> list[bool]:
    """Is each answer right? Whatever could not be judged is not."""
    return [score.verdict == "right" for score in self.grade(questions, answers)]

  def faults(self, questions: Sequence) -> dict[str, str]:
    """Why a question can never be judged, by id; those that can are left out."""
    empty = responses.Response(text="", tokens=1, truncated=False)
    found = {
      question.id: f"no rule reads the answer {question.answer!r} of kind {question.kind!r}"
      for question, score in zip(questions, self.grade(questions, [empty] * len(questions)))
      if score.verdict == "no_verdict"
    }
    golds = [(q.id, q.answer) for q in questions if q.kind == "maths" and q.id not in found]
    readable = self.maths.readable([answer for _, answer in golds])
    return found | {
      name: f"the gold answer {answer!r} is no mathematics that can be compared; words are of kind "
      "'short'"
      for (name, answer), fine in zip(golds, readable)
      if not fine
    }
