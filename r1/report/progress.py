"""The live line of a run: a bar on a terminal, plain lines in a log."""

import contextlib
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

SHOWN = {
  "reward/accuracy": "accuracy",
  "reward/format": "format",
  "response/length": "length",
  "think/checked": "checked",
  "think/mixed": "mixed",
  "policy/entropy": "entropy",
}


def describe(values: dict) -> str:
  """The numbers a reader wants to see move."""
  return "  ".join(
    f"{label} {values[key]:.3g}" for key, label in SHOWN.items() if values.get(key) is not None
  )


@contextlib.contextmanager
def bar(console: rich.console.Console, total: int, done: int) -> Iterator[Callable]:
  """Gives show(done, values)."""
  if not console.is_terminal:
    yield lambda n, values: console.print(
      f"rollout {n}/{total}  {describe(values)}", soft_wrap=True
    )
    return
  columns = (
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    rich.progress.TextColumn("{task.description}"),
  )
  with rich.progress.Progress(*columns, console=console) as shown:
    task = shown.add_task("sampling the first rollout", total=total, completed=done)
    yield lambda n, values: shown.update(task, completed=n, description=describe(values))
