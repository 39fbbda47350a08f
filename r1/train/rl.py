"""One GRPO iteration as its host sees it: score a rollout, split it, describe it.

question -> tokens -> rollout -> reward -> advantage -> update (arXiv 2501.12948 section 2.2).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import optax

from r1 import schedule
from r1.algorithms import advantages, experts, grpo, logp, minibatch
from r1.data import questions
from r1.rewards import combine
from r1.sampling import decode, engine, partial, rollout
from r1.text import templates
from r1.text import tokenizer as tokenizers
from r1.train import floor, memory
from r1.train import state as states
from r1.train import step as steps_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class RlConfig:
  """The loop around the loss.

  limit, temperature, mixture: ((update, value), ...) schedules of the longest answer in tokens, of
  the sampling temperature, and of the share of general prompts among a rollout's questions; a value
  holds for the rollouts that begin at its update or later. partial_tokens: most tokens that an
  answer draws in one rollout before it is put aside to go on in the next, 0 for no such bound.
  top_k, top_p, min_p: the sampler's filters, which training refuses.
  reference_every: updates between hard refreshes of the KL reference, 0 for never. canaries_every:
  rollouts between trials of known reward hacks. patience: updates with NaN in a row before the run
  stops.
  """

  seed: int
  rollouts: int
  questions_per_rollout: int
  template: str
  limit: tuple[tuple[int, int], ...]
  temperature: tuple[tuple[int, float], ...]
  mixture: tuple[tuple[int, float], ...]
  partial_tokens: int
  top_k: int
  top_p: float
  min_p: float
  reference_every: int
  checkpoint_every: int
  keep: int
  canaries_every: int
  patience: int

  def __post_init__(self):
    schedule.check("limit", self.limit)
    schedule.check("temperature", self.temperature)
    schedule.check("mixture", self.mixture)
    if not all(0 <= share <= 1 for _, share in self.mixture):
      raise ValueError(f"mixture={self.mixture}: a share of general prompts is from 0 to 1")
    if (self.top_k, self.top_p, self.min_p) != (0, 1, 0):
      raise ValueError(
        f"top_k={self.top_k}, top_p={self.top_p}, min_p={self.min_p}: the sampler would "
        "renormalise over the ids that are left and the trainer not, which biases every ratio; "
        "train at top_k=0, top_p=1, min_p=0 (TRL #6789, verl #6240)"
      )
    if min(value for _, value in self.limit) < 1:
      raise ValueError(f"limit={self.limit}: an answer needs room for one token at least")
    if min(value for _, value in self.temperature) <= 0:
      raise ValueError(f"temperature={self.temperature}: training needs samples, so above 0")
    if self.partial_tokens < 0:
      raise ValueError(f"partial_tokens={self.partial_tokens} must be >= 0; 0 is off")
    names = ("rollouts", "questions_per_rollout", "checkpoint_every", "keep", "canaries_every")
    for name in (*names, "patience"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name}={getattr(self, name)} must be >= 1")

  @property
  def spans(self) -> int:
    """Rollouts that the longest answer is drawn in; one less is the greatest age of a token."""
    return partial.rollouts(max(limit for _, limit in self.limit), self.partial_tokens)


@dataclasses.dataclass(frozen=True)
class Scored:
  """A graded rollout, whole groups in order, ready to be shuffled and learned from.

  old: None where the rollout has one update, whose own log-probabilities are the old ones. ref:
  None without a KL penalty. seconds: that scoring took.
  """

  samples: Sequence[rollout.Sample]
  rewards: combine.Rewards
  advantage_B: np.ndarray
  counted_B: np.ndarray
  old: list[np.ndarray] | None
  ref: list[np.ndarray] | None
  seconds: float = 0.0


def check(
  cfg: RlConfig,
  algorithm: grpo.GrpoConfig,
  batch: minibatch.BatchConfig,
  sampler: decode.SamplerConfig,
  evaluation: int,
  mesh: dict[str, int],
) -> None:
  """Raises ValueError where settings of two sections do not fit each other.

  evaluation: the longest answer there. mesh: {axis: size}.
  """
  minibatch.check(cfg.questions_per_rollout * algorithm.group, batch)
  if cfg.reference_every % batch.minibatches:
    raise ValueError(
      f"reference_every={cfg.reference_every} must be a multiple of minibatches="
      f"{batch.minibatches}: the reference changes between rollouts"
    )
  longest = max(limit for _, limit in cfg.limit)
  if algorithm.max_tokens < longest:
    raise ValueError(
      f"max_tokens={algorithm.max_tokens} is below the limit of {longest} tokens; it is the "
      "longest answer that the run's schedule allows"
    )
  minibatch.check_limit(longest, batch)
  most = max(longest, evaluation)
  engine.check(sampler, meshed=max(mesh.values()) > 1, prompt=1, limit=most)
  if sampler.cache_dtype and algorithm.sampler_cap is None:
    raise ValueError(
      f"cache_dtype={sampler.cache_dtype!r} without a sampler_cap: the samples are of a model with "
      "rounded keys and values and would count as the policy's own; set grpo.sampler_cap, 2 for "
      "example, or sampler.cache_dtype to ''"
    )
  if cfg.partial_tokens:
    check_partial(cfg.partial_tokens, algorithm, sampler)


def check_partial(tokens: int, algorithm: grpo.GrpoConfig, sampler: decode.SamplerConfig) -> None:
  """Raises ValueError where answers of several policies would be drawn or weighed wrongly."""
  if algorithm.sampler_cap is None:
    raise ValueError(
      f"partial_tokens={tokens} without a sampler_cap: tokens of older policies would count as the "
      "rollout's own; set grpo.sampler_cap, 2 for example, which weighs each by min(old / drawn, "
      "cap)"
    )
  if algorithm.ratio != "token":
    raise ValueError(
      f"partial_tokens={tokens} with ratio={algorithm.ratio!r}: older policies are weighed token "
      "by token, which corrects no ratio of whole answers; set grpo.ratio to token"
    )
  if sampler.draft != "none":
    raise ValueError(
      f"partial_tokens={tokens} with draft={sampler.draft!r}: answers with drafts are drawn in one "
      "go; set sampler.draft to none or rl.partial_tokens to 0"
    )


def longest(
  asked: Sequence[questions.Question],
  tokenizer: tokenizers.Tokenizer,
  cfg: RlConfig,
  batch: minibatch.BatchConfig,
  *,
  context: int,
  evaluation: int,
) -> int:
  """The longest prompt with the longest answer of training, in tokens.

  context: tokens that the model takes. evaluation: the longest answer there. Raises ValueError
  naming the first question that does not fit.
  """
  answer = max(limit for _, limit in cfg.limit)
  room = min(minibatch.room(answer, batch), context - answer, context - evaluation)
  found = 0
  for q in asked:
    prompt = len(templates.encode(tokenizer, cfg.template, q.prompt))
    if prompt > room:
      raise ValueError(
        f"question {q.id!r} has {prompt} tokens, {max(room, 0)} fit: answers of {answer} "
        f"(rl.limit) share context={context} and row_tokens={batch.row_tokens} with it"
        + (f" (a trunk takes all but one, fork={batch.fork})" if batch.fork else "")
        + f", and evaluation answers of {evaluation} (eval.limit) the context"
      )
    found = max(found, prompt)
  return found + answer


def capacity(
  cfg: RlConfig, algorithm: grpo.GrpoConfig, batch: minibatch.BatchConfig, longest: int
) -> int:
  """Micro-batches that hold any optimiser step of the run.

  The groups of `spans` rollouts may be whole in the same one.
  """
  most = cfg.questions_per_rollout * algorithm.group * cfg.spans
  return minibatch.capacity(most // batch.minibatches, longest, algorithm.group, batch)


def prepare(
  samples: Sequence[rollout.Sample],
  rewards: combine.Rewards,
  params,
  ref_params,
  *,
  model_cfg,
  batch: minibatch.BatchConfig,
  cfg: grpo.GrpoConfig,
  temperature: float,
) -> Scored:
  """Advantages on whole groups, and log-probabilities under the old and the reference policy.

  Both come from the trainer's own scoring program, the old ones with the weights that sampled, so
  the first update is on-policy but for rounding. A rollout's only update needs no old ones, and an
  update without KL no reference: these are not run, and None.
  """
  truncated = [s.response.truncated for s in samples]
  shape = (-1, cfg.group)
  reward_QG, valid_QG = advantages.apply_truncation(
    np.reshape(rewards.total, shape),
    np.reshape(rewards.valid, shape),
    np.reshape(truncated, shape),
    cfg,
  )
  advantage_QG = advantages.group_advantages(reward_QG, valid_QG, cfg)
  counted_QG = advantages.counted(reward_QG, valid_QG, cfg)

  def score(weights):
    question_B = np.arange(len(samples)) // cfg.group
    return minibatch.score(weights, samples, model_cfg, batch, temperature, question_B=question_B)

  old = score(params) if batch.minibatches > 1 else None
  ref = score(ref_params) if cfg.kl else None
  return Scored(samples, rewards, advantage_QG.ravel(), counted_QG.ravel(), old, ref)


def steps(
  scored: Scored,
  *,
  batch: minibatch.BatchConfig,
  cfg: grpo.GrpoConfig,
  mixture: experts.ExpertsConfig,
  rng,
  microbatches: int,
) -> Iterator[tuple[grpo.GrpoBatch, int]]:
  """(packed micro-batches, how many are in use) of each optimiser step of the rollout.

  Samples that cannot move the weights are not run, see `learned`; what they weigh in the step's
  normaliser stays.
  """
  lengths_B = np.array([s.length for s in scored.samples])
  learned_B = learned(scored.advantage_B, cfg, mixture)
  for chosen in minibatch.split(len(scored.samples), batch, rng):
    weight_B = advantages.token_weights(lengths_B[chosen], scored.counted_B[chosen], cfg)
    yield minibatch.assemble(
      [scored.samples[i] for i in chosen],
      question_B=chosen // cfg.group,
      advantage_B=scored.advantage_B[chosen],
      weight_B=np.where(learned_B[chosen], weight_B, 0),
      old=None if scored.old is None else [scored.old[i] for i in chosen],
      ref=None if scored.ref is None else [scored.ref[i] for i in chosen],
      cfg=batch,
      microbatches=microbatches,
    )


def empty_step(
  batch: minibatch.BatchConfig, cfg: grpo.GrpoConfig, microbatches: int
) -> tuple[grpo.GrpoBatch, int]:
  """A step without samples, in the shape of every step of a run."""
  return minibatch.assemble(
    [],
    question_B=np.zeros(0, np.int64),
    advantage_B=np.zeros(0, np.float32),
    weight_B=np.zeros(0, np.float32),
    old=[] if batch.minibatches > 1 else None,
    ref=[] if cfg.kl else None,
    cfg=batch,
    microbatches=microbatches,
  )


def learned(
  advantage_B: np.ndarray, cfg: grpo.GrpoConfig, mixture: experts.ExpertsConfig
) -> np.ndarray:
  """bool_B: whose tokens an update must run. All, where there is a KL penalty or the experts are
  balanced over all tokens; else those with an advantage, since the others have gradient 0."""
  if cfg.kl or mixture != experts.OFF:
    return np.ones(len(advantage_B), bool)
  return advantage_B != 0


def make_loss(model_cfg, cfg: grpo.GrpoConfig, mixture: experts.ExpertsConfig):
  """`loss(params, (batch, temperature))` of one packed micro-batch."""

  def loss(params, micro):
    batch, temperature = micro
    logp_BL, entropy_BL, aux = logp.token_logp(
      params, batch, model_cfg, temperature, batch.parent_BL, batch.fork
    )
    value, found = grpo.loss(logp_BL, entropy_BL, batch, cfg)
    return experts.regularise(value, found, aux, batch.weight_BL, mixture)

  return loss


def compiled(
  model_cfg,
  tx: optax.GradientTransformation,
  state: states.TrainState,
  batch: minibatch.BatchConfig,
  cfg: grpo.GrpoConfig,
  mixture: experts.ExpertsConfig,
  *,
  microbatches: int,
  place: Callable,
  unit: int,
):
  """The update, compiled for every step of a run. unit: what a micro-batch's rows divide by."""
  loss = make_loss(model_cfg, cfg, mixture)
  update = steps_lib.make_update(loss, tx, mixture.bias_rate)
  empty, used = empty_step(batch, cfg, microbatches)
  placed = place((empty, np.zeros(microbatches, np.float32)))
  jitted = jax.jit(update, donate_argnums=0)
  return memory.fitted(jitted, state, placed, used, row_tokens=batch.row_tokens, unit=unit)


