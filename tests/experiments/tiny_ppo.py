"""PPO on a model of a few thousand parameters: a run of seconds, for the tests."""

from configs import ppo as recipe
from experiments import ppo
from tests.experiments import runs, tiny_run

CHANGES = {name.replace("grpo.", "ppo."): value for name, value in tiny_run.CHANGES.items()} | {
  "value_optimizer.warmup": 1,
}


def config(**changes):
  """The tiny recipe, made tinier."""
  return runs.changed(recipe.get_config("tiny"), CHANGES, **changes)


def start(made, folder):
  """What `python -m experiments.ppo` does, in this process."""
  ppo.main(made, folder)
  return folder
