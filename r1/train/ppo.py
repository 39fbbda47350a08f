"""PPO between the rollout and the updates: values, advantages of tokens, and two batches a step.

rollout -> reward less KL -> value -> advantage (arXiv 2402.03300 section 4.1.1). The updates of the
policy are those of `r1.train.rl`; the value model has a state and an update of its own.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import optax

from r1.algorithms import advantages, experts, gae, grpo, minibatch, ppo
from r1.rewards import combine
from r1.sampling import rollout
from r1.train import memory, rl
from r1.train import state as states
from r1.train import step as steps_lib


@dataclasses.dataclass(frozen=True)
class Scored:
  """A graded rollout, judged token by token.

  rollout: as GRPO has it, an answer's advantage being the mean of its tokens'. advantages, returns,
  values: of the answers' tokens, the values before any update. metrics: of the rollout.
  """

  rollout: rl.Scored
  advantages: list[np.ndarray]
  returns: list[np.ndarray]
  values: list[np.ndarray]
  metrics: dict[str, float]


def prepare(
  samples: Sequence[rollout.Sample],
  rewards: combine.Rewards,
  params,
  ref_params,
  value_params,
  *,
  model_cfg,
  value_cfg,
  batch: minibatch.BatchConfig,
  cfg: ppo.PpoConfig,
  temperature: float,
) -> Scored:
  """Values by the trainer's own program, rewards of tokens, advantages over the whole rollout.

  The KL is that of the weights that sampled, so it is the same for all updates of the rollout. An
  answer that was cut ends with the reward that it got, as every other: nothing is expected of what
  it might have become.
  """
  shape = (-1, cfg.group)
  reward_QG, valid_QG = advantages.apply_truncation(
    np.reshape(rewards.total, shape),
    np.reshape(rewards.valid, shape),
    np.reshape([s.response.truncated for s in samples], shape),
    cfg.policy,
  )
  reward_QG, valid_QG = advantages.checked(reward_QG, valid_QG, cfg.policy)
  numbers = {"question_B": np.arange(len(samples)) // cfg.group}

  def score(weights):
    return minibatch.score(weights, samples, model_cfg, batch, temperature, **numbers)

  def answers(values):
    return [x[s.prompt_length :] for s, x in zip(samples, values, strict=True)]

  old = score(params) if cfg.kl or batch.minibatches > 1 else None
  drift = [np.zeros(s.length) for s in samples]
  if cfg.kl:
    both = zip(answers(old), answers(score(ref_params)), strict=True)
    drift = [old_T - ref_T for old_T, ref_T in both]
  expect = lambda chunk: ppo.score(value_params, chunk, value_cfg)
  values = answers(minibatch.each(samples, batch, expect, **numbers))
  found, returns = estimate(reward_QG.ravel(), drift, values, cfg)
  counted_B = valid_QG.ravel()
  told = metrics(drift, values, returns, counted_B, cfg)
  told["group/informative"] = float(advantages.informative(reward_QG, valid_QG).mean())
  found = gae.whitened(found, counted_B) if cfg.whiten else found
  graded = rl.Scored(
    samples,
    rewards,
    advantage_B=np.where(counted_B, [own_T.mean() for own_T in found], 0.0),
    counted_B=counted_B,
    old=old if batch.minibatches > 1 else None,
    ref=None,
  )
  return Scored(graded, found, returns, values, told)


def estimate(reward_B, drift: Sequence, values: Sequence, cfg: ppo.PpoConfig):
  """(advantages, returns) of each answer's tokens. drift: nats, log(policy / reference)."""
  found = [
    gae.advantages(
      gae.token_rewards(reward, drift_T, cfg.kl), value_T, gamma=cfg.gamma, lam=cfg.lam
    )
    for reward, drift_T, value_T in zip(reward_B, drift, values, strict=True)
  ]
  return found, [own_T + value_T for own_T, value_T in zip(found, values, strict=True)]


