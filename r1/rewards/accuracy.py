"""Is the answer right? The kind of the question picks the verifier."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

from r1.data import responses
from r1.rewards import choice, form, short, verdict
from r1.rewards.code import grade as code
from r1.rewards.maths import extract, symbolic
from r1.rewards.maths import grade as maths
from r1.rewards.sandbox import bubblewrap, lanes, program, remote
from r1.rewards.workers import pool


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifierConfig:
  """mode: where answers stand (form.MODES). The next four are of the workers for algebra.

  lanes: programs that run side by side. python: the interpreter they run with; that of a virtual
  environment brings its packages, "" is the bare one of this process. url: of a sandbox elsewhere
  (SandboxFusion's requests), "" for the one here.
  """

  mode: str
  workers: int
  seconds: float  # by the clock, for one answer
  memory_bytes: int  # address space of a worker
  jobs: int  # answers after which a worker is replaced
  lanes: int
  python: str
  url: str
  code: code.CodeConfig

  def __post_init__(self):
    form.check_mode(self.mode)
    if self.lanes < 1:
      raise ValueError(f"lanes={self.lanes} given; programs need at least one lane")
    assert self.pool  # refuses the settings of the workers, before anything starts

  @property
  def pool(self) -> pool.PoolConfig:
    """The workers for algebra."""
    return pool.PoolConfig(
      work=maths.WORK,
      warm=tuple(symbolic.warm_up()),
      workers=self.workers,
      seconds=self.seconds,
      memory_bytes=self.memory_bytes,
      jobs=self.jobs,
    )


def config(section, mode: str) -> VerifierConfig:
  """The record of a config's section `verifier`, in which code and its limits are sections."""
  given = section.to_dict()
  programs = given.pop("code")
  limits = program.Limits(**programs.pop("limits"))
  return VerifierConfig(**given, mode=mode, code=code.CodeConfig(**programs, limits=limits))


class Verifier:
  """The verifiers of all kinds and the processes they use; a with statement ends those.

  The same object scores training and evaluation, so both mean the same by "right". Workers and
  sandbox start when they are first needed; a sandbox that cannot isolate raises RuntimeError.
  """

  def __init__(self, cfg: VerifierConfig):
    self.mode, self._cfg = cfg.mode, cfg
    self._open = contextlib.ExitStack()
    self._box: lanes.Lanes | remote.Remote | None = None
    self.maths = maths.Grader(cfg.pool)
    self._open.callback(self.maths.close)
    each = lambda rule: lambda qs, rs: [rule(q, r, cfg.mode) for q, r in zip(qs, rs)]
    self._of_kind: dict[str, Callable] = {
      "maths": lambda qs, rs: self.maths.grade(qs, rs, cfg.mode),
      "code": self._programs,
      "choice": each(choice.reward),
      "short": each(short.reward),
      "logic": each(short.logic),
    }

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    self._open.close()

  @property
  def box(self) -> lanes.Lanes | remote.Remote:
    """The open sandbox, local or remote."""
    if self._box is None:
      cfg = self._cfg
      here = lambda: lanes.open(cfg.lanes, cfg.python or bubblewrap.PYTHON)
      opened = remote.open(_server(cfg)) if cfg.url else here()
      self._box = self._open.enter_context(opened)
    return self._box

  def _programs(self, questions, answers) -> list[verdict.Score]:
    if self.mode == "answer_tag":  # the program stands in the answer; boxes hold none
      said = [extract.extract(answer.text, self.mode) or "" for answer in answers]
      answers = [dataclasses.replace(a, text=text) for a, text in zip(answers, said)]
    pairs = list(zip(questions, answers))
    return [found.score for found in code.grade(pairs, self._cfg.code, self.box.run)]

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
    programs = [question for question in questions if question.kind == "code"]
    found = code.faults(programs, self.box.run) if programs else {}
    rest = [question for question in questions if question.kind != "code"]
    empty = responses.Response(text="", tokens=1, truncated=False)
    found |= {
      question.id: f"no rule reads the answer {question.answer!r} of kind {question.kind!r}"
      for question, score in zip(rest, self.grade(rest, [empty] * len(rest)))
      if score.verdict == "no_verdict"
    }
    golds = [(q.id, q.answer) for q in rest if q.kind == "maths" and q.id not in found]
    readable = self.maths.readable([answer for _, answer in golds])
    return found | {
      name: f"the gold answer {answer!r} is no mathematics that can be compared; words are of kind "
      "'short'"
      for (name, answer), fine in zip(golds, readable)
      if not fine
    }


def _server(cfg: VerifierConfig) -> remote.RemoteConfig:
  return remote.RemoteConfig(url=cfg.url, lanes=cfg.lanes, tries=3, pause_s=1.0)
