"""Supervised fine-tuning on conversations: the second SFT of R1, or one of your own.

  python -m experiments.sft --config=configs/sft.py:tiny --workdir=runs/sft

arXiv 2501.12948 sections 2.3.3 and 2.4. The same command again continues from the last
checkpoint, and the workdir is a model for `experiments.r1_zero` and `experiments.sample`.
"""

import pathlib

from r1.data import conversations
from r1.data.worlds import arithmetic
from r1.stages import dataset, finish, imitate
from r1.train import run, sft


def read(config) -> sft.SftConfig:
  """The run's settings; a wrong one is refused before any compute."""
  cfg = imitate.read(config)
  if not config.base and not (config.model and config.data.file):
    raise ValueError("this config has neither base nor conversations: add model=MODEL,data=FILE")
  return cfg


def find_conversations(config, cfg: sft.SftConfig):
  """(train, held out): a file's, those of a stage's workdir, or solutions of the world's sums."""
  data = config.data
  if data.file:
    return conversations.hold_out(dataset.read(data.file), data.share)
  own: dict = {"terms": tuple(data.terms), "languages": tuple(data.languages)}
  world = arithmetic.World(**(dict(config.base.world) | own))
  made = conversations.from_world(world, count=data.count, seed=cfg.seed)
  return conversations.hold_out(made, data.share)


def find_learner(config, cfg: sft.SftConfig, at: imitate.Session) -> imitate.Learner:
  """The model to train, which must read the conversations as they were made."""
  learner = imitate.find_learner(config, cfg, at)
  name, tokenizer = config.model or "the base", learner.model.tokenizer
  dataset.check(config.data.file, name, template=cfg.template, tokenizer=tokenizer)
  return learner


def main(config, folder: pathlib.Path) -> None:
  cfg = read(config)
  if finish.already(folder, "sft", config.to_dict()):
    return
  with imitate.session(config, cfg.batch.rows) as at:
    train, held = find_conversations(config, cfg)
    parents = dataset.parents(config.data.file)
    data = imitate.Data(train=train, held=held, parents=parents, counts={})
    setup, state = imitate.build("sft", config, cfg, data, folder, at, find_learner)
    imitate.train(setup, state)


if __name__ == "__main__":
  run.stage(main)
