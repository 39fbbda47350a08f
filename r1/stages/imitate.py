"""Supervised fine-tuning as every stage that imitates runs it: SFT, a cold start, a student.

conversations -> tokens -> packed rows -> update -> checkpoint, with looks at what was held out
(arXiv 2501.12948v2 section B.4.2). A stage finds its conversations and says where they came from;
the rest is the same for all of them and stands here.
"""

import contextlib
import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import rich.console
import tensorboardX

from r1 import sharding
from r1.algorithms import experts
from r1.algorithms import sft as objective
from r1.data import conversations
from r1.model import lora, transformer
from r1.report import curves
from r1.stages import ask, finish
from r1.train import (
  checkpoint,
  host,
  lineage,
  memory,
  metrics,
  models,
  optimizer,
  run,
  sft,
  snapshot,
)
from r1.train import state as states
from r1.train import step as steps
from r1.train import workdir as workdirs

# Reasons why a conversation is not used.
OVERLONG = "longer than a row or the model's context"
SPARE = "held out beyond eval_conversations"
TOLD = 20  # lines that a run writes about its updates


@dataclasses.dataclass(frozen=True)
class Session:
  """Where a stage runs: its mesh (None for one device), the rules of sharding, the terminal."""

  mesh: jax.sharding.Mesh | None
  rules: sharding.Rules | None
  console: rich.console.Console


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  """What a stage imitates.

  held: looked at, never learned. parents: of the conversations, name -> digest, beside the model's.
  counts: how they were chosen by the stage itself, as `lineage.begin` takes them.
  """

  train: list[conversations.Conversation]
  held: list[conversations.Conversation]
  parents: dict[str, str]
  counts: dict[str, dict]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
  """Who imitates, and by which loss.

  parents: of the weights, name -> digest. make_loss: like `objective.make_loss`, of the model's
  config, its mixture and the weight of multi-token prediction. fixed: what that loss takes behind
  a micro-batch.
  """

  model: workdirs.Model
  parents: dict[str, str]
  make_loss: Callable
  fixed: tuple


@dataclasses.dataclass(frozen=True)
class Setup:
  """What stays the same from update to update."""

  title: str
  cfg: sft.SftConfig
  model: workdirs.Model
  train: list[conversations.Tokens]
  held: list[conversations.Tokens]
  total: int
  microbatches: int
  update: Callable
  evaluate: Callable
  place: Callable
  rate: Callable
  folder: pathlib.Path
  writer: tensorboardX.SummaryWriter
  console: rich.console.Console
  devices: int


def read(config) -> sft.SftConfig:
  """The settings of the loop; a wrong one is refused before any compute."""
  cfg = sft.SftConfig(**config.sft)
  # Where the schedule ends is known once the data is read.
  optimizer.OptimizerConfig(**config.optimizer, steps=config.optimizer.warmup + 1)
  return cfg


@contextlib.contextmanager
def session(config, *rows: int) -> Iterator[Session]:
  """The mesh of the config, which must divide `rows`; says at the end how long it took."""
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  mesh, rules = sharding.layout(dict(config.mesh), *rows)
  with sharding.on(mesh):
    yield Session(mesh, rules, console)
  console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


def tokenize(given, name: str, model: workdirs.Model, cfg: sft.SftConfig, console):
  """The tokens of the conversations that fit; says how many did not."""
  longest = min(cfg.row_tokens, model.cfg.context)
  sequences, dropped = conversations.encode_all(
    model.tokenizer, cfg.template, given, longest=longest, overlong=cfg.overlong
  )
  if dropped:
    console.print(f"{dropped} of {len(given)} {name} are longer than {longest} tokens: dropped")
  return sequences


