"""Reasoning RL: rule rewards and language consistency, from the model that began in the open.

  python -m experiments.reasoning_rl --config=configs/reasoning_rl.py:tiny,model=runs/cold \
    --workdir=runs/dev2

arXiv 2501.12948v2 section 3.2.1: the cold start's model (Dev1) becomes Dev2. The reward is that of
R1-Zero and the share of the thought's words that are in the question's language. The same command
again continues from the last checkpoint.
"""

import pathlib

from r1.stages import course, finish, iteration, reinforce
from r1.train import run as runs

TITLE = reinforce.Title(stage="reasoning_rl", before="Dev1", after="Dev2")


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
  reinforce.check_parent(config, TITLE)
  if finish.already(folder, TITLE.stage, config.to_dict()):
    return
  with reinforce.opened(TITLE, config, folder) as (setup, run):
    train(setup, run)


if __name__ == "__main__":
  runs.stage(main)
