"""R1-Zero: reinforcement learning with rule rewards alone, straight on a base model.

  python -m experiments.r1_zero --config=configs/r1_zero.py:tiny --workdir=runs/zero

arXiv 2501.12948 section 2.2. The same command again continues from the last checkpoint.
"""

import pathlib

from r1.stages import course, finish, iteration, reinforce
from r1.train import run as runs

TITLE = reinforce.Title(stage="r1_zero", before="base", after="R1-Zero")


def train(setup: reinforce.Setup, run: reinforce.Run) -> None:
  """All rollouts of GRPO: questions, answers and rewards, advantages, updates, checkpoint."""
  checkpointer, run = course.begin(setup, run)
  with course.bar(setup, run) as show:
    for number in range(run.rollouts, setup.stage.rl.rollouts):
      chosen = iteration.ask(setup, number)
      played = iteration.sample(run, chosen, setup, number)
      scored = iteration.score(run, played, setup, number)
      run, learned = iteration.learn(run, scored, setup, number)
      run = iteration.advance(run, played, setup, number)
      values = iteration.note(played, scored, learned, setup, number)
      course.keep(checkpointer, run, values, setup)
      show(run.rollouts, values)
  course.finish(checkpointer, run, setup)


def main(config, folder: pathlib.Path) -> None:
  if finish.already(folder, TITLE.stage, config.to_dict()):
    return
  with reinforce.opened(TITLE, config, folder) as (setup, run):
    train(setup, run)


if __name__ == "__main__":
  runs.stage(main)