def find_model(config, cfg: sft.SftConfig, at: Session) -> tuple[workdirs.Model, dict[str, str]]:
  """(the model to train, its files' digest by its name)."""
  return models.find(
    config.model,
    config.base,
    dict(config.runtime) | {"rules": at.rules},
    dtype=config.weights,
    mesh=at.mesh,
    mtp=cfg.mtp_weight > 0,
    adapters=lora.LoraConfig(**config.lora) if config.lora.rank else None,
    seed=cfg.seed,
    say=at.console.print,
  )


def plain(model: workdirs.Model, parents: dict[str, str]) -> Learner:
  """A model that imitates by SFT alone."""
  return Learner(model=model, parents=parents, make_loss=objective.make_loss, fixed=())


def find_learner(config, cfg: sft.SftConfig, at: Session) -> Learner:
  """The model of the config, by SFT alone."""
  return plain(*find_model(config, cfg, at))


def counted(data: Data, train: Sequence, held: Sequence, *, shown: int) -> dict[str, dict]:
  """The counts of what is learned and looked at: kept and dropped are all that the digests are of.

  train, held: what fits of the conversations, of those held out among the first `shown`.
  """
  spare = [SPARE] * (len(data.held) - shown)
  return {
    "train": lineage.count(len(train), [OVERLONG] * (len(data.train) - len(train))),
    "held_out": lineage.count(len(held), [OVERLONG] * (shown - len(held)) + spare),
  }


def build(
  stage: str, config, cfg, data: Data, folder: pathlib.Path, at: Session, find=find_learner
):
  """(setup, state): everything loaded and checked, nothing learned yet.

  stage: whose workdir `folder` becomes, or already is with the same config. find: makes the
  `Learner` of (config, cfg, at).
  """
  run.claim(folder, stage, config.to_dict())
  learner = find(config, cfg, at)
  model = learner.model
  digest = {"train": conversations.digest(data.train), "held_out": conversations.digest(data.held)}
  train = tokenize(data.train, "conversations", model, cfg, at.console)
  shown = data.held[: cfg.eval_conversations]
  held = tokenize(shown, "held-out conversations", model, cfg, at.console)
  total = sft.total_steps(cfg, len(train))
  opt = optimizer.OptimizerConfig(**config.optimizer, steps=total)
  counts = data.counts | counted(data, train, held, shown=len(shown))
  lineage.begin(folder, stage, learner.parents | data.parents, digest, counts)
  workdirs.describe(folder, model.cfg, model.tokenizer)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(opt, lora.split(transformer.specs(model.cfg))[0])
  mixture = experts.ExpertsConfig(**config.experts)
  loss = learner.make_loss(model.cfg, mixture, cfg.mtp_weight)
  state, microbatches = states.init(trained, tx, frozen), sft.capacity(cfg, train)
  place = functools.partial(sharding.place, mesh=at.mesh, rules=at.rules)
  batch, used = objective.assemble(
    train[: cfg.conversations], normalise=cfg.normalise, cfg=cfg.batch, microbatches=microbatches
  )
  update = memory.fitted(
    jax.jit(steps.make_update(loss, tx, mixture.bias_rate), donate_argnums=0),
    state,
    place(batch),
    used,
    row_tokens=cfg.row_tokens,
    unit=sharding.row_shards(config.mesh),
    fixed=learner.fixed,
  )
  setup = Setup(
    title=stage,
    cfg=cfg,
    model=dataclasses.replace(model, params={}),
    train=train,
    held=held,
    total=total,
    microbatches=microbatches,
    update=update,
    evaluate=jax.jit(sft.make_evaluate(objective.make_loss(model.cfg, experts.OFF, 0.0))),
    place=place,
    rate=optimizer.schedule(opt),
    folder=folder,
    writer=tensorboardX.SummaryWriter(str(folder / "tensorboard")),
    console=at.console,
    devices=1 if at.mesh is None else at.mesh.size,
  )
  return setup, state


