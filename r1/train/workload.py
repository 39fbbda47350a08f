"""GRPO steps on synthetic work, by the code of a run; `experiments.throughput` times them.

Prompts are random ids and every answer has the length that the work says, since no id ends one. The
reward is the share of even ids, so that groups have spread and no grader takes time.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from r1 import sharding
from r1.algorithms import experts, grpo, minibatch
from r1.data import questions, responses, synthetic
from r1.model import config as model_config
from r1.model import presets, transformer
from r1.rewards import combine
from r1.sampling import decode, engine, loop, requests, rollout
from r1.train import measure, optimizer, rl
from r1.train import state as states
from r1.train import step as steps

PARTS = ("sample", "score", "update")  # of a step, in order
TEMPERATURE = 1.0


@dataclasses.dataclass(frozen=True)
class Workload:
  """What stays the same from step to step. update, place: as a run has them.

  loop: sample by the plain batch loop, to compare with.
  """

  model: model_config.ModelConfig
  work: synthetic.WorkConfig
  grpo: grpo.GrpoConfig
  batch: minibatch.BatchConfig
  sampler: decode.SamplerConfig
  loop: bool
  microbatches: int
  update: Callable
  place: Callable


@dataclasses.dataclass(frozen=True)
class Sampled:
  """slot_steps: steps that the engine ran, counted once per slot; None where it does not tell."""

  samples: list[rollout.Sample]
  slot_steps: int | None


def sizes(letters: dict, runtime: dict, context: int) -> model_config.ModelConfig:
  """A dense model of these sizes. letters: fields of ModelConfig, and `layers` in place of stacks.

  Raises ValueError where one is missing or unknown.
  """
  given = dict(letters)
  fields: dict[str, Any] = model_config.PLAIN | {"stacks": (("dense", given.pop("layers", 0)),)}
  fields |= given | {"ids": given.get("V", 0), "context": context}
  try:
    return model_config.ModelConfig(**fields | runtime)
  except TypeError as error:
    raise ValueError(f"letters={letters}: {error}") from error


def open_model(where: str, letters: dict, runtime: dict, *, context: int, weights: str, mesh, seed):
  """(ModelConfig, parameters): of a workdir or checkpoint, or random ones of a preset or of sizes.

  where: a preset's name or what `models.load` reads, "" for the sizes in `letters`.
  """
  if where and where not in presets.NAMES:
    from r1.train import models  # reads files, with packages that random weights do without

    model = models.load(where, runtime=runtime, dtype=weights, mesh=mesh)
    return model.cfg, model.params
  named = where in presets.NAMES
  cfg = presets.config(where, runtime, mtp=False) if named else sizes(letters, runtime, context)
  specs = transformer.specs(cfg)
  params = states.initial_params(jax.random.key(seed), specs, mesh, runtime["rules"])
  return cfg, jax.tree.map(lambda x: x.astype(weights), params)


def check(work, batch, sampler, *, loop: bool, meshed: bool) -> None:
  """Raises ValueError where these settings do not fit each other; needs no weights."""
  if work.answers % batch.minibatches:
    raise ValueError(
      f"{work.questions} x {work.group} answers do not divide into minibatches={batch.minibatches}"
    )
  minibatch.check_limit(work.cap, batch)
  if work.prompt > (room := minibatch.room(work.cap, batch)):
    raise ValueError(
      f"row_tokens={batch.row_tokens}, fork={batch.fork}: a row has room for prompts of {room} "
      f"tokens with answers of {work.cap}, and they have {work.prompt}"
    )
  if not loop:
    engine.check(sampler, meshed=meshed, prompt=work.prompt, limit=work.cap)


def build(model, params, *, work, algorithm, batch, sampler, loop, opt, mesh):
  """(workload, state, reference) with an optimiser for all of the parameters."""
  check(work, batch, sampler, loop=loop, meshed=mesh is not None)
  tx = optimizer.make(opt, transformer.specs(model))
  update = steps.make_update(rl.make_loss(model, algorithm, experts.OFF), tx)
  count, longest = work.answers // batch.minibatches, work.prompt + work.cap
  workload = Workload(
    model=model,
    work=work,
    grpo=algorithm,
    batch=batch,
    sampler=sampler,
    loop=loop,
    microbatches=minibatch.capacity(count, longest, work.group, batch),
    update=jax.jit(update, donate_argnums=0),
    place=functools.partial(sharding.place, mesh=mesh, rules=model.rules),
  )
  return workload, states.init(params, tx), params


def sample(w: Workload, params, number: int) -> Sampled:
  """The rollout of step `number`: the one place that speaks to the engine."""
  prompts = synthetic.prompts(w.work, number, w.model.ids)
  lengths = synthetic.lengths(w.work).reshape(w.work.questions, w.work.group)
  asked = [
    requests.Request(f"q{q}", g, number, tuple(prompts[q].tolist()), int(lengths[q, g]))
    for q in range(w.work.questions)
    for g in range(w.work.group)
  ]
  given: dict[str, Any] = {
    "cfg": w.model,
    "sampler": w.sampler,
    "temperature": TEMPERATURE,
    "eos": (w.model.V,),  # beyond the vocabulary, so that it is never drawn
    "seed": w.work.seed,
  }
  stats = engine.Stats()
  if w.loop:
    finished = loop.generate(params, asked, **given)
  else:
    finished = engine.generate(params, asked, **given, stats=stats)
  answers = {(a.request.question, a.request.sample): a for a in finished}
  samples = [_sample(answers[r.question, r.sample]) for r in asked]
  return Sampled(samples, slot_steps=None if w.loop else stats.slot_steps)


def _sample(answer: requests.Finished) -> rollout.Sample:
  tokens, request = len(answer.tokens), answer.request
  assert tokens == request.limit, f"{tokens} tokens where {request.limit} were forced"
  return rollout.Sample(
    question=questions.Question(id=request.question, prompt="synthetic"),
    number=request.sample,
    tokens=np.concatenate([np.asarray(request.prompt, np.int32), answer.tokens]),
    prompt_length=len(request.prompt),
    logp=answer.logp,
    response=responses.Response(text="", tokens=tokens, truncated=False),
  )


def reward(samples: Sequence[rollout.Sample]) -> combine.Rewards:
  """The share of even ids in each answer."""
  total = [synthetic.even_share(s.tokens[s.prompt_length :]) for s in samples]
  count = len(total)
  return combine.Rewards(
    total=total, parts={}, verdicts=["right"] * count, valid=[True] * count, errors=[]
  )


def score(w: Workload, params, ref, samples: Sequence[rollout.Sample]) -> rl.Scored:
  """Rewards, advantages, and log-probabilities under the old and the reference policy."""
  return rl.prepare(
    samples,
    reward(samples),
    params,
    ref,
    model_cfg=w.model,
    batch=w.batch,
    cfg=w.grpo,
    temperature=TEMPERATURE,
  )


def learn(w: Workload, state: states.TrainState, scored: rl.Scored, number: int):
  """The state after the minibatches of one rollout, all of them done."""
  rng = np.random.default_rng((w.work.seed, 2, number))
  heat_U = np.full(w.microbatches, TEMPERATURE, np.float32)
  for batch, used in rl.steps(
    scored,
    batch=w.batch,
    cfg=w.grpo,
    mixture=experts.OFF,
    rng=rng,
    microbatches=w.microbatches,
  ):
    state, _ = w.update(state, w.place((batch, heat_U)), used)
  if int(jax.block_until_ready(state).in_row):
    raise FloatingPointError(f"the updates of step {number} were not finite, so none was applied")
  return state


def step(w: Workload, state, ref, number: int, *, until: str, mark: Callable[[], measure.Mark]):
  """(state, rollout, marks): one GRPO step up to and with part `until`.

  marks: the moment of the start and of the end of each part.
  """
  marks = [mark()]
  found = sample(w, state.policy, number)
  marks.append(mark())
  if until != "sample":
    scored = score(w, state.policy, ref, found.samples)
    marks.append(mark())
  if until == "update":
    state = learn(w, state, scored, number)
    marks.append(mark())
  return state, found, marks
