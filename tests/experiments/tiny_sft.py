"""Supervised fine-tuning of a model of a few thousand parameters: a run of seconds, for tests."""

from configs import sft as recipe
from experiments import sft
from tests.experiments import runs, tiny_run

CHANGES = {name: value for name, value in tiny_run.CHANGES.items() if name.startswith("base.")} | {
  "base.model.stacks": (("dense", 2),),
  "runtime.attention_block": 32,
  "base.model.attend": "einsum",  # compiles in half the time
  "runtime.attend": "einsum",
  "data.count": 24,
  "data.terms": ((2, 0.5), (3, 0.5)),
  "data.languages": (1.0, 0.0, 0.0, 0.0),
  "data.share": 0.3,
  "sft.epochs": 0,
  "sft.steps": 3,
  "sft.conversations": 7,
  "sft.row_tokens": 96,
  "sft.microbatch_tokens": 192,
  "sft.eval_every": 1,
  "sft.checkpoint_every": 1,
  "optimizer.warmup": 1,
}


def config(**changes):
  """The tiny recipe, made tinier."""
  return runs.changed(recipe.get_config("tiny"), CHANGES, **changes)


def start(made, folder):
  """What `python -m experiments.sft` does, in this process."""
  sft.main(made, folder)
  return folder