def metrics(drift, values, returns, counted_B, cfg: ppo.PpoConfig) -> dict[str, float]:
  """Of the counted answers: how much of the returns the values foresaw, and what the KL cost.

  policy/kl: nats a token, of the weights that sampled. reward/kl: of an answer, as rewarded.
  """
  kept = [i for i, counts in enumerate(counted_B) if counts]
  if not kept:
    return {}
  every = lambda rows: np.concatenate([rows[i] for i in kept])
  told = {"value/explained_variance": gae.explained_variance(every(values), every(returns))}
  if cfg.kl:
    told["policy/kl"] = float(every(drift).mean())
    told["reward/kl"] = -cfg.kl * float(np.mean([drift[i].sum() for i in kept]))
  return told


def steps(
  scored: Scored, *, batch: minibatch.BatchConfig, cfg: ppo.PpoConfig, rng, microbatches: int
) -> Iterator[tuple[grpo.GrpoBatch, ppo.ValueBatch, int]]:
  """(the policy's micro-batches, the value model's, how many are in use) of each optimiser step.

  Both have the same rows and weights; all counted answers are run.
  """
  samples, graded = scored.rollout.samples, scored.rollout
  lengths_B = np.array([s.length for s in samples])
  for chosen in minibatch.split(len(samples), batch, rng):
    own = [samples[i] for i in chosen]
    weight_B = advantages.token_weights(lengths_B[chosen], graded.counted_B[chosen], cfg.policy)
    shared, spread, used = minibatch.columns(
      own, weight_B, question_B=chosen // cfg.group, cfg=batch, microbatches=microbatches
    )

    def column(answers, own=own, chosen=chosen, spread=spread):
      return spread(minibatch.whole(own, [answers[i] for i in chosen]))

    policy = grpo.GrpoBatch(
      **shared,
      advantage_BL=column(scored.advantages),
      old_logp_BL=None if graded.old is None else spread([graded.old[i] for i in chosen]),
      ref_logp_BL=None,
      sampler_logp_BL=spread(minibatch.whole(own, [s.logp for s in own])),
    )
    value = ppo.ValueBatch(
      **shared, return_BL=column(scored.returns), old_value_BL=column(scored.values)
    )
    yield policy, value, used


def empty_step(batch: minibatch.BatchConfig, microbatches: int) -> tuple[ppo.ValueBatch, int]:
  """A step of the value model without samples, in the shape of every step of a run."""
  none = np.zeros(0)
  shared, spread, used = minibatch.columns(
    [], none, question_B=none, cfg=batch, microbatches=microbatches
  )
  return ppo.ValueBatch(**shared, return_BL=spread([]), old_value_BL=spread([])), used


def make_loss(value_cfg, cfg: ppo.PpoConfig, mixture: experts.ExpertsConfig):
  """`loss(params, batch)` of one packed micro-batch of the value model."""

  def loss(params, batch):
    value_BL, aux = ppo.token_value(params, batch, value_cfg)
    value, found = ppo.value_loss(value_BL, batch, cfg)
    return experts.regularise(value, found, aux, batch.weight_BL, mixture)

  return loss


def compiled(
  value_cfg,
  tx: optax.GradientTransformation,
  state: states.TrainState,
  batch: minibatch.BatchConfig,
  cfg: ppo.PpoConfig,
  mixture: experts.ExpertsConfig,
  *,
  microbatches: int,
  place: Callable,
  unit: int,
):
  """The value model's update(state, batch, used), compiled for every step of a run."""
  update = steps_lib.make_update(make_loss(value_cfg, cfg, mixture), tx, mixture.bias_rate)
  empty, used = empty_step(batch, microbatches)
  jitted = jax.jit(update, donate_argnums=0)
  return memory.fitted(jitted, state, place(empty), used, row_tokens=batch.row_tokens, unit=unit)


def named(values: dict[str, float]) -> dict[str, float]:
  """What an update of the value model tells, under value/*."""
  return {
    f"value/{name.removeprefix('policy/').removeprefix('value/')}": x for name, x in values.items()
  }
