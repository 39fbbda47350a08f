"""A model of a few thousand parameters, the small world, and samples as a rollout has them."""

import functools

import jax
import numpy as np

from r1.algorithms import grpo, minibatch
from r1.data import questions, responses
from r1.data.worlds import arithmetic
from r1.model import config, transformer
from r1.sampling import rollout
from r1.train import optimizer, pretrain, state
from tests.algorithms import rows
from tests.sampling import settings

MODEL = config.PLAIN | {
  "D": 16,
  "F": 32,
  "V": 384,
  "H": 4,
  "N": 2,
  "K": 8,
  "stacks": (("dense", 1),),
  "context": 64,
  "rope_base": 1e4,
  "norm_eps": 1e-6,
  "qkv_bias": True,
  "qk_norm": False,
  "tied": True,
  "dtype": "float32",
  "attend": "blockwise",
  "attention_block": 16,
  "logit_chunk": 64,
  "remat": "none",
  "rules": None,
}
WORLD = arithmetic.World(
  terms=((2, 0.5), (3, 0.5)),
  operands=(1, 9),
  test_share=0.2,
  languages=(1.0, 0.0, 0.0, 0.0),
  switching_english=1.0,
  behaviour_en=(0.2, 0.4, 0.4),
  behaviour_zh=(0.2, 0.4, 0.4),
  behaviour_switching=(0.2, 0.4, 0.4),
  slip=0.1,
  slip_switching=0.1,
  direct_ok=0.5,
  malformed=0.2,
  worked=0.2,
)
PRETRAIN = {
  "seed": 0,
  "steps": 20,
  "rows": 4,
  "row_tokens": 128,
  "vocabulary": 384,
  "tokenizer_documents": 300,
}
OPTIMIZER = {
  "learning_rate": 1e-2,
  "warmup": 0,
  "steps": 100,
  "final": 1.0,
  "b1": 0.9,
  "b2": 0.95,
  "eps": 1e-8,
  "weight_decay": 0.1,
  "clip": 1.0,
}
SAMPLER = settings.sampler(
  slots=8, prompt_bucket=16, chunk=4, cache_tokens=4096, layout="auto", in_flight=1
)


def model(**changes) -> config.ModelConfig:
  return config.ModelConfig(**(MODEL | {"ids": 384} | changes))


@functools.cache
def _drawn_params(cfg, seed):
  return state.initial_params(jax.random.key(seed), transformer.specs(cfg), None, None)


def params(cfg, seed=0):
  """Initial weights; XLA compiles a program for every drawing, so each is drawn once."""
  return jax.tree.map(lambda x: x, _drawn_params(cfg, seed))


def adam(**changes) -> optimizer.OptimizerConfig:
  return optimizer.OptimizerConfig(**(OPTIMIZER | changes))


def grpo_config(**changes) -> grpo.GrpoConfig:
  return rows.config(**({"group": 4, "normalise": "token", "max_tokens": 24} | changes))


def batch_config(
  row_tokens=64, rows=2, minibatches=2, share_prompts=True, fork=()
) -> minibatch.BatchConfig:
  return minibatch.BatchConfig(
    row_tokens=row_tokens,
    microbatch_tokens=row_tokens * rows,
    minibatches=minibatches,
    share_prompts=share_prompts,
    fork=fork,
  )


@functools.cache
def tokenizer():
  return pretrain.train_tokenizer(WORLD, pretrain.PretrainConfig(**PRETRAIN))


def sample(question, number, tokens, prompt_length, *, logp=None, truncated=False):
  """A sample with these tokens; the sampler's log-probabilities are 0 where not given."""
  length = len(tokens) - prompt_length
  return rollout.Sample(
    question=question,
    number=number,
    tokens=np.asarray(tokens, np.int32),
    prompt_length=prompt_length,
    logp=np.zeros(length, np.float32) if logp is None else np.asarray(logp, np.float32),
    response=responses.Response(text="", tokens=length, truncated=truncated),
  )


def random_samples(count, *, group=4, longest=24, seed=0):
  """Whole groups of random tokens, 1 to `longest` answer tokens behind prompts of 2 to 6."""
  rng = np.random.default_rng(seed)
  prompts = [rng.integers(4, 300, rng.integers(2, 7)) for _ in range(-(-count // group))]
  made = []
  for i in range(count):
    prompt, answer = prompts[i // group], int(rng.integers(1, longest + 1))
    question = questions.Question(id=f"q{i // group}", prompt="same for all", answer="1")
    tokens = np.concatenate([prompt, rng.integers(4, 300, answer)])
    made.append(sample(question, i % group, tokens, len(prompt), logp=-rng.random(answer)))
  return made


def question_numbers(samples, group=4):
  """question_B of whole groups in order."""
  return np.arange(len(samples)) // group


def drawn(weights, cfg, *, count=4, group=4, number=0, temperature=1.0, limit=24, sampler=SAMPLER):
  """A real rollout of `count` questions of the world."""
  return rollout.sample_groups(
    weights,
    arithmetic.questions(WORLD, "train", count=count, seed=1),
    tokenizer(),
    "short",
    group=group,
    rollout=number,
    limit=limit,
    cfg=cfg,
    sampler=sampler,
    temperature=temperature,
    seed=5,
  )
