"""Supervised fine-tuning on conversations: a cold start, the second SFT, a distilled student.

  python -m experiments.sft --config=configs/sft.py:tiny --workdir=runs/sft

arXiv 2501.12948 sections 2.3.1, 2.3.3 and 2.4. The same command again continues from the last
checkpoint, and the workdir is a model for `experiments.r1_zero` and `experiments.sample`.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable

import jax
import rich.console
import tensorboardX

from r1 import sharding
from r1.algorithms import experts
from r1.algorithms import sft as objective
from r1.data import conversations
from r1.data.worlds import arithmetic
from r1.model import lora, transformer
from r1.report import curves
from r1.train import checkpoint, host, memory, metrics, models, optimizer, run, sft, snapshot
from r1.train import state as states
from r1.train import step as steps
from r1.train import workdir as workdirs

TOLD = 20  # lines that a run writes about its updates


@dataclasses.dataclass(frozen=True)
class Setup:
  """What stays the same from update to update."""

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


def read(config) -> sft.SftConfig:
  """The run's settings; a wrong one is refused before any compute."""
  cfg = sft.SftConfig(**config.sft)
  # Where the schedule ends is known once the data is read.
  optimizer.OptimizerConfig(**config.optimizer, steps=config.optimizer.warmup + 1)
  if not config.base and not (config.model and config.data.file):
    raise ValueError("this config has neither base nor conversations: add model=MODEL,data=FILE")
  return cfg


def find_conversations(config, cfg: sft.SftConfig):
  """(train, held out): the user's own file, or solutions made from the embedded world."""
  data = config.data
  if data.file:
    return conversations.hold_out(conversations.load(data.file), data.share)
  own: dict = {"terms": tuple(data.terms), "languages": tuple(data.languages)}
  world = arithmetic.World(**(dict(config.base.world) | own))
  made = conversations.from_world(world, count=data.count, seed=cfg.seed)
  return conversations.hold_out(made, data.share)


def tokenize(given, name: str, model: workdirs.Model, cfg: sft.SftConfig, console):
  """The tokens of the conversations that fit; says how many did not."""
  longest = min(cfg.row_tokens, model.cfg.context)
  sequences, dropped = conversations.encode_all(
    model.tokenizer, cfg.template, given, longest=longest, overlong=cfg.overlong
  )
  if dropped:
    console.print(f"{dropped} of {len(given)} {name} are longer than {longest} tokens: dropped")
  return sequences


def build(config, cfg: sft.SftConfig, folder: pathlib.Path, mesh, rules, console):
  """(setup, state): everything loaded and checked, nothing learned yet."""
  train, held = find_conversations(config, cfg)
  run.claim(folder, "sft", config.to_dict())
  runtime = dict(config.runtime) | {"rules": rules}
  model, parents = models.find(
    config.model,
    config.base,
    runtime,
    dtype=config.weights,
    mesh=mesh,
    mtp=cfg.mtp_weight > 0,
    adapters=lora.LoraConfig(**config.lora) if config.lora.rank else None,
    seed=cfg.seed,
    say=console.print,
  )
  digest = {"train": conversations.digest(train), "held_out": conversations.digest(held)}
  train = tokenize(train, "conversations", model, cfg, console)
  held = tokenize(held[: cfg.eval_conversations], "held-out conversations", model, cfg, console)
  total = sft.total_steps(cfg, len(train))
  opt = optimizer.OptimizerConfig(**config.optimizer, steps=total)
  run.lineage(folder, "sft", parents, digest)
  workdirs.describe(folder, model.cfg, model.tokenizer)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(opt, lora.split(transformer.specs(model.cfg))[0])
  mixture = experts.ExpertsConfig(**config.experts)
  loss = objective.make_loss(model.cfg, mixture, cfg.mtp_weight)
  plain = objective.make_loss(model.cfg, experts.OFF, 0.0)
  state, microbatches = states.init(trained, tx, frozen), sft.capacity(cfg, train)
  place = functools.partial(sharding.place, mesh=mesh, rules=rules)
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
  )
  setup = Setup(
    cfg=cfg,
    model=dataclasses.replace(model, params={}),
    train=train,
    held=held,
    total=total,
    microbatches=microbatches,
    update=update,
    evaluate=jax.jit(sft.make_evaluate(plain)),
    place=place,
    rate=optimizer.schedule(opt),
    folder=folder,
    writer=tensorboardX.SummaryWriter(str(folder / "tensorboard")),
    console=console,
  )
  return setup, state


def resume(checkpointer, setup: Setup, state):
  """(updates done, state): from the last checkpoint, if there is one."""
  done = 0
  if checkpointer.latest is not None:
    state, saved = snapshot.restore(checkpointer, state, {"run": None})
    done = saved["run"]["steps"]
    setup.console.print(f"continuing after update {done}")
  metrics.keep_until(setup.folder / "metrics.jsonl", done or -1)
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


def save(checkpointer, state, number: int, setup: Setup, score: float) -> None:
  """A checkpoint after update `number`."""
  more = {"run": {"steps": number}}
  snapshot.save(checkpointer, number, state, more, score=score, say=setup.console.print)


def train(setup: Setup, state) -> None:
  """All updates, with looks at what was held out before, between and after."""
  cfg, total, held = setup.cfg, setup.total, None
  checkpointer = checkpoint.open_folder(setup.folder / "checkpoints", keep=cfg.keep)
  done, state = resume(checkpointer, setup, state)
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
      save(checkpointer, state, number, setup, max(-math.inf, score))  # so NaN is never best
  checkpointer.close()
  lines = metrics.read(setup.folder / "metrics.jsonl")
  curves.draw(lines, curves.SFT, setup.folder / "curves.png", "SFT")
  for name in ("metrics.jsonl", "curves.png", "checkpoints", "tensorboard"):
    setup.console.print(f"  {setup.folder / name}", soft_wrap=True)


def main(config, folder: pathlib.Path) -> None:
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  cfg = read(config)
  mesh, rules = sharding.layout(dict(config.mesh), cfg.batch.rows)
  with sharding.on(mesh):
    setup, state = build(config, cfg, folder, mesh, rules, console)
    devices = 1 if mesh is None else mesh.size
    for line in sft.lines(setup.model.cfg, cfg, setup.train, setup.held, devices):
      console.print(line, soft_wrap=True)
    train(setup, state)
  console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  run.stage(main)
