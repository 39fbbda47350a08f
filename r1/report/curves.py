"""The curves of a run as one picture."""

import pathlib
from collections.abc import Sequence

Panels = Sequence[tuple[str, tuple[str, ...]]]  # (title, the metrics that it shows)

RL: Panels = (
  ("accuracy and format", ("reward/accuracy", "reward/format")),
  ("answer length (tokens)", ("response/length",)),
  ("share of thoughts that check themselves", ("think/checked",)),
  ("share of thoughts that mix languages", ("think/mixed",)),
  ("wrong steps caught, false alarms", ("think/caught", "think/false_alarm")),
  ("entropy (nats per token)", ("policy/entropy",)),
)
ALIGNED: Panels = (
  *RL,
  ("scores of the reward models", ("reward/helpful", "reward/safety")),
  ("KL from the reference (nats per token)", ("policy/kl",)),
)
SFT: Panels = (
  ("loss (nats)", ("sft/loss", "eval/loss")),
  ("next-token accuracy", ("sft/accuracy", "eval/accuracy")),
  ("norm of the gradient", ("policy/grad_norm",)),
  ("learning rate", ("policy/learning_rate",)),
)
REWARD_MODEL: Panels = (
  ("loss (nats)", ("reward_model/loss",)),
  ("accuracy", ("reward_model/accuracy", "eval/accuracy", "eval/accuracy_unseen")),
  ("score of chosen above rejected, of the right class above 0", ("reward_model/gap",)),
  ("norm of the gradient", ("policy/grad_norm",)),
)


def draw(records: Sequence[dict], panels: Panels, path: pathlib.Path, title: str) -> None:
  """Draws the panels in two rows from the records of metrics.jsonl; x is the number of updates."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  columns = -(-len(panels) // 2)
  size = (4 + 3 * columns, 6.5)  # inches
  figure, axes = pyplot.subplots(2, columns, figsize=size, constrained_layout=True)
  for axis, (name, keys) in zip(axes.flat, panels):
    for key in keys:
      points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
      if points:
        # Looks at what was held out are few: dots show where they were taken.
        axis.plot(*zip(*points), "o-" if key.startswith("eval/") else "-", label=key, linewidth=1.4)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("updates")
    axis.grid(alpha=0.3)
    if len(axis.lines) > 1:
      axis.legend(fontsize=8)
  figure.suptitle(title)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)
