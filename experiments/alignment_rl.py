"""RL for all scenarios: rules judge reasoning, reward models judge general prompts.

  python -m experiments.alignment_rl \
    --config=configs/alignment_rl.py:tiny,model=runs/dev3,rewards=runs/preference --workdir=runs/r1

arXiv 2501.12948v2 section 3.2.2 and equations 8 to 10: the second SFT's model (Dev3) becomes R1.
General prompts, and with them the reward models, come in near the end, because a policy that is
trained on a learned reward for long learns to please it. The same command again continues from the
last checkpoint.
"""

import pathlib

from r1.stages import course, finish, iteration, reinforce
from r1.train import run as runs

TITLE = reinforce.Title(stage="alignment_rl", before="Dev3", after="R1")


def train(setup: reinforce.Setup, run: reinforce.Run) -> None:
  """All rollouts of GRPO: questions of both sorts, answers and rewards, advantages, updates."""
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
