"""PPO in the place of GRPO: the questions, rewards and answers of R1-Zero, and a value model.

  python -m experiments.ppo --config=configs/ppo.py:tiny --workdir=runs/ppo

arXiv 2501.12948v2 section A.3. The same command again continues from the last checkpoint.
"""

import pathlib

from r1.stages import actor_critic, course, finish, iteration, reinforce
from r1.train import run as runs

TITLE = reinforce.Title(stage="ppo", before="base", after="PPO")


def train(setup: reinforce.Setup, critic: actor_critic.Critic, run: reinforce.Run) -> None:
  """All rollouts: answers and rewards, values and advantages of tokens, two updates a minibatch."""
  checkpointer, run = course.begin(setup, run)
  with course.bar(setup, run) as show:
    for number in range(run.rollouts, setup.stage.rl.rollouts):
      chosen = iteration.ask(setup, number)
      played = iteration.sample(run, chosen, setup, number)
      scored = actor_critic.score(run, played, critic, setup, number)
      run, learned = actor_critic.learn(run, scored, critic, setup, number)
      run = iteration.advance(run, played, setup, number)
      values = iteration.note(played, scored.rollout, learned, setup, number, scored.metrics)
      course.keep(checkpointer, run, values, setup)
      show(run.rollouts, values)
  course.finish(checkpointer, run, setup)


def main(config, folder: pathlib.Path) -> None:
  if finish.already(folder, TITLE.stage, config.to_dict()):
    return
  with reinforce.opened(TITLE, config, folder, actor_critic.read) as (setup, run):
    train(setup, *actor_critic.build(config, setup, run))


if __name__ == "__main__":
  runs.stage(main)
