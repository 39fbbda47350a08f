"""A stage of reinforcement learning without a model: sampling and learning are counted, not done.

The loop, the questions, the rewards, the advantages and the minibatches are the real ones. Weights
are one number, the count of updates that made them, so whoever is handed weights tells how old.
"""

import dataclasses
import types

import numpy as np
import rich.console
import tensorboardX

from r1.algorithms import minibatch
from r1.data import questions as records
from r1.rewards import canaries, combine, verdict
from r1.sampling import engine, requests
from r1.stages import course, questions, reinforce
from r1.train import state as states
from r1.train import workdir
from tests.train import tiny

EOS = 1


class Tokenizer:
  """One id for each character."""

  bos, eos, size = None, (EOS,), 256

  def encode(self, text):
    return [ord(c) % 200 + 3 for c in text]

  def decode(self, ids):
    return "".join(chr(97 + i % 26) for i in ids if i != EOS)


class Verifier:
  """Right where the answer's length is odd."""

  mode = "boxed"

  def faults(self, _):
    return {}

  def grade(self, _, responses):
    odd = [r.tokens % 2 == 1 for r in responses]
    return [verdict.Score(float(x), "right" if x else "wrong") for x in odd]


@dataclasses.dataclass
class Seen:
  """updates, heat: what each update was given, and its temperatures. saved: checkpoints.

  rollouts: of each the temperature and the limits of its samples, the general ones among its
  answers, the weights of its rewards that are not 0, {kind of question: parts with a say}, how old
  the policy and the reference are that score it (`policy`, `reference`) and at which temperatures.
  """

  rollouts: list = dataclasses.field(default_factory=list)
  updates: list = dataclasses.field(default_factory=list)
  heat: list = dataclasses.field(default_factory=list)
  saved: list = dataclasses.field(default_factory=list)


def watch(patch, cut=lambda request: False) -> Seen:
  """Puts the fakes in place of the device's programs and of files that take long to write.

  cut: is the answer to a request truncated?
  """
  seen = Seen()

  def generate(params, asked, *, temperature, **_):
    limits = {r.limit for r in asked}
    entry = {"temperature": temperature, "limit": limits, "general": 0, "parts": {}}
    seen.rollouts.append(entry | {"scored_by": (), "scored_at": (), "asked": asked})
    rng = np.random.default_rng(len(seen.rollouts))
    for r in asked:
      tokens = np.append(rng.integers(3, 99, rng.integers(1, 6)), EOS).astype(np.int32)
      tokens = rng.integers(3, 99, r.limit).astype(np.int32) if cut(r) else tokens
      yield requests.Finished(r, tokens, np.zeros(len(tokens), np.float32), truncated=cut(r))

  def score(weights, samples, _, __, temperature, **___):
    entry = seen.rollouts[-1]
    entry["scored_by"] += (int(weights["w"]),)
    entry["scored_at"] += (temperature,)
    entry |= dict(zip(("policy", "reference"), entry["scored_by"], strict=False))
    return [np.zeros(len(s.tokens), np.float32) for s in samples]

  def assemble(samples, **given):
    batch = types.SimpleNamespace(segment_BL=np.ones((1, 1)), samples=samples, **given)
    return batch, 1

  real = combine.combine

  def weigh(asked, answered, **more):
    made, entry = real(asked, answered, **more), seen.rollouts[-1]
    weights = {n: w for n, w in more["cfg"].weights_at(more["step"]).items() if w}
    assert entry.setdefault("weights", weights) == weights
    entry["general"] += sum(q.kind in records.GENERAL for q in asked)
    for i, q in enumerate(asked):
      said = {name for name in weights if made.parts[name][i] is not None}
      entry["parts"].setdefault(q.kind, set()).update(said)
    return made

  patch.setattr(engine, "generate", generate)
  patch.setattr(minibatch, "score", score)
  patch.setattr(minibatch, "assemble", assemble)
  patch.setattr(combine, "combine", weigh)
  patch.setattr(canaries, "accepted", lambda *_: ([], 0))
  patch.setattr(course, "begin", lambda _, run: (None, run))
  patch.setattr(course, "save", lambda _, run, *__: seen.saved.append(run.rollouts))
  patch.setattr(course, "finish", lambda *_: None)
  return seen


def update(seen: Seen):
  """Adds 1 to the weights."""

  def step(state, given, _):
    batch, heat_U = given
    seen.updates.append(batch)
    seen.heat.append({round(heat, 6) for heat in heat_U.tolist()})
    made = state.replace(step=state.step + 1, params={"w": state.params["w"] + 1})
    return made, {"policy/loss": 0.0, "policy/skipped_in_row": 0.0, "policy/ratio_gap": 0.0}

  return step


def judge(asked, answered):
  """A reward model that likes long answers."""
  return [verdict.Score(float(a.tokens), "right") for _, a in zip(asked, answered, strict=True)]


def run() -> reinforce.Run:
  """Before the first update; the reference is the policy."""
  zero = np.int32(0)
  params = {"w": np.int32(0)}
  state = states.TrainState(zero, zero, zero, params, (), {})
  return reinforce.Run(rollouts=0, state=state, ref=params, carried={})


def maths(count, kind="maths"):
  given = {"answer": "1", "kind": kind}
  return [records.Question(id=f"{kind}{i}", prompt=f"{i} ?", **given) for i in range(count)]


def setup(stage: reinforce.Stage, asked: questions.Questions, seen: Seen, folder):
  return reinforce.Setup(
    title=reinforce.Title(stage="fake", before="before", after="after"),
    stage=stage,
    model=workdir.Model(tiny.model(), Tokenizer(), {}),
    questions=asked,
    verifier=Verifier(),
    judges=dict.fromkeys(records.GENERAL, judge),
    microbatches=1,
    update=update(seen),
    place=lambda given: given,
    rate=1.0,
    devices=1,
    folder=folder,
    writer=tensorboardX.SummaryWriter(write_to_disk=False),
    console=rich.console.Console(quiet=True),
  )
