"""The table at the end of a run: the base and the trained policy on held-out questions."""

from collections.abc import Sequence

import rich.table

NAMES = {
  "eval/greedy": "pass@1, greedy",
  "eval/pass@1_t0.6": "pass@1, T = 0.6",
  "eval/pass@1": "pass@1, T = 1",
  "eval/pass@1_any_format": "  the same, format ignored",
  "eval/format": "well-formed answers",
  "eval/length": "mean length in tokens",
  "eval/checked": "thoughts that check a step",
  "eval/caught": "wrong steps caught",
  "eval/announced": "  of these, said so",
  "eval/false_alarm": "right steps called wrong",
  "eval/mixed": "thoughts of two languages",
}


def wide(results: Sequence[dict]) -> dict[str, str]:
  """The rows of pass@k and of the majority among k, for whatever k > 1 was drawn."""
  keys = sorted({key for result in results for key in result if key.split("@")[-1].isdigit()})
  labels = {"eval/pass": "pass@{}, T = 1", "eval/cons": "majority of {}"}
  pairs = [(key, *key.split("@")) for key in keys if key != "eval/pass@1"]
  return {key: labels[kind].format(k) for key, kind, k in pairs}


def cell(result: dict, name: str) -> str:
  """A number, with its standard error where it has one."""
  if name not in result:
    return "–"
  if name == "eval/length":
    return f"{result[name]:.1f}"
  error = result.get(f"{name}_se")
  return f"{result[name]:.3f}" + ("" if error is None else f" ± {error:.3f}")


def build(title: str, columns: Sequence[tuple[str, dict]]) -> rich.table.Table:
  """One row per number, one column per policy."""
  table = rich.table.Table(title=title)
  table.add_column("")
  for name, _ in columns:
    table.add_column(name, justify="right")
  for key, label in (NAMES | wide([result for _, result in columns])).items():
    if any(key in result for _, result in columns):
      table.add_row(label, *(cell(result, key) for _, result in columns))
  return table