def rollout_metrics(scored: Scored, cfg: grpo.GrpoConfig) -> dict[str, float]:
  """reward/*, verdict/*, response/*, group/* and sampler/* of one rollout.

  Where no old log-probabilities were scored, sampler/logp_gap is the update's.
  """
  samples = scored.samples
  spread_Q = np.any(np.reshape(scored.advantage_B, (-1, cfg.group)) != 0, axis=1)
  found = combine.metrics(scored.rewards)
  if drafted := sum(s.drafted for s in samples):
    found["sampler/accepted"] = sum(s.accepted for s in samples) / drafted
  return found | {
    "response/length": float(np.mean([s.length for s in samples])),
    "response/truncated": float(np.mean([s.response.truncated for s in samples])),
    "group/informative": float(np.mean(spread_Q)),
    **({} if scored.old is None else {"sampler/logp_gap": logp_gap(samples, scored.old)}),
  }


def logp_gap(samples: Sequence[rollout.Sample], old: Sequence[np.ndarray]) -> float:
  """The largest distance between the sampler's and the trainer's log-probability of one token.

  Of tokens that this rollout's policy drew: between older ones and it, the policy moved.
  """
  both = zip(samples, old, strict=True)
  gaps = [(logp[s.prompt_length :] - s.logp)[s.carried :] for s, logp in both]
  return float(max(np.abs(gap).max() for gap in gaps if len(gap)))


