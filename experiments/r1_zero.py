"""R1-Zero: reinforcement learning with rule rewards alone, straight on a base model.

  python -m experiments.r1_zero --config=configs/r1_zero.py:tiny --workdir=runs/zero

arXiv 2501.12948 section 2.2. The same command again continues from the last checkpoint.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
import rich.console
import tensorboardX

from r1 import schedule, sharding
from r1.algorithms import experts, grpo, minibatch
from r1.data import questions as records
from r1.data import split
from r1.data.worlds import arithmetic
from r1.evals import behaviour, held_out
from r1.model import lora, transformer
from r1.report import curves, progress, table, warning
from r1.rewards import accuracy, canaries, combine, shaping
from r1.sampling import decode, engine, partial, rollout, speculate
from r1.train import (
  checkpoint,
  host,
  measure,
  metrics,
  models,
  optimizer,
  plan,
  play,
  rl,
  run,
  snapshot,
)
from r1.train import state as states
from r1.train import step as steps
from r1.train import workdir as workdirs

EVALUATION = 2**31  # the rollout number of evaluations: a stream of its own


@dataclasses.dataclass(frozen=True)
class Stage:
  """The config's sections as the records that the library takes."""

  data: split.DataConfig
  rl: rl.RlConfig
  grpo: grpo.GrpoConfig
  experts: experts.ExpertsConfig
  batch: minibatch.BatchConfig
  reward: combine.RewardConfig
  verifier: accuracy.VerifierConfig
  sampler: decode.SamplerConfig
  eval: held_out.EvalConfig
  optimizer: optimizer.OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Setup:
  """What stays the same from rollout to rollout."""

  stage: Stage
  model: workdirs.Model
  train: list[records.Question]
  held: list[records.Question]
  verifier: accuracy.Verifier
  microbatches: int
  update: Callable
  place: Callable
  rate: float
  devices: int
  folder: pathlib.Path
  writer: tensorboardX.SummaryWriter
  console: rich.console.Console


def read(config) -> Stage:
  """Builds every record, so that a wrong setting is refused before any compute."""
  shaped = shaping.config(config.reward.shaping)
  updates = config.rl.rollouts * config.batch.minibatches
  stage = Stage(
    data=split.DataConfig(**config.data),
    rl=rl.RlConfig(**config.rl),
    grpo=grpo.GrpoConfig(**config.grpo),
    experts=experts.ExpertsConfig(**config.experts),
    batch=minibatch.BatchConfig(**config.batch),
    reward=combine.RewardConfig(**config.reward.to_dict() | {"shaping": shaped}),
    verifier=accuracy.config(config.verifier, config.reward.mode),
    sampler=decode.SamplerConfig(
      **config.sampler, top_k=config.rl.top_k, top_p=config.rl.top_p, min_p=config.rl.min_p
    ),
    eval=held_out.EvalConfig(**config.eval),
    optimizer=optimizer.OptimizerConfig(**config.optimizer, steps=updates),
  )
  for path, _ in (*stage.reward.own, *stage.reward.general):
    combine.resolve(path)
  rl.check(stage.rl, stage.grpo, stage.batch, stage.sampler, stage.eval.limit, dict(config.mesh))
  minibatch.check_attention(stage.batch, config.runtime.attend)
  if not config.base and not (config.model and config.data.questions):
    raise ValueError(
      "this config brings neither a base nor questions: give model=MODEL after the colon and "
      "--config.data.questions=FILE"
    )
  return stage


def load_questions(config, stage: Stage, verifier: accuracy.Verifier, console):
  """(train, held out, why others were dropped by id): readable by the rewards, and apart."""
  world = arithmetic.World(**config.base.world) if config.base else None
  held_out = {"held": stage.eval.questions, "held_seed": stage.eval.seed}
  train, held = split.find(stage.data, world, seed=stage.rl.seed, **held_out)
  train, dropped = combine.gradable(train, stage.reward, verifier)
  held, more = combine.gradable(held, stage.reward, verifier)
  for name, reason in list((dropped | more).items())[:5]:
    console.print(f"left out: {name}: {reason}", style="yellow", markup=False, soft_wrap=True)
  size = stage.rl.questions_per_rollout
  split.check(train, held, questions_per_rollout=size, wide=stage.eval.wide)
  return train, held, dropped | more


