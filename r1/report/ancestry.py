"""The lineage of a chain of stages as a page: who was made from whom, with digests and counts."""

from collections.abc import Mapping

SHOWN = 12  # hex digits of a digest: enough to tell two apart


def page(graph: Mapping[str, dict]) -> str:
  """Markdown: a drawing of the graph, a table of its links, a table of its data sets.

  graph: {name: {"stage", "argument", "commit", "parents", "data", "counts", "outputs"}}.
  """
  parts = ["# Lineage", drawing(graph), "## Stages", stages(graph), "## Data", data(graph)]
  return "\n\n".join(parts) + "\n"


def drawing(graph: Mapping[str, dict]) -> str:
  """The graph for a renderer of mermaid."""
  edges = [
    f'  {_node(parent)}["{parent}"] --> {_node(name)}["{name}"]'
    for name, link in graph.items()
    for parent in link["parents"]
  ]
  return "\n".join(["```mermaid", "graph TD", *edges, "```"])


def _node(name: str) -> str:
  return "".join(x if x.isalnum() else "_" for x in name)


def stages(graph: Mapping[str, dict]) -> str:
  """What every stage was made of and what it made, by digest."""
  lines = ["| workdir | stage | parents | made | commit |", "| --- | --- | --- | --- | --- |"]
  for name, link in graph.items():
    made = _named(link["outputs"]) if link["outputs"] else "not finished"
    cells = (name, link["stage"], _named(link["parents"]) or "–", made, link["commit"][:SHOWN])
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def data(graph: Mapping[str, dict]) -> str:
  """Every data set and every count; what was dropped by reason.

  A part that is counted may be of a data set with another name, and a data set need no counts.
  """
  lines = ["| workdir | data set | digest | kept | dropped |", "| --- | --- | --- | --- | --- |"]
  for name, link in graph.items():
    for item in link["data"] | link["counts"]:
      found = link["counts"].get(item, {})
      dropped = ", ".join(f"{n} {reason}" for reason, n in found.get("dropped", {}).items())
      digest = f"`{link['data'][item][:SHOWN]}`" if item in link["data"] else "–"
      cells = (name, item, digest, str(found.get("kept", "–")), dropped or "–")
      lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _named(digests: Mapping[str, str]) -> str:
  return "<br>".join(f"{name} `{digest[:SHOWN]}`" for name, digest in digests.items())
