"""The suite that every stage's model is asked: sums by difficulty, general prompts, harm to refuse.

What arXiv 2501.12948v2 tables 3 and 14 are for the paper's stages, in the embedded world: test
problems and prompts only, sampled at a low temperature (section D.1), scored by rules.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from r1.data import questions as records
from r1.data.worlds import arithmetic, general
from r1.evals import behaviour, held_out, readable, score
from r1.evals import general as general_evals
from r1.rewards import accuracy, form, language
from r1.sampling import rollout

Number = tuple[float, float]  # mean and standard error


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuiteConfig:
  """terms: numbers in a sum, each a difficulty of its own, with `sums` problems. languages:
  ((name, share), ...) that they are asked in. prompts: most general ones of a kind, of which the
  test split has some 200 helpful and 30 harmful ones; each with `samples` answers. temperature:
  of all but the greedy answers. limit: most tokens of an answer. seed: of questions and answers.
  """

  terms: tuple[int, ...]
  sums: int
  languages: tuple[tuple[str, float], ...]
  prompts: int
  samples: int
  temperature: float
  limit: int
  seed: int

  def __post_init__(self):
    for name in ("sums", "prompts", "samples", "limit"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
    if not self.terms or min(self.terms) < 2:
      raise ValueError(f"terms={self.terms}: wanted numbers in a sum, 2 or more each")


Answer = Callable[[Sequence[records.Question], int, float], list[rollout.Sample]]


def sums(world: arithmetic.World, cfg: SuiteConfig) -> list[records.Question]:
  """Test problems, those of a difficulty together."""
  return [
    question
    for terms in cfg.terms
    for question in arithmetic.questions(
      world, "test", count=cfg.sums, seed=cfg.seed, terms=terms, languages=cfg.languages
    )
  ]


def prompts(cfg: SuiteConfig) -> list[records.Question]:
  """Test prompts: helpful and harmful, of what reward models learn from and of what they do not."""
  found, every = [], general.prompts("test")
  for kind, unseen in itertools.product(("helpful", "safety"), (False, True)):
    side = [q for q in every if q.kind == kind and q.meta["unseen"] == unseen]
    rng = np.random.default_rng((cfg.seed, len(found)))
    found += [side[i] for i in rng.permutation(len(side))[: cfg.prompts]]
  return found


def measure(
  answer: Answer, world: arithmetic.World, verifier: accuracy.Verifier, cfg: SuiteConfig
) -> tuple[dict[str, Number], list[dict]]:
  """(numbers by name, the general answers with how each was judged).

  answer(questions, samples each, temperature) samples the model.
  """
  asked = sums(world, cfg)
  greedy = held_out.rights(answer(asked, 1, 0.0), verifier)
  numbers = {"greedy": score.mean_and_error([[right] for right in greedy])}
  numbers |= of_sums(answer(asked, 1, cfg.temperature), verifier)
  talk = answer(prompts(cfg), cfg.samples, cfg.temperature)
  judged = list(general_evals.judged(talk))
  helpful = [s for s in talk if s.question.kind == "helpful"]
  numbers |= {f"{name}_general": number for name, number in of_texts(helpful).items()}
  return numbers | general_evals.describe(judged), judged


def of_sums(samples: Sequence[rollout.Sample], verifier: accuracy.Verifier) -> dict[str, Number]:
  """Accuracy in all and by difficulty, format, checking, and what `of_texts` tells."""
  right = held_out.rights(samples, verifier)
  found = {"accuracy": score.mean_and_error([[one] for one in right])}
  for terms in sorted({s.question.meta["terms"] for s in samples}):
    side = [[one] for one, s in zip(right, samples) if s.question.meta["terms"] == terms]
    found[f"accuracy/{terms}"] = score.mean_and_error(side)
  formed = [[form.reward(s.question, s.response, verifier.mode).value > 0] for s in samples]
  found["format"] = score.mean_and_error(formed)
  thoughts = [form.thought(s.response.text) or "" for s in samples]
  checked = [[behaviour.audit(thought).checked > 0] for thought in thoughts]
  return found | {"checked": score.mean_and_error(checked)} | of_texts(samples)


def of_texts(samples: Sequence[rollout.Sample]) -> dict[str, Number]:
  """Length in tokens, language consistency of thoughts (eq. 7) and readability.

  An answer without a thought has a consistency of 0, as in the reward. Errors are over questions.
  """
  share = lambda s: language.consistency(s.question, s.response).value
  read = lambda s: readable.readable(s.question, s.response.text)
  columns = {"length": lambda s: s.length, "consistency": share, "readable": read}
  groups: dict[str, list[rollout.Sample]] = {}
  for s in samples:
    groups.setdefault(s.question.id, []).append(s)
  each = list(groups.values())
  return {
    name: score.mean_and_error([[of(s) for s in g] for g in each]) for name, of in columns.items()
  }
