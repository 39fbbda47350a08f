"""The card of a data set: what is in it, where it came from, and why the rest was left out."""

from collections.abc import Mapping, Sequence

Table = Sequence[tuple[str, int, float, float]]  # domain, samples, mean rounds, mean tokens

READ = """\
```python
import json
rows = [json.loads(line) for line in open("{file}", encoding="utf-8")]
```

```python
import tensorflow_datasets as tfds  # TensorFlow itself is not needed
rows = tfds.builder_from_directory("{tfds}").as_data_source(split="train")
```"""


def domains(rows: Sequence[dict]) -> Table:
  """One line for each domain and one for all, as arXiv 2501.12948v2 table 5 has them.

  A round is a turn of the user; tokens are those of whole conversations.
  """
  names = list(dict.fromkeys(row["meta"]["domain"] for row in rows))
  parts = [(name, [r for r in rows if r["meta"]["domain"] == name]) for name in names]
  return [_line(name, part) for name, part in [*parts, ("total", rows)]]


def _line(name: str, rows: Sequence[dict]) -> tuple[str, int, float, float]:
  rounds = [sum(m["role"] == "user" for m in row["messages"]) for row in rows]
  tokens = [row["meta"]["tokens"] for row in rows]
  return name, len(rows), sum(rounds) / len(rows), sum(tokens) / len(rows)


def card(
  title: str,
  rows: Sequence[dict],
  *,
  what: str,
  counts: Mapping[str, dict],
  reasons: Mapping[str, str],
  parents: Mapping[str, str],
  digests: Mapping[str, str],
  settings: Mapping[str, object],
  file: str,
  tfds: str,
) -> str:
  """README.md. counts: per part {"kept": n, "dropped": {reason: n}}; reasons: what they mean."""
  lines = [f"# {title}", "", what, "", "## What is in it", ""]
  lines += ["| domain | samples | avg rounds | avg tokens |", "| --- | --- | --- | --- |"]
  lines += [f"| {name} | {n:,} | {a:.1f} | {b:,.1f} |" for name, n, a, b in domains(rows)]
  lines += ["", "## What was left out", "", "| part | | answers |", "| --- | --- | --- |"]
  for part, count in counts.items():
    lines.append(
      f"| {part} | sampled or read | {count['kept'] + sum(count['dropped'].values()):,} |"
    )
    lines += [f"| {part} | {reasons[name]} | {n:,} |" for name, n in count["dropped"].items()]
    lines.append(f"| {part} | kept | {count['kept']:,} |")
  lines += ["", "## Where it comes from", "", "| parent | digest |", "| --- | --- |"]
  lines += [f"| `{name}` | `{digest[:16]}` |" for name, digest in parents.items()]
  lines += ["", "| setting | value |", "| --- | --- |"]
  lines += [f"| `{name}` | `{value}` |" for name, value in settings.items()]
  lines += ["", "| digest of | sha256 |", "| --- | --- |"]
  lines += [f"| {name} | `{digest}` |" for name, digest in digests.items()]
  return "\n".join([*lines, "", "## Reading it", "", READ.format(file=file, tfds=tfds), ""])