def resume(checkpointer, state, folder: pathlib.Path, say):
  """(updates done, state): from the last checkpoint, if there is one. say: prints a line."""
  done = 0
  if checkpointer.latest is not None:
    state, saved = snapshot.restore(checkpointer, state, {"run": None})
    done = saved["run"]["steps"]
    say(f"continuing after update {done}")
  metrics.keep_until(folder / "metrics.jsonl", done or -1)
  return done, state


def learn(state, setup: Setup, number: int):
  """(state, metrics): update `number`, counted from 1."""
  cfg, started = setup.cfg, time.monotonic()
  chosen = sft.pick(len(setup.train), cfg.conversations, number - 1, cfg.seed)
  sequences = [setup.train[i] for i in chosen]
  batch, used = objective.assemble(
    sequences, normalise=cfg.normalise, cfg=cfg.batch, microbatches=setup.microbatches
  )
  state, values = setup.update(state, setup.place(batch), used)
  values = sft.named(jax.device_get(values), "sft")
  seconds = time.monotonic() - started
  values |= sft.tokens(sequences, "sft") | {
    "policy/learning_rate": float(setup.rate(number - 1 - values["policy/skipped"])),
    "time/update_s": seconds,
    "throughput/train_tokens_per_s": sum(len(tokens) for tokens, _ in sequences) / seconds,
  }
  metrics.log(setup.folder, setup.writer, number, values)
  steps.check_finite(values, cfg.patience, number, setup.folder)
  return state, values


def look(params, held, setup: Setup, number: int) -> dict[str, float]:
  """The loss on the held-out conversations, logged."""
  started = time.monotonic()
  values = sft.named(jax.device_get(setup.evaluate(params, *held)), "eval")
  values |= sft.tokens(setup.held, "eval") | {"time/eval_s": time.monotonic() - started}
  metrics.log(setup.folder, setup.writer, number, values)
  setup.console.print(
    f"held out, after {number}: loss {values['eval/loss']:.4f}  "
    f"accuracy {values['eval/accuracy']:.4f}"
  )
  return values


def save(checkpointer, state, number: int, *, score: float, say) -> None:
  """A checkpoint after update `number`. score: more is better; NaN is never best."""
  more = {"run": {"steps": number}}
  snapshot.save(checkpointer, number, state, more, score=max(-math.inf, score), say=say)


def train(setup: Setup, state):
  """The state after all updates, with looks at what was held out before, between and after."""
  cfg, total, held = setup.cfg, setup.total, None
  for line in sft.lines(setup.model.cfg, cfg, setup.train, setup.held, setup.devices):
    setup.console.print(line, soft_wrap=True)
  checkpointer = checkpoint.open_folder(setup.folder / "checkpoints", keep=cfg.keep)
  done, state = resume(checkpointer, state, setup.folder, setup.console.print)
  if setup.held and cfg.eval_every:
    batch, used = objective.assemble(
      setup.held, normalise=cfg.normalise, cfg=cfg.batch, microbatches=None
    )
    held = setup.place(batch), used
    if done == 0:
      look(state.policy, held, setup, 0)
  for number in range(done + 1, total + 1):
    state, values = learn(state, setup, number)
    if number % max(1, total // TOLD) == 0 or number == total:
      setup.console.print(sft.line(number, total, values), soft_wrap=True)
    if held is not None and (number % cfg.eval_every == 0 or number == total):
      values |= look(state.policy, held, setup, number)
    if number % cfg.checkpoint_every == 0 or number == total:
      score = -values["sft/loss" if held is None else "eval/loss"]
      save(checkpointer, state, number, score=score, say=setup.console.print)
  checkpointer.close()
  lines = metrics.read(setup.folder / "metrics.jsonl")
  curves.draw(lines, curves.SFT, setup.folder / "curves.png", setup.title)
  model = dataclasses.replace(setup.model, params=state.policy)
  asked = [ask.prompt(*tokens) for tokens in (setup.held or setup.train)]
  texts = ask.answers(model, asked, cfg.seed)
  finish.finish(setup.folder, model, numbers=lines[-1], texts=texts, console=setup.console)
  return state