def build(config, stage: Stage, verifier: accuracy.Verifier, folder, mesh, rules, console):
  """(setup, state, reference): everything loaded and checked; nothing has been sampled yet."""
  train, held, dropped = load_questions(config, stage, verifier, console)
  run.claim(folder, "r1_zero", config.to_dict())
  runtime = dict(config.runtime) | {"rules": rules}
  model, parents = models.find(
    config.model,
    config.base,
    runtime,
    dtype=config.weights,
    mesh=mesh,
    mtp=stage.sampler.draft == "mtp",
    adapters=lora.LoraConfig(**config.lora) if config.lora.rank else None,
    seed=stage.rl.seed,
    say=console.print,
  )
  speculate.check(model.cfg, stage.sampler)
  longest = rl.longest(
    train + held,
    model.tokenizer,
    stage.rl,
    stage.batch,
    context=model.cfg.context,
    evaluation=stage.eval.limit,
  )
  partial.check(stage.rl.partial_tokens, stage.sampler, longest)
  digest = {"train": records.digest(train), "held_out": records.digest(held)}
  run.lineage(folder, "r1_zero", parents, digest)
  run.note(folder / "dropped.json", dropped)
  workdirs.describe(folder, model.cfg, model.tokenizer)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(stage.optimizer, lora.split(transformer.specs(model.cfg))[0])
  state = states.init(trained, tx, frozen)
  given = model.cfg, tx, state, stage.batch, stage.grpo, stage.experts
  microbatches = rl.capacity(stage.rl, stage.grpo, stage.batch, longest)
  place = functools.partial(sharding.place, mesh=mesh, rules=rules)
  setup = Setup(
    stage=stage,
    model=dataclasses.replace(model, params={}),
    train=train,
    held=held,
    verifier=verifier,
    microbatches=microbatches,
    update=rl.compiled(
      *given,
      microbatches=microbatches,
      place=place,
      unit=sharding.row_shards(config.mesh),
    ),
    place=place,
    rate=measure.matmul_rate(model.cfg.dtype),
    devices=1 if mesh is None else mesh.size,
    folder=folder,
    writer=tensorboardX.SummaryWriter(str(folder / "tensorboard")),
    console=console,
  )
  return setup, state, trained


def resume(checkpointer, setup: Setup, state, ref):
  """(rollouts done, state, reference, answers carried over): from the last checkpoint, if any."""
  done, carried = 0, {}
  if checkpointer.latest is not None:
    state, saved = snapshot.restore(checkpointer, state, {"ref": ref, "run": None})
    carried, ref = saved["run"], saved["ref"]
    done = carried.pop("rollouts")
    setup.console.print(f"continuing after rollout {done}")
  last = done * setup.stage.batch.minibatches if done else -1
  for name in ("metrics.jsonl", "samples.jsonl"):
    metrics.keep_until(setup.folder / name, last)
  return done, state, ref, carried


def evaluate(params, setup: Setup, step: int) -> dict:
  """The policy on the held-out questions, logged."""
  stage = setup.stage

  def answer(questions, samples: int, temperature: float):
    return rollout.sample_groups(
      params,
      questions,
      setup.model.tokenizer,
      stage.rl.template,
      group=samples,
      rollout=EVALUATION,
      limit=stage.eval.limit,
      cfg=setup.model.cfg,
      sampler=stage.sampler,
      temperature=temperature,
      seed=stage.eval.seed,
    )

  result = held_out.evaluate(answer, setup.held, setup.verifier, stage.eval)
  metrics.log(setup.folder, setup.writer, step, result)
  return result


def warn(lines, setup: Setup) -> None:
  for line in lines:
    setup.console.print(line, soft_wrap=True)


