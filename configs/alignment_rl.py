"""RL for all scenarios: reasoning and general prompts together (arXiv 2501.12948v2 section 3.2.2).

  python -m experiments.alignment_rl \
    --config=configs/alignment_rl.py:tiny,model=runs/dev3,rewards=runs/preference --workdir=runs/r1

`model=` is the workdir of the second SFT, `rewards=` that of the preference stage with its two
reward models. `paper` has the paper's numbers; `model=MODEL` without a size is a start for one
accelerator on questions and general prompts of one's own (`--config.data.questions=FILE`,
`--config.data.general=FILE`).
"""

import ml_collections

from configs import common, r1_zero, reasoning_rl


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
  """Settings after the colon: tiny, smoke, paper, model=MODEL, rewards=DIR, language=WEIGHT,
  lora=RANK, seed=N."""
  sizes = {"tiny": False, "smoke": False, "paper": False}
  a = common.parse(arg, **sizes, model="", rewards="", language=1.0, lora=0, seed=0)
  file = "configs/alignment_rl.py"
  c = common.choose(a, file, tiny=tiny, smoke=smoke, paper=paper, small=small)
  c.rewards = a.rewards
  return c


def tiny(a) -> ml_collections.ConfigDict:
  """Two CPU cores: 112 updates, the general prompts in the last 64.

  A larger share than the paper's 400 of 1,700, which are 24 of 100: so few small updates would not
  be enough to hear the reward models.
  """
  c = reasoning_rl.tiny(a)
  c.update(
    {
      "data": {"general_count": 800},
      "rl": {"rollouts": 28, "temperature": ((0, 0.7),)},
      "reward": {"helpful": 1.0, "safety": 1.0},
    }
  )
  c.update(general_from(48))
  return c


def smoke(a) -> ml_collections.ConfigDict:
  """Two rollouts, the second one with general prompts."""
  c = ml_collections.ConfigDict(r1_zero.smoke(a))
  c.update({"data": {"general_count": 32}})
  c.update(general_from(2))
  return c


def small(a) -> ml_collections.ConfigDict:
  """Reasoning RL's sizes for one accelerator: 800 updates, general prompts in the last 200."""
  c = reasoning_rl.small(a)
  c.update(general_from(600))
  return c


def paper(a) -> ml_collections.ConfigDict:
  """1,700 updates at temperature 0.7, general prompts and preference rewards in the last 400.

  1,700 is no multiple of a rollout's 16 updates, so it is 106 rollouts: 1,696, the last 400 from
  update 1,296 on. The share of general prompts among them is not stated: half.
  """
  c = reasoning_rl.paper(a)
  c.update({"rl": {"rollouts": 106, "temperature": ((0, 0.7),)}})
  c.update(general_from(1_296))
  return c


def general_from(update: int) -> dict:
  """No general prompt and no preference reward before that update; half of the prompts after it."""
  late = ((0, 0.0), (update, 1.0))
  return {
    "rl": {"mixture": ((0, 0.0), (update, 0.5))},
    "reward": {"schedules": (("helpful", late), ("safety", late))},
  }


def sweep():
  """Preference rewards for too long (figure 6 of the paper), and none."""
  yield {"rl.mixture": ((0, 0.5),), "reward.schedules": ()}
  yield {"rl.mixture": ((0, 0.0),), "reward.schedules": ()}
