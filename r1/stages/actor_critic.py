"""What PPO adds to a stage of reinforcement learning: a value model, trained beside the policy.

It is the policy's architecture with a scalar head, and starts from the policy's own weights (arXiv
2501.12948v2 section A.3: a model about as large as the policy).
"""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from r1 import schedule, sharding
from r1.algorithms import ppo as objective
from r1.model import config as model_config
from r1.model import lora, transformer
from r1.stages import iteration, reinforce
from r1.train import metrics, models, optimizer, play, ppo
from r1.train import state as states
from r1.train import step as steps

STATE = "value"  # the value model's name among a run's states


@dataclasses.dataclass(frozen=True)
class Critic:
  """What stays the same of the value model from rollout to rollout."""

  cfg: objective.PpoConfig
  model_cfg: model_config.ModelConfig
  update: Callable


def read(config) -> reinforce.Stage:
  """The stage's records; a wrong setting is refused before any compute."""
  cfg = objective.PpoConfig(**config.ppo)
  _optimizer(config)
  stage = reinforce.staged(config, cfg.policy)
  if stage.rl.partial_tokens:
    raise ValueError(
      f"partial_tokens={stage.rl.partial_tokens} with PPO: the return of an answer that several "
      "policies drew is not that of the one that learns from it; set rl.partial_tokens to 0"
    )
  return stage


def _optimizer(config) -> optimizer.OptimizerConfig:
  updates = config.rl.rollouts * config.batch.minibatches
  return optimizer.OptimizerConfig(**config.value_optimizer, steps=updates)


def build(config, setup: reinforce.Setup, run: reinforce.Run) -> tuple[Critic, reinforce.Run]:
  """(critic, the run with the value model's state in it); nothing has been learned yet."""
  stage, cfg = setup.stage, objective.PpoConfig(**config.ppo)
  mesh, _ = sharding.layout(dict(config.mesh), stage.batch.rows, stage.sampler.slots)
  policy = dataclasses.replace(setup.model, params=run.state.policy)
  model = models.with_scalar(policy, mesh=mesh)
  if policy.cfg.lora:
    model = models.adapt(model, policy.cfg.lora, mesh=mesh, seed=stage.rl.seed)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(_optimizer(config), lora.split(transformer.specs(model.cfg))[0])
  # The policy's updates give their buffers away, so none is shared with it.
  state = states.init(trained, tx, jax.tree.map(jnp.copy, frozen))
  update = ppo.compiled(
    *(model.cfg, tx, state, stage.batch, cfg, stage.experts),
    microbatches=setup.microbatches,
    place=setup.place,
    unit=sharding.row_shards(config.mesh),
  )
  size = sum(x.nbytes for x in jax.tree.leaves(state)) / 2**20
  setup.console.print(f"a value model beside them: {size:,.0f} MiB with its moments")
  return Critic(cfg, model.cfg, update), dataclasses.replace(run, more={STATE: state})


def score(
  run: reinforce.Run, played: play.Played, critic: Critic, setup: reinforce.Setup, number: int
) -> ppo.Scored:
  """Old log-probabilities and values, the KL in the rewards, and an advantage for each token."""
  stage, started = setup.stage, time.monotonic()
  scored = ppo.prepare(
    played.samples,
    played.rewards,
    run.state.policy,
    run.state.frozen | run.ref,
    run.more[STATE].policy,
    model_cfg=setup.model.cfg,
    value_cfg=critic.model_cfg,
    batch=stage.batch,
    cfg=critic.cfg,
    temperature=schedule.at(stage.rl.temperature, number * stage.batch.minibatches),
  )
  took = dataclasses.replace(scored.rollout, seconds=time.monotonic() - started)
  return dataclasses.replace(scored, rollout=took)


def learn(
  run: reinforce.Run, scored: ppo.Scored, critic: Critic, setup: reinforce.Setup, number: int
) -> tuple[reinforce.Run, iteration.Learned]:
  """The updates of one rollout, of the policy and of the value model by the same minibatch."""
  stage, updates, read = setup.stage, [], 0
  state, value, started = run.state, run.more[STATE], time.monotonic()
  first, step = int(state.step) == 0, number * stage.batch.minibatches
  heat_U = np.full(setup.microbatches, schedule.at(stage.rl.temperature, step), np.float32)
  rng = np.random.default_rng((stage.rl.seed, number, 1))
  split = {"batch": stage.batch, "cfg": critic.cfg, "microbatches": setup.microbatches}
  for batch, judged, used in ppo.steps(scored, rng=rng, **split):
    state, of_policy = setup.update(state, setup.place((batch, heat_U)), used)
    value, of_value = critic.update(value, setup.place(judged), used)
    read += int((batch.segment_BL > 0).sum())
    of_policy, of_value = jax.device_get((of_policy, of_value))
    values = {name: float(x) for name, x in of_policy.items()} | ppo.named(of_value)
    updates.append(values)
    metrics.log(setup.folder, setup.writer, step + len(updates), values)
    for found in (of_policy, of_value):
      steps.check_finite(found, stage.rl.patience, step + len(updates), setup.folder)
  learned = iteration.Learned(updates, read, first, seconds=time.monotonic() - started)
  return dataclasses.replace(run, state=state, more={STATE: value}), learned