def sample(params, carried, setup: Setup, number: int) -> play.Played:
  """Rollout `number`: the answers carried over go on, new ones begin, whole groups are graded.

  No answer is put aside in the last rollout.
  """
  stage, step = setup.stage, number * setup.stage.batch.minibatches
  group, limit = stage.grpo.group, int(schedule.at(stage.rl.limit, step))
  given = setup.train, setup.model.tokenizer, stage.rl.template
  chosen = rl.pick(len(setup.train), stage.rl.questions_per_rollout, number, stage.rl.seed)
  asked = partial.unpack(carried, *given)
  asked += rollout.requests(chosen, *given, group=group, rollout=number, limit=limit)
  grade = functools.partial(combine.combine, cfg=stage.reward, verifier=setup.verifier, step=step)
  generate = functools.partial(
    engine.generate,
    params,
    cfg=setup.model.cfg,
    sampler=stage.sampler,
    temperature=schedule.at(stage.rl.temperature, step),
    eos=setup.model.tokenizer.eos,
    seed=stage.rl.seed,
  )
  tokens = stage.rl.partial_tokens if number + 1 < stage.rl.rollouts else 0
  return play.play(asked, *given, group=group, tokens=tokens, generate=generate, grade=grade)


def learn(state, scored: rl.Scored, setup: Setup, number: int):
  """(state, one record per update, tokens run): the minibatches of one rollout."""
  stage, found, read = setup.stage, [], 0
  step = number * stage.batch.minibatches
  heat_U = np.full(setup.microbatches, schedule.at(stage.rl.temperature, step), np.float32)
  rng = np.random.default_rng((stage.rl.seed, number, 1))
  for batch, used in rl.steps(
    scored,
    batch=stage.batch,
    cfg=stage.grpo,
    mixture=stage.experts,
    rng=rng,
    microbatches=setup.microbatches,
  ):
    state, values = setup.update(state, setup.place((batch, heat_U)), used)
    read += int((batch.segment_BL > 0).sum())
    values = {name: float(value) for name, value in jax.device_get(values).items()}
    found.append(values)
    metrics.log(setup.folder, setup.writer, step + len(found), found[-1])
    steps.check_finite(values, stage.rl.patience, step + len(found), setup.folder)
  return state, found, read


def iterate(state, ref, carried, setup: Setup, number: int):
  """(state, answers carried over, metrics): one pass of sample -> reward -> learn, logged."""
  stage, updates = setup.stage, setup.stage.batch.minibatches
  played = sample(state.policy, carried, setup, number)
  learned, values = {}, dict(played.seconds)
  if played.samples:
    state, learned, values = improve(state, ref, played, setup, number)
  if stage.rl.partial_tokens:
    eos = setup.model.tokenizer.eos
    values |= partial.metrics(played.samples, played.held, eos, number=number, updates=updates)
  if number % stage.rl.canaries_every == 0:
    values |= try_canaries(setup, number)
  metrics.log(setup.folder, setup.writer, (number + 1) * updates, values)
  return state, partial.pack(played.held), learned | values


def improve(state, ref, played: play.Played, setup: Setup, number: int):
  """(state, metrics of the last update, of the rollout): scored, learned from, written down."""
  stage, first, started = setup.stage, int(state.step) == 0, time.monotonic()
  scored = rl.prepare(
    played.samples,
    played.rewards,
    state.policy,
    state.frozen | ref,
    model_cfg=setup.model.cfg,
    batch=stage.batch,
    cfg=stage.grpo,
    temperature=schedule.at(stage.rl.temperature, number * stage.batch.minibatches),
  )
  seconds = played.seconds | {"time/score_s": time.monotonic() - started}
  started = time.monotonic()
  state, found, read = learn(state, scored, setup, number)
  seconds["time/update_s"] = time.monotonic() - started
  values = rl.rollout_metrics(scored, stage.grpo) | seconds
  texts = [s.response.text for s in scored.samples]
  values |= behaviour.summary(texts, [s.question.language for s in scored.samples])
  given = seconds, setup.model.cfg, setup.rate * setup.devices
  values |= rl.throughput(played.drawn, read, *given)
  for record in rl.records(scored, (number + 1) * stage.batch.minibatches):
    metrics.append(setup.folder / "samples.jsonl", record)
  if first:
    warn(warning.of_first_update(found[0], setup.model.cfg.dtype), setup)
  warn(warning.of_graders(scored.rewards.errors), setup)
  return state, found[-1], values


