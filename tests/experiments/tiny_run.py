"""R1-Zero on a model of a few thousand parameters: a run of seconds, for the tests."""

from configs import r1_zero as recipe
from experiments import r1_zero
from tests.experiments import runs

CHANGES = {
  "base.model.D": 16,
  "base.model.F": 32,
  "base.model.H": 4,
  "base.model.N": 2,
  "base.model.K": 8,
  "base.model.stacks": (("dense", 1),),
  "base.model.context": 96,
  "base.model.attention_block": 32,
  "runtime.attention_block": 32,
  "base.world.terms": ((2, 0.5), (3, 0.5)),
  "base.pretrain.steps": 30,
  "base.pretrain.rows": 8,
  "base.pretrain.row_tokens": 128,
  "base.pretrain.tokenizer_documents": 300,
  "base.optimizer.warmup": 2,
  "data.count": 64,
  "data.terms": ((2, 0.5), (3, 0.5)),
  "rl.rollouts": 3,
  "rl.questions_per_rollout": 4,
  "rl.limit": ((0, 24),),
  "rl.checkpoint_every": 1,
  "grpo.group": 4,
  "grpo.max_tokens": 24,
  "batch.row_tokens": 96,
  "batch.microbatch_tokens": 192,
  "batch.minibatches": 2,
  "sampler.slots": 16,
  "reward.own": (("tests.experiments.own:varied", 1.0),),
  "optimizer.warmup": 1,
  "eval.questions": 16,
  "eval.wide": 4,
  "eval.samples": 2,
  "eval.limit": 24,
}


def config(**changes):
  """The tiny recipe, made tinier."""
  return runs.changed(recipe.get_config("tiny"), CHANGES, **changes)


def start(made, folder):
  """What `python -m experiments.r1_zero` does, in this process."""
  r1_zero.main(made, folder)
  return folder


def samples(folder):
  return (folder / "samples.jsonl").read_text()
