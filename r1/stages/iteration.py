"""One rollout of a stage: answered, graded, scored, learned from and written down.

arXiv 2501.12948v2 section 2.1: the answers of a rollout are split into minibatches, and each is one
update of the policy that drew them all.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence

import jax
import numpy as np

from r1 import schedule
from r1.evals import behaviour
from r1.report import warning
from r1.rewards import canaries, combine
from r1.sampling import engine, partial, rollout
from r1.stages import questions, reinforce
from r1.train import metrics, play, rl
from r1.train import step as steps


@dataclasses.dataclass(frozen=True)
class Learned:
  """updates: one record each. read: tokens that they ran. first: were they a run's first?"""

  updates: list[dict[str, float]]
  read: int
  first: bool
  seconds: float


def ask(setup: reinforce.Setup, number: int) -> list[int]:
  """The places in `setup.questions.train` of what rollout `number` asks."""
  stage = setup.stage
  return questions.pick(setup.questions, stage.rl, number, updates=stage.batch.minibatches)


def sample(
  run: reinforce.Run, chosen: Sequence[int], setup: reinforce.Setup, number: int
) -> play.Played:
  """Rollout `number`: the answers carried over go on, new ones begin, whole groups are graded.

  chosen: places of the questions asked now. No answer is put aside in the last rollout.
  """
  stage, step = setup.stage, number * setup.stage.batch.minibatches
  group, limit = stage.grpo.group, int(schedule.at(stage.rl.limit, step))
  given = setup.questions.train, setup.model.tokenizer, stage.rl.template
  asked = partial.unpack(run.carried, *given)
  asked += rollout.requests(chosen, *given, group=group, rollout=number, limit=limit)
  judges = {"verifier": setup.verifier, "models": setup.judges}
  grade = functools.partial(combine.combine, cfg=stage.reward, step=step, **judges)
  generate = functools.partial(
    engine.generate,
    run.state.policy,
    cfg=setup.model.cfg,
    sampler=stage.sampler,
    temperature=schedule.at(stage.rl.temperature, step),
    eos=setup.model.tokenizer.eos,
    seed=stage.rl.seed,
  )
  tokens = stage.rl.partial_tokens if number + 1 < stage.rl.rollouts else 0
  return play.play(asked, *given, group=group, tokens=tokens, generate=generate, grade=grade)


def score(
  run: reinforce.Run, played: play.Played, setup: reinforce.Setup, number: int
) -> rl.Scored | None:
  """Advantages on whole groups, old and reference log-probabilities; None where no group ended."""
  if not played.samples:
    return None
  stage, started = setup.stage, time.monotonic()
  scored = rl.prepare(
    played.samples,
    played.rewards,
    run.state.policy,
    run.state.frozen | run.ref,
    model_cfg=setup.model.cfg,
    batch=stage.batch,
    cfg=stage.grpo,
    temperature=schedule.at(stage.rl.temperature, number * stage.batch.minibatches),
  )
  return dataclasses.replace(scored, seconds=time.monotonic() - started)


def learn(
  run: reinforce.Run, scored: rl.Scored | None, setup: reinforce.Setup, number: int
) -> tuple[reinforce.Run, Learned]:
  """The updates of one rollout, one per minibatch, each logged; none where nothing was scored."""
  stage, updates, read = setup.stage, [], 0
  state, first, started = run.state, int(run.state.step) == 0, time.monotonic()
  step = number * stage.batch.minibatches
  heat_U = np.full(setup.microbatches, schedule.at(stage.rl.temperature, step), np.float32)
  rng = np.random.default_rng((stage.rl.seed, number, 1))
  split = {"batch": stage.batch, "cfg": stage.grpo, "mixture": stage.experts}
  split |= {"rng": rng, "microbatches": setup.microbatches}
  for batch, used in rl.steps(scored, **split) if scored else ():
    state, values = setup.update(state, setup.place((batch, heat_U)), used)
    read += int((batch.segment_BL > 0).sum())
    values = {name: float(value) for name, value in jax.device_get(values).items()}
    updates.append(values)
    metrics.log(setup.folder, setup.writer, step + len(updates), values)
    steps.check_finite(values, stage.rl.patience, step + len(updates), setup.folder)
  learned = Learned(updates, read, first, seconds=time.monotonic() - started)
  return dataclasses.replace(run, state=state), learned


def advance(
  run: reinforce.Run, played: play.Played, setup: reinforce.Setup, number: int
) -> reinforce.Run:
  """Counts the rollout, carries what goes on, and refreshes the reference where it is due.

  The reference becomes the latest policy (arXiv 2501.12948v2 section 2.1: every 400 updates).
  """
  every, updates = setup.stage.rl.reference_every, (number + 1) * setup.stage.batch.minibatches
  ref = run.ref
  if every and updates % every == 0:
    ref = jax.tree.map(lambda x: x.copy(), run.state.params)
  carried = partial.pack(played.held)
  return dataclasses.replace(run, rollouts=number + 1, ref=ref, carried=carried)


def note(
  played: play.Played,
  scored: rl.Scored | None,
  learned: Learned,
  setup: reinforce.Setup,
  number: int,
  more: dict[str, float] | None = None,
) -> dict[str, float]:
  """Metrics of the last update and of the rollout; the rollout's are logged, with its samples.

  more: the stage's own metrics of the rollout.
  """
  stage, updates = setup.stage, setup.stage.batch.minibatches
  values = dict(played.seconds) if scored is None else describe(played, scored, learned, setup)
  if scored is not None:
    for record in rl.records(scored, (number + 1) * updates):
      metrics.append(setup.folder / "samples.jsonl", record)
    if learned.first:
      warn(warning.of_first_update(learned.updates[0], setup.model.cfg.dtype), setup)
    warn(warning.of_graders(scored.rewards.errors), setup)
  if stage.rl.partial_tokens:
    eos = setup.model.tokenizer.eos
    values |= partial.metrics(played.samples, played.held, eos, number=number, updates=updates)
  if number % stage.rl.canaries_every == 0:
    values |= try_canaries(setup, number)
  values |= more or {}
  metrics.log(setup.folder, setup.writer, (number + 1) * updates, values)
  return (learned.updates[-1] if learned.updates else {}) | values


def describe(
  played: play.Played, scored: rl.Scored, learned: Learned, setup: reinforce.Setup
) -> dict[str, float]:
  """Rewards, answers, thoughts and times of a rollout by the names of metrics.jsonl."""
  seconds = played.seconds | {"time/score_s": scored.seconds, "time/update_s": learned.seconds}
  values = rl.rollout_metrics(scored, setup.stage.grpo) | seconds
  texts = [s.response.text for s in scored.samples]
  values |= behaviour.summary(texts, [s.question.language for s in scored.samples])
  given = seconds, setup.model.cfg, setup.rate * setup.devices
  return values | rl.throughput(played.drawn, learned.read, *given)


def try_canaries(setup: reinforce.Setup, number: int) -> dict[str, float]:
  """Known reward hacks on a few of the run's questions; any that passes is an alarm."""
  train, count = setup.questions.train, setup.questions.reasoning
  asked = [train[(number + i) % count] for i in range(4)]
  found, tried = canaries.accepted(asked, setup.verifier)
  for name, canary in found:
    text = f"REWARD HACK ACCEPTED: canary {canary!r} is right on question {name!r}"
    setup.console.print(text, style="bold red", markup=False, soft_wrap=True)
  return {"canary/accepted": len(found), "canary/tried": tried}


def warn(lines, setup: reinforce.Setup) -> None:
  for line in lines:
    setup.console.print(line, soft_wrap=True)
