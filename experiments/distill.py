"""Distillation: a small base learns a reasoner's answers as text (arXiv 2501.12948 section 2.4).

  python -m experiments.distill --config=configs/distill.py:tiny,data=runs/harvest \
    --workdir=runs/student

The paper's six students are SFT on the conversations of the second SFT, without RL. A student's
tokenizer may be another than its teacher's: conversations are text, and its own encodes them. Those
longer than a row are left out with a count. Beyond the paper, `distill.logits` adds the next-token
distribution of a teacher with the student's tokenizer. The same command again continues from the
last checkpoint.
"""

import functools
import pathlib

from r1.algorithms import distill
from r1.data import conversations
from r1.data.worlds import arithmetic
from r1.stages import dataset, finish, imitate
from r1.train import run, sft, students


def read(config) -> sft.SftConfig:
  """The run's settings; a wrong one is refused before any compute."""
  cfg = imitate.read(config)
  distill.DistillConfig(**config.distill)
  students.StudentConfig(**config.student)
  if not config.base and not (config.model and config.data.file):
    raise ValueError("this config has neither base nor conversations: add model=MODEL,data=FILE")
  return cfg


def find_conversations(config, cfg: sft.SftConfig):
  """(train, held out): what a teacher has written, or solutions made from the embedded world."""
  data = config.data
  if data.file:
    dataset.check(data.file, config.model or "the student", template=cfg.template, tokenizer=None)
    return conversations.hold_out(dataset.read(data.file), data.share)
  own: dict = {"terms": tuple(data.terms), "languages": tuple(data.languages)}
  world = arithmetic.World(**(dict(config.base.world) | own))
  made = conversations.from_world(world, count=data.count, seed=cfg.seed)
  return conversations.hold_out(made, data.share)


def find_learner(config, cfg: sft.SftConfig, at: imitate.Session) -> imitate.Learner:
  """The student, made of its base, and its teacher where that takes part itself."""
  model, parents = imitate.find_model(config, cfg, at)
  student = students.prepare(model, students.StudentConfig(**config.student), mesh=at.mesh)
  guided = distill.DistillConfig(**config.distill)
  if not guided.teacher:
    return imitate.plain(student, parents)
  teacher, more = students.teacher(
    guided.teacher,
    student,
    dict(config.runtime) | {"rules": at.rules},
    dtype=config.weights,
    mesh=at.mesh,
    say=at.console.print,
  )
  return imitate.Learner(
    model=student,
    parents=parents | more,
    make_loss=functools.partial(distill.make_loss, teacher.cfg, guided),
    fixed=(teacher.params,),
  )


def main(config, folder: pathlib.Path) -> None:
  cfg = read(config)
  if finish.already(folder, "distill", config.to_dict()):
    return
  with imitate.session(config, cfg.batch.rows) as at:
    train, held = find_conversations(config, cfg)
    parents = dataset.parents(config.data.file)
    data = imitate.Data(train=train, held=held, parents=parents, counts={})
    setup, state = imitate.build("distill", config, cfg, data, folder, at, find_learner)
    imitate.train(setup, state)


if __name__ == "__main__":
  run.stage(main)
