"""A stage of reinforcement learning: its settings as records, and what a run of it is made of."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import rich.console
import tensorboardX

from r1 import sharding
from r1.algorithms import experts, grpo, minibatch
from r1.data import questions as records
from r1.data import split
from r1.data.worlds import arithmetic
from r1.evals import held_out
from r1.model import lora, transformer
from r1.rewards import accuracy, combine, shaping
from r1.sampling import decode, partial, speculate
from r1.stages import questions
from r1.train import host, lineage, measure, models, optimizer, plan, reward_models, rl, run
from r1.train import state as states
from r1.train import workdir as workdirs


@dataclasses.dataclass(frozen=True)
class Title:
  """What a stage is called: in its papers, and the model before it and after it in its table."""

  stage: str
  before: str
  after: str


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
  """What stays the same from rollout to rollout. The model is without its weights.

  judges: reward models by the kind of general prompt that they score.
  """

  title: Title
  stage: Stage
  model: workdirs.Model
  questions: questions.Questions
  verifier: accuracy.Verifier
  judges: Mapping[str, combine.Model]
  microbatches: int
  update: Callable
  place: Callable
  rate: float
  devices: int
  folder: pathlib.Path
  writer: tensorboardX.SummaryWriter
  console: rich.console.Console


@dataclasses.dataclass(frozen=True)
class Run:
  """What a rollout changes. carried: the answers put aside, as `partial.pack` has them.

  more: states of other models that the stage trains, by the name that checkpoints keep them under.
  """

  rollouts: int
  state: states.TrainState
  ref: dict
  carried: dict
  more: dict[str, states.TrainState] = dataclasses.field(default_factory=dict)


def read(config) -> Stage:
  """Builds every record, so that a wrong setting is refused before any compute."""
  return staged(config, grpo.GrpoConfig(**config.grpo))


def staged(config, algorithm: grpo.GrpoConfig) -> Stage:
  """The same where the policy's loss is not the config's section `grpo`."""
  shaped = shaping.config(config.reward.shaping)
  updates = config.rl.rollouts * config.batch.minibatches
  stage = Stage(
    data=split.DataConfig(**config.data),
    rl=rl.RlConfig(**config.rl),
    grpo=algorithm,
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
  if bool(config.rewards) != bool(judged(stage)):
    raise ValueError(
      f"rewards={config.rewards!r} with weights helpful={stage.reward.helpful}, "
      f"safety={stage.reward.safety}: a weight needs a reward model and a reward model a weight; "
      "give rewards=DIR, the preference stage's workdir, or set reward.helpful and reward.safety "
      "to 0"
    )
  rl.check(stage.rl, stage.grpo, stage.batch, stage.sampler, stage.eval.limit, dict(config.mesh))
  minibatch.check_attention(stage.batch, config.runtime.attend)
  if not config.base and not (config.model and config.data.questions):
    raise ValueError(
      "this config brings neither a base nor questions: give model=MODEL after the colon and "
      "--config.data.questions=FILE"
    )
  return stage


def check_parent(config, title: Title) -> None:
  """Raises ValueError where a stage that follows another is given no model to start from."""
  if not config.model:
    raise ValueError(
      f"{title.stage} starts from {title.before}: add model=MODEL after the colon, the workdir of "
      "the stage before it or any other model"
    )


@contextlib.contextmanager
def opened(
  title: Title, config, folder: pathlib.Path, read: Callable[..., Stage] = read
) -> Iterator[tuple[Setup, Run]]:
  """A run that is ready to begin or to go on: checked, loaded, compiled; its plan is told."""
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  stage = read(config)
  mesh, rules = sharding.layout(dict(config.mesh), stage.batch.rows, stage.sampler.slots)
  with sharding.on(mesh), accuracy.Verifier(stage.verifier) as verifier:
    setup, begun = build(title, config, stage, verifier, folder, mesh, rules, console)
    sections = (setup.model.cfg, stage.rl, stage.grpo, stage.batch, stage.sampler)
    for line in plan.lines(*sections, devices=setup.devices, rate=setup.rate):
      console.print(line, soft_wrap=True)
    yield setup, begun
  console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


def build(
  title: Title, config, stage: Stage, verifier, folder, mesh, rules, console
) -> tuple[Setup, Run]:
  """Everything loaded and checked; nothing has been sampled yet."""
  for where in filter(None, (config.model, config.rewards)):
    lineage.parent(where)
  asked = load_questions(config, stage, verifier, console)
  run.claim(folder, title.stage, config.to_dict())
  model, parents = load_model(config, stage, mesh, rules, console)
  judges, more = load_judges(config, stage, model, mesh, rules, console)
  longest = room(stage, model, asked)
  digest = {"train": records.digest(asked.train), "held_out": records.digest(asked.held)}
  lineage.begin(folder, title.stage, parents | more, digest, asked.counts)
  run.note(folder / "dropped.json", asked.dropped | asked.dropped_held)
  workdirs.describe(folder, model.cfg, model.tokenizer)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(stage.optimizer, lora.split(transformer.specs(model.cfg))[0])
  state = states.init(trained, tx, frozen)
  microbatches = rl.capacity(stage.rl, stage.grpo, stage.batch, longest)
  place = functools.partial(sharding.place, mesh=mesh, rules=rules)
  setup = Setup(
    title=title,
    stage=stage,
    model=dataclasses.replace(model, params={}),
    questions=asked,
    verifier=verifier,
    judges=judges,
    microbatches=microbatches,
    update=rl.compiled(
      *(model.cfg, tx, state, stage.batch, stage.grpo, stage.experts),
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
  return setup, Run(rollouts=0, state=state, ref=trained, carried={})


def load_questions(config, stage: Stage, verifier, console) -> questions.Questions:
  """What the stage asks; those that are left out are told."""
  return questions.load(
    stage.data,
    arithmetic.World(**config.base.world) if config.base else None,
    loop=stage.rl,
    reward=stage.reward,
    evaluation=stage.eval,
    verifier=verifier,
    say=lambda text: console.print(text, style="yellow", markup=False, soft_wrap=True),
  )


def load_model(config, stage: Stage, mesh, rules, console):
  """(the model that the stage starts from, the digest of its files by its name)."""
  return models.find(
    config.model,
    config.base,
    dict(config.runtime) | {"rules": rules},
    dtype=config.weights,
    mesh=mesh,
    mtp=stage.sampler.draft == "mtp",
    adapters=lora.LoraConfig(**config.lora) if config.lora.rank else None,
    seed=stage.rl.seed,
    say=console.print,
  )


def judged(stage: Stage) -> list[str]:
  """The kinds of questions that a reward model judges."""
  return [kind for kind in combine.GENERAL if stage.reward.weights()[kind]]


def load_judges(config, stage: Stage, model: workdirs.Model, mesh, rules, console):
  """({kind: reward model}, the digest of their workdir by its name); nothing where none counts.

  Raises ValueError where one has another tokenizer or other layers than the policy.
  """
  if not judged(stage):
    return {}, {}
  judges = {
    kind: reward_models.load(
      config.rewards,
      kind,
      policy=config.model or "the base",
      tokenizer=model.tokenizer,
      template=stage.rl.template,
      cfg=model.cfg,
      runtime=dict(config.runtime) | {"rules": rules},
      dtype=config.weights,
      tokens=stage.batch.microbatch_tokens,
      mesh=mesh,
      say=console.print,
    )
    for kind in judged(stage)
  }
  return judges, {config.rewards: lineage.digest(config.rewards)}


def room(stage: Stage, model: workdirs.Model, asked: questions.Questions) -> int:
  """The longest prompt with the longest answer, in tokens; ValueError where there is no room."""
  speculate.check(model.cfg, stage.sampler)
  longest = rl.longest(
    asked.train + asked.held,
    model.tokenizer,
    stage.rl,
    stage.batch,
    context=model.cfg.context,
    evaluation=stage.eval.limit,
  )
  partial.check(stage.rl.partial_tokens, stage.sampler, longest)
  return longest
