"""Distillation of a student of a few thousand parameters: a run of seconds, for tests."""

import ml_collections

from configs import distill as recipe
from experiments import distill
from tests.experiments import runs, tiny_sft

CHANGES = tiny_sft.CHANGES | {"base.pretrain.vocabulary": 384}


def config(**changes):
  """The tiny recipe, made tinier; its base reads sums alone."""
  made = recipe.get_config("tiny")
  made.base.general = ml_collections.ConfigDict()
  return runs.changed(made, CHANGES, **changes)


def start(made, folder):
  """What `python -m experiments.distill` does, in this process."""
  distill.main(made, folder)
  return folder
