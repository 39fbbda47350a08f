"""A reward model, trained: pairs or labels -> tokens -> packed rows -> update -> checkpoint.

The policy's layers with a scalar head (arXiv 2501.12948v2 section 3.1), in a workdir of its own.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import tensorboardX

from r1 import sharding
from r1.algorithms import ends, experts
from r1.data import preferences
from r1.evals import preference as evals
from r1.model import lora, transformer
from r1.report import curves
from r1.stages import finish, imitate
from r1.train import (
  checkpoint,
  lineage,
  memory,
  metrics,
  models,
  optimizer,
  preference,
  reward_models,
  run,
  sft,
)
from r1.train import state as states
from r1.train import step as steps
from r1.train import workdir as workdirs

TOLD = 10  # lines that a run writes about its updates
SHOWN = 8  # answers on the page of sample texts
SCALED = 1024  # sequences whose scores give their mean and spread
TITLE = "{}_reward_model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
  """What a reward model learns from, and what it is looked at with."""

  kind: str
  train: Sequence[preferences.Pair] | Sequence[preferences.Labelled]
  held: Sequence[preferences.Pair] | Sequence[preferences.Labelled]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
  """What stays the same from update to update; the model is without its weights."""

  kind: str
  cfg: preference.PreferenceConfig
  model: workdirs.Model
  train: list[ends.Item]
  held: list[ends.Item]
  records: list  # of `held`
  total: int
  microbatches: int
  update: Callable
  place: Callable
  rate: Callable
  mesh: jax.sharding.Mesh | None
  folder: pathlib.Path
  writer: tensorboardX.SummaryWriter
  console: rich.console.Console


def build(
  task: Task, config, cfg: preference.PreferenceConfig, policy: workdirs.Model, parents, folder, at
):
  """(setup, state): everything checked and compiled, nothing learned yet."""
  run.claim(folder, "preference", config.to_dict())
  model = models.with_scalar(policy, mesh=at.mesh)
  if config.lora.rank:
    model = models.adapt(model, lora.LoraConfig(**config.lora), mesh=at.mesh, seed=cfg.seed)
  fit = lambda given: preference.items(
    task.kind, given, model.tokenizer, cfg, context=model.cfg.context
  )
  (train, _), (held, places) = fit(task.train), fit(task.held)
  if not train:
    raise ValueError(f"none of {len(task.train)} items of {task.kind} fits row_tokens")
  count = lambda kept, of: lineage.count(len(kept), [preference.OVERLONG] * (len(of) - len(kept)))
  digests = {"train": preferences.digest(task.train), "held_out": preferences.digest(task.held)}
  counts = {"train": count(train, task.train), "held_out": count(held, task.held)}
  lineage.begin(folder, TITLE.format(task.kind), parents, digests, counts)
  workdirs.describe(folder, model.cfg, model.tokenizer)
  total = preference.total_steps(cfg, len(train))
  opt = optimizer.OptimizerConfig(**config.optimizer, steps=total)
  tx = optimizer.make(opt, lora.split(transformer.specs(model.cfg))[0])
  mixture = experts.ExpertsConfig(**config.experts)
  method = preference.LOSSES[task.kind]
  loss = ends.make_loss(method.loss, model.cfg, mixture)
  trained, frozen = lora.split(model.params)
  # The update is given its state for good, and the next reward model starts from the policy too.
  state = states.init(trained, tx, jax.tree.map(jnp.copy, frozen))
  microbatches = ends.capacity(min(cfg.examples, len(train)), method.SIDES, cfg.batch)
  place = functools.partial(sharding.place, mesh=at.mesh, rules=at.rules)
  batch, used = ends.assemble(train[: cfg.examples], cfg=cfg.batch, microbatches=microbatches)
  setup = Setup(
    kind=task.kind,
    cfg=cfg,
    model=dataclasses.replace(model, params={}),
    train=train,
    held=held,
    records=[task.held[i] for i in places],
    total=total,
    microbatches=microbatches,
    update=memory.fitted(
      jax.jit(steps.make_update(loss, tx, mixture.bias_rate), donate_argnums=0),
      state,
      place(batch),
      used,
      row_tokens=cfg.row_tokens,
      unit=sharding.row_shards(config.mesh),
    ),
    place=place,
    rate=optimizer.schedule(opt),
    mesh=at.mesh,
    folder=folder,
    writer=tensorboardX.SummaryWriter(str(folder / "tensorboard")),
    console=at.console,
  )
  return setup, state


def learn(state, setup: Setup, number: int):
  """(state, metrics): update `number`, counted from 1."""
  cfg, started = setup.cfg, time.monotonic()
  chosen = sft.pick(len(setup.train), cfg.examples, number - 1, cfg.seed)
  items = [setup.train[i] for i in chosen]
  batch, used = ends.assemble(items, cfg=cfg.batch, microbatches=setup.microbatches)
  state, values = setup.update(state, setup.place(batch), used)
  values = {name: float(value) for name, value in jax.device_get(values).items()}
  values["reward_model/loss"] = values.pop("policy/loss")
  values |= {
    "policy/learning_rate": float(setup.rate(number - 1 - values["policy/skipped"])),
    "time/update_s": time.monotonic() - started,
  }
  metrics.log(setup.folder, setup.writer, number, values)
  steps.check_finite(values, cfg.patience, number, setup.folder)
  return state, values


def scores(params, given: Sequence[ends.Item], setup: Setup) -> np.ndarray:
  """The scores of items, [items, sequences of each]."""
  sides = preference.LOSSES[setup.kind].SIDES
  ids = preference.sequences(given)
  tokens = setup.cfg.score_tokens
  found = reward_models.score(params, setup.model.cfg, ids, tokens=tokens, mesh=setup.mesh)
  return found.reshape(-1, sides)


def look(params, setup: Setup, number: int) -> dict[str, float]:
  """How often the model is right on what was held out, logged."""
  measure = evals.pairs if setup.kind == "helpful" else evals.labels
  found = measure(setup.records, scores(params, setup.held, setup))
  values = {f"eval/{name}": mean for name, (mean, _) in found.items()}
  values |= {f"eval/{name}_se": error for name, (_, error) in found.items()}
  metrics.log(setup.folder, setup.writer, number, values)
  said = ", ".join(f"{name} {mean:.3f} ± {error:.3f}" for name, (mean, error) in found.items())
  setup.console.print(f"{setup.kind}: held out, after {number}: {said}", soft_wrap=True)
  return values


def train(setup: Setup, state) -> dict[str, float]:
  """All updates; returns the numbers of the last look."""
  cfg, total, seen = setup.cfg, setup.total, {}
  count = f"{len(setup.train):,} items, {len(setup.held):,} held out, {total:,} updates"
  say = lambda text: setup.console.print(f"{setup.kind}: {text}", soft_wrap=True)
  say(count)
  checkpointer = checkpoint.open_folder(setup.folder / "checkpoints", keep=cfg.keep)
  done, state = imitate.resume(checkpointer, state, setup.folder, say)
  if setup.held and done == 0:
    look(state.policy, setup, 0)
  for number in range(done + 1, total + 1):
    state, values = learn(state, setup, number)
    if number % max(1, total // TOLD) == 0 or number == total:
      loss, right = values["reward_model/loss"], values["reward_model/accuracy"]
      say(f"update {number}/{total}  loss {loss:.4f}  accuracy {right:.3f}")
    if setup.held and (number % cfg.eval_every == 0 or number == total):
      seen = look(state.policy, setup, number)
    if number % cfg.checkpoint_every == 0 or number == total:
      score = seen.get("eval/accuracy", values["reward_model/accuracy"])
      imitate.save(checkpointer, state, number, score=score, say=say)
  checkpointer.close()
  return end(state.policy, setup)


def end(params, setup: Setup) -> dict[str, float]:
  """What the scores mean, the picture, the exported model; returns the numbers of the last look."""
  shown = scores(params, setup.train[: SCALED // len(setup.train[0])], setup)
  head = reward_models.Head(
    kind=setup.kind,
    template=setup.cfg.template,
    mean=float(shown.mean()),
    std=float(shown.std()),
  )
  reward_models.describe(setup.folder, head)
  lines = metrics.read(setup.folder / "metrics.jsonl")
  curves.draw(lines, curves.REWARD_MODEL, setup.folder / "curves.png", TITLE.format(setup.kind))
  looks = [line for line in lines if "eval/accuracy" in line]
  numbers = looks[-1] if looks else {}
  model = dataclasses.replace(setup.model, params=params)
  finish.finish(
    setup.folder, model, numbers=numbers, texts=texts(params, setup), console=setup.console
  )
  return numbers


def texts(params, setup: Setup) -> list[tuple[str, str]]:
  """(prompt, its answers with their scores) of a few records that were held out."""
  records, items = setup.records[:SHOWN], setup.held[:SHOWN]
  if not items:
    return []
  found = []
  for record, values in zip(records, scores(params, items, setup)):
    said = zip(preference.texts(record), values)
    found.append((record.prompt, "\n".join(f"{value:+.2f}: {text}" for (text, _), value in said)))
  return found


def make(task: Task, config, cfg, policy: workdirs.Model, parents, folder, at: imitate.Session):
  """The reward model of one kind in its workdir; one that is finished is left alone."""
  if lineage.finished(folder) is None:
    train(*build(task, config, cfg, policy, parents, folder, at))
