"""The curves of a run as one picture."""

import pathlib
from collections.abc import Sequence

PANELS = (
  ("accuracy and format", ("reward/accuracy", "reward/format")),
  ("answer length (tokens)", ("response/length",)),
  ("share of thoughts that check themselves", ("think/checked",)),
  ("share of thoughts that mix languages", ("think/mixed",)),
  ("wrong steps caught, false alarms", ("think/caught", "think/false_alarm")),
  ("entropy (nats per token)", ("policy/entropy",)),
)


def draw(records: Sequence[dict], path: pathlib.Path, title: str) -> None:
  """Draws the panels from the records of metrics.jsonl; x is the number of updates."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(2, 3, figsize=(13, 6.5), constrained_layout=True)
  for axis, (name, keys) in zip(axes.flat, PANELS):
    for key in keys:
      points = [(r["step"], r[key]) for r in records if r.get(key) is not None]
      if points:
        axis.plot(*zip(*points), label=key, linewidth=1.4)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel("updates")
    axis.grid(alpha=0.3)
    if len(axis.lines) > 1:
      axis.legend(fontsize=8)
  figure.suptitle(title)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)
