"""Times GRPO steps of google-tunix, or its sampler alone, on a tiny random Qwen2.

  PEER/bin/python -m experiments.peers.tunix_grpo [--lengths=geometric --cap=1024] [--sampler-only]

A step: the "vanilla" rollout of all answers, log-probabilities under the reference (unless --kl=0),
rewards, one update of all rows at once. It is timed from the rewards of one step to those of the
next, which is an update and a rollout. Uneven lengths: the sampler's hook for choosing a token is
overridden so that the end of text is impossible before an answer's length and certain after it. As
the end is not counted by the learner, an answer costs a decoding step more than it has tokens, up
to the cap.
"""

import os
import sys
import time

from experiments.peers import work as peers
from r1.data import synthetic
from r1.train import turns

# What the installed version needs to be told before it is imported.
ENVIRONMENT = {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}


class Words:
  """A tokenizer of ids written as numbers; the sampler puts BOS in front itself."""

  def __init__(self, eos: int):
    self.eos = eos

  def encode(self, text, **_):
    return [int(word) for word in text.split()]

  def decode(self, ids, **_):
    return " ".join(str(int(i)) for i in ids)

  def bos_id(self):
    return peers.BOS

  def eos_id(self):
    return self.eos

  def pad_id(self):
    return peers.PAD


def force(lengths) -> None:
  """From now on, row b of every batch ends after lengths[b] tokens."""
  import jax.numpy as jnp
  from tunix.generate import sampler

  class Forced(sampler.Sampler):
    def _sample(self, logits, eos, cache, sampler_state):
      drawn = sampler_state.decoding_step + 1 - sampler_state.num_input_tokens
      over = (drawn >= jnp.asarray(lengths))[:, None, None]
      ids = jnp.arange(logits.shape[-1])[None, None]
      wanted = jnp.where(over, ids == peers.EOS, ids >= synthetic.CONTROL)
      logits = jnp.where(wanted, logits[:, -1:], -jnp.inf)
      return super()._sample(logits=logits, eos=eos, cache=cache, sampler_state=sampler_state)

  sampler.Sampler = Forced


def make_model(given, mesh):
  """(make(seed), config) of Qwen2 with these sizes and a tied table."""
  import jax.numpy as jnp
  from flax import nnx
  from tunix.models.qwen2 import model as qwen2

  dtype = getattr(jnp, given.dtype)
  cfg = qwen2.ModelConfig(
    num_layers=given.layers,
    vocab_size=given.V,
    embed_dim=given.D,
    hidden_dim=given.F,
    num_heads=given.H,
    head_dim=given.D // given.H,
    num_kv_heads=given.N,
    rope_theta=10_000,
    norm_eps=1e-6,
    use_tied_embedding=True,
    dtype=dtype,
    param_dtype=dtype,
  )

  def make():
    with mesh:
      return qwen2.Qwen2(cfg, rngs=nnx.Rngs(params=given.seed))

  return make


def time_sampler(given, asked, model, rollout, lengths):
  """(seconds, tokens counted) of the sampler alone."""
  import jax
  from tunix.generate import sampler

  cache = sampler.CacheConfig(rollout.kv_cache_size, given.layers, given.N, given.D // given.H)
  draw = sampler.Sampler(model, Words(rollout.eos_tokens[0]), cache)
  seconds = []
  for repeat in range(given.warmup + given.steps):
    prompts = peers.texts(asked, repeat, given.V)
    started = turns.take(given.turns)
    out = draw(
      input_strings=[text for text in prompts for _ in range(asked.group)],
      max_generation_steps=rollout.max_tokens_to_generate,
      max_prompt_length=asked.prompt,
      temperature=1.0,
      top_p=1.0,
      eos_tokens=rollout.eos_tokens,
      seed=jax.random.key(repeat),
      pad_output=False,
    )
    seconds.append(time.perf_counter() - started)
  return seconds[given.warmup :], sum(len(row) for row in out.tokens)


def time_steps(given, asked, make, mesh, rollout):
  """(seconds, tokens counted) of whole steps."""
  import jax
  import numpy as np
  import optax
  from flax import nnx
  from tunix.rl import rl_cluster as clusters
  from tunix.rl.grpo import grpo_learner

  starts, ends, counted, total = [], [], [], given.warmup + given.steps + 1

  def reward(prompts, completions, **_):
    # From here to the next rewards is one step: this rollout's update and the next rollout.
    ends.append(time.perf_counter())
    starts.append(turns.take(given.turns))
    words = [[int(word) for word in text.split()] for text in completions]
    counted.append(sum(map(len, words)))
    return [synthetic.even_share(row) for row in words]

  role = clusters.Role
  training = clusters.RLTrainingConfig(
    actor_optimizer=optax.adamw(given.lr),
    eval_every_n_steps=10**9,
    max_steps=total,
    mini_batch_size=asked.questions,
    train_micro_batch_size=asked.questions,
  )
  cluster = clusters.RLCluster(
    actor=make(),
    reference=make() if given.kl else None,
    tokenizer=Words(rollout.eos_tokens[0]),
    cluster_config=clusters.ClusterConfig(
      role_to_mesh=dict.fromkeys((role.ACTOR, role.REFERENCE, role.ROLLOUT), mesh),
      rollout_engine="vanilla",
      offload_to_cpu=False,
      training_config=training,
      rollout_config=rollout,
    ),
  )
  learner = grpo_learner.GRPOLearner(
    rl_cluster=cluster,
    reward_fns=reward,
    algo_config=grpo_learner.GRPOConfig(
      num_generations=asked.group, num_iterations=1, beta=given.kl, epsilon=0.2
    ),
  )
  batches = ({"prompts": np.array(peers.texts(asked, i, given.V))} for i in range(total))
  with mesh:
    learner.train(batches)
  jax.block_until_ready(nnx.state(cluster.actor_trainer.model, nnx.Param))
  return np.subtract(ends[1:], starts[:-1])[given.warmup :].tolist(), counted[-1]


def main() -> None:
  parser = peers.flags(__doc__)
  parser.add_argument("--sampler-only", action="store_true")
  given = parser.parse_args()
  cores, asked = peers.use_cores(given.threads), peers.asked(given)
  for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  import importlib.metadata

  import jax
  from flax import nnx
  from tunix.rl.rollout import base_rollout

  lengths = synthetic.lengths(asked)
  even = int(lengths.min()) == asked.cap
  if not even:
    force(lengths)
  axes = (jax.sharding.AxisType.Auto,) * 2
  mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=axes)
  make = make_model(given, mesh)
  rollout = base_rollout.RolloutConfig(
    max_tokens_to_generate=int(lengths.max()),
    max_prompt_length=asked.prompt,
    temperature=1.0,
    top_p=1.0,
    top_k=None,
    kv_cache_size=asked.prompt + int(lengths.max()) + 8,
    eos_tokens=[given.V if even else peers.EOS],  # beyond the vocabulary it is never drawn
  )
  model = make()
  params = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  if given.sampler_only:
    what, (seconds, counted) = "tunix sampler", time_sampler(given, asked, model, rollout, lengths)
  else:
    what, (seconds, counted) = "tunix GRPO", time_steps(given, asked, make, mesh, rollout)
  more = {"version": importlib.metadata.version("google-tunix"), "jax": jax.__version__}
  print(
    peers.record(what, given, params=params, seconds=seconds, counted=counted, cores=cores, **more)
  )
  sys.stdout.flush()


if __name__ == "__main__":
  main()