def throughput(drawn: int, read: int, seconds: dict, model_cfg, rate: float) -> dict[str, float]:
  """Tokens per second of sampling and of learning; mfu is of `rate`, measured on all devices.

  drawn: tokens of this rollout. read: tokens that the updates ran, a prompt once where answers
  share it; each is 6 FLOPs for every weight that it meets (`floor.active`).
  """
  work = 6 * floor.active(model_cfg) * read
  return {
    "throughput/sample_tokens_per_s": drawn / seconds["time/sample_s"],
    "throughput/train_tokens_per_s": read / seconds["time/update_s"],
    "throughput/mfu": work / seconds["time/update_s"] / rate,
  }


def records(scored: Scored, step: int) -> Iterator[dict]:
  """One line of samples.jsonl per sample: the text with every reward part and the verdict."""
  rewards = scored.rewards
  for i, s in enumerate(scored.samples):
    yield {
      "step": step,
      "id": s.question.id,
      "sample": s.number,
      "prompt": s.question.prompt,
      "answer": s.question.answer,
      "response": s.response.text,
      "tokens": s.length,
      "truncated": s.response.truncated,
      "verdict": rewards.verdicts[i],
      "reward": rewards.total[i],
      "parts": {name: column[i] for name, column in rewards.parts.items()},
      "advantage": float(scored.advantage_B[i]),
    }