def try_canaries(setup: Setup, number: int) -> dict[str, float]:
  """Known reward hacks on a few of the run's questions; any that passes is an alarm."""
  asked = [setup.train[(number + i) % len(setup.train)] for i in range(4)]
  found, tried = canaries.accepted(asked, setup.verifier)
  for name, canary in found:
    text = f"REWARD HACK ACCEPTED: canary {canary!r} is right on question {name!r}"
    setup.console.print(text, style="bold red", markup=False, soft_wrap=True)
  return {"canary/accepted": len(found), "canary/tried": tried}


def save(checkpointer, state, ref, carried, number: int, setup: Setup, score: float) -> None:
  """A checkpoint after rollout `number` (counted from 1)."""
  step = number * setup.stage.batch.minibatches
  more = {"ref": ref, "run": {"rollouts": number} | carried}
  snapshot.save(checkpointer, step, state, more, score=score, say=setup.console.print)


def train(setup: Setup, state, ref) -> None:
  """All rollouts, with the base evaluated before and the policy after."""
  stage = setup.stage
  every, total = stage.rl.reference_every, stage.rl.rollouts
  checkpointer = checkpoint.open_folder(setup.folder / "checkpoints", keep=stage.rl.keep)
  done, state, ref, carried = resume(checkpointer, setup, state, ref)
  if done == 0:
    warn(warning.of_base(evaluate(state.policy, setup, 0), stage.eval.samples), setup)
  with progress.bar(setup.console, total, done) as show:
    for number in range(done, total):
      state, carried, values = iterate(state, ref, carried, setup, number)
      updates = (number + 1) * stage.batch.minibatches
      if every and updates % every == 0:
        ref = jax.tree.map(lambda x: x.copy(), state.params)
      if (number + 1) % stage.rl.checkpoint_every == 0 or number + 1 == total:
        score = values.get("reward/total", -math.inf)
        save(checkpointer, state, ref, carried, number + 1, setup, score)
      show(number + 1, values)
  checkpointer.close()
  finish(state.policy, setup, total * stage.batch.minibatches)


def finish(params, setup: Setup, step: int) -> None:
  """The evaluation after training, the table and the picture."""
  path = setup.folder / "metrics.jsonl"
  lines = metrics.read(path)
  if not any("eval/greedy" in line and line["step"] == step for line in lines):
    evaluate(params, setup, step)
    lines = metrics.read(path)
  results = [line for line in lines if "eval/greedy" in line]
  title = f"{min(len(setup.held), setup.stage.eval.questions)} held-out questions"
  setup.console.print(table.build(title, [("base", results[0]), ("R1-Zero", results[-1])]))
  curves.draw(lines, curves.RL, setup.folder / "curves.png", "R1-Zero")
  for name in ("metrics.jsonl", "samples.jsonl", "curves.png", "checkpoints", "tensorboard"):
    setup.console.print(f"  {setup.folder / name}", soft_wrap=True)


def main(config, folder: pathlib.Path) -> None:
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  stage = read(config)
  mesh, rules = sharding.layout(dict(config.mesh), stage.batch.rows, stage.sampler.slots)
  with sharding.on(mesh), accuracy.Verifier(stage.verifier) as verifier:
    setup, state, ref = build(config, stage, verifier, folder, mesh, rules, console)
    sections = (setup.model.cfg, stage.rl, stage.grpo, stage.batch, stage.sampler)
    for line in plan.lines(*sections, devices=setup.devices, rate=setup.rate):
      console.print(line, soft_wrap=True)
    train(setup, state, ref)
  console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  run.stage(main)
