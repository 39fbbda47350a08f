"""The curves of supervised training as one picture."""

import pathlib
from collections.abc import Sequence

PANELS = (
  ("loss (nats)", ("sft/loss", "eval/loss")),
  ("next-token accuracy", ("sft/accuracy", "eval/accuracy")),
  ("norm of the gradient", ("policy/grad_norm",)),
  ("learning rate", ("policy/learning_rate",)),
)


def draw(records: Sequence[dict], path: pathlib.Path, title: str) -> None:
  """Draws the panels from the records of metrics.jsonl; x is the number of updates."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(2, 2, figsize=(10, 6.5), constrained_layout=True)
  for axis, (name, keys) in zip(axes.flat, PANELS):
    for key in keys:
      points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
      if points:
        # The held-out numbers are few: dots show where they were taken.
        axis.plot(*zip(*points), "o-" if key.startswith("eval/") else "-", label=key, linewidth=1.4)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("updates")
    axis.grid(alpha=0.3)
    if len(axis.lines) > 1:
      axis.legend(fontsize=8)
  figure.suptitle(title)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)
