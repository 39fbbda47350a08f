"""The table of a chain: every model on the same questions (arXiv 2501.12948v2, tables 3 and 14).

A model's numbers are its evaluation's, {name: (mean, standard error)}; how often its answers are
more helpful than a rival's is computed here, of both models' answers to the same prompts.
"""

import json
import pathlib
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence

import rich.table

from r1.evals import general, winrate

Number = tuple[float, float]
NAMES = {
  "greedy": "accuracy, greedy",
  "accuracy": "accuracy",
  "length": "tokens",
  "consistency": "language",
  "format": "format",
  "readable": "readable",
  "readable_general": "readable, general",
  "helpfulness": "helpfulness",
  "win": "wins against {}",
  "win_unseen": "wins, unseen rules",
  "unsafe": "unsafe",
  "unsafe_unseen": "unsafe, unseen harm",
  "refusals": "safe refused",
}


def rows(
  homes: Sequence[tuple[str, pathlib.Path]], rival: str, valid: Collection[str]
) -> dict[str, dict[str, Number]]:
  """{model: its numbers}.

  homes: (what the model is called, workdir of its evaluation). rival: one of them. valid: those
  whose evaluation counts; the others have no numbers.
  """
  answers = {label: read_answers(home) if label in valid else [] for label, home in homes}
  return {
    label: numbers(home, answers[label], answers[rival]) if label in valid else {}
    for label, home in homes
  }


def numbers(home: pathlib.Path, ours: list[dict], theirs: list[dict]) -> dict[str, Number]:
  """An evaluation's, with the win rates on prompts that both have answered."""
  found = json.loads((home / "evaluation.json").read_text(encoding="utf-8"))
  for name, unseen in (("win", False), ("win_unseen", True)):
    sides = [[r for r in side if r["unseen"] == unseen] for side in (ours, theirs)]
    if any("helpfulness" in r for r in sides[0]) and sides[1]:
      found[name] = winrate.win_rate(general.pairs(*sides))
  return found


def read_answers(home: pathlib.Path) -> list[dict]:
  """The judged answers to general prompts."""
  text = (home / "answers.jsonl").read_text(encoding="utf-8")
  return [json.loads(line) for line in text.split("\n")[:-1]]  # a text may hold U+2028


def columns(found: Mapping[str, Mapping], rival: str) -> dict[str, str]:
  """{number: heading} of those that some model has; difficulties stand behind the accuracy."""
  there = {name for row in found.values() for name in row}
  terms = sorted(name for name in there if name.startswith("accuracy/"))
  names: dict[str, str] = {}
  for name, heading in NAMES.items():
    names[name] = heading.format(rival)
    if name == "accuracy":
      names |= {term: f"{term.partition('/')[2]} numbers" for term in terms}
  return {name: heading for name, heading in names.items() if name in there}


def cell(row: Mapping[str, Number], name: str) -> str:
  """A mean with its standard error; a dash where there is none."""
  if name not in row:
    return "–"
  mean, error = row[name]
  return f"{mean:.1f} ± {error:.1f}" if name == "length" else f"{mean:.3f} ± {error:.3f}"


def spread(row: Mapping[str, Sequence[float]], name: str) -> str:
  """The median of several seeds with the least and the greatest; a dash where there is none."""
  if name not in row:
    return "–"
  digits = 1 if name == "length" else 3
  each = statistics.median(row[name]), min(row[name]), max(row[name])
  return "{:.{d}f} ({:.{d}f}–{:.{d}f})".format(*each, d=digits)


def together(tables: Sequence[Mapping[str, Mapping[str, Number]]]) -> dict[str, dict[str, list]]:
  """{model: {number: its means by seed}} of the tables of several seeds.

  Raises ValueError where they do not have the same models with the same numbers.
  """
  kinds = [{label: sorted(row) for label, row in table.items()} for table in tables]
  for i, kind in enumerate(kinds):
    for label in kind.keys() | kinds[0].keys():
      if kind.get(label) != kinds[0].get(label):
        raise ValueError(
          f"table {i + 1} and table 1 differ in what they have of {label!r}; let every pipeline end"
        )
  return {
    label: {name: [table[label][name][0] for table in tables] for name in row}
    for label, row in tables[0].items()
  }


def page(found: Mapping[str, Mapping], rival: str, write: Callable[[Mapping, str], str]) -> str:
  """Markdown: a row for each model. write: `cell` or `spread`."""
  names = columns(found, rival)
  lines = ["| model | " + " | ".join(names.values()) + " |", "| --- " * (len(names) + 1) + "|"]
  for label, row in found.items():
    lines.append(f"| {label} | " + " | ".join(write(row, name) for name in names) + " |")
  return "\n".join(lines) + "\n"


def build(found: Mapping[str, Mapping[str, Number]], rival: str) -> rich.table.Table:
  """The means for a terminal, which is narrow: a column for each model."""
  table = rich.table.Table(title="the models of every stage; standard errors are in table.md")
  table.add_column("")
  for label in found:
    table.add_column(label, justify="right")
  for name, heading in columns(found, rival).items():
    table.add_row(heading, *(cell(row, name).split(" ")[0] for row in found.values()))
  return table
