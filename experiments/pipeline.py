"""The whole of R1 as one run: every stage in its own process, in order, with one table at the end.

  python -m experiments.pipeline --config=configs/pipeline.py:tiny --workdir=runs/r1
    [--from=STAGE] [--until=STAGE]

What is done is not done again, unless its settings or its parents have changed: then the old
workdir gets another name, NAME.stale-1. A stage that died goes on from its last checkpoint. Every
command is printed, and works by hand.
"""

import json
import pathlib
import shlex
import subprocess
import sys

import rich.console
from absl import flags

from r1.report import ancestry, stage_table
from r1.stages import chain
from r1.train import lineage, run


def step(link: chain.Link, root: pathlib.Path, lock: int, console: rich.console.Console) -> bool:
  """Brings one stage to its end; was there anything to do?

  Raises ValueError where a parent is not there, SystemExit with the code of a stage that failed.
  """
  say = lambda text, style="": console.print(text, style=style, markup=False, soft_wrap=True)
  for name in chain.parents(link):
    lineage.parent(root / name)
  there = chain.state(link, root)
  if there.done:
    say(f"{link.name}: finished, skipped", "dim")
    return False
  if there.stale:
    kept = chain.aside(root / link.name)
    say(f"{link.name}: made anew, what there was is in {kept}. What has changed:", "yellow")
    for line in there.stale:
      say(f"  {line}", "yellow")
  words = chain.command(link, root)
  shown = shlex.join(["python", *words[1:]])
  say(f"{link.name}: {'continued' if there.begun else 'begun'}\n  {shown}", "bold")
  code = subprocess.run(words, pass_fds=(lock,), check=False).returncode
  if code:
    say(f"{link.name} ended with {code}; this repeats it by hand:\n  {shown}", "bold red")
    sys.exit(code if code > 0 else 128 - code)
  if lineage.finished(root / link.name) is None:
    raise ValueError(f"{link.name} ended without {lineage.FINISHED}; this repeats it:\n  {shown}")
  return True


def report(config, every: list[chain.Link], root: pathlib.Path, console) -> None:
  """lineage.json and lineage.md of all that is there, table.json and table.md.

  A model that has changed since its evaluation has no numbers.
  """
  graph = chain.graph(every, root)
  run.put(root / "lineage.json", json.dumps(graph, indent=2, ensure_ascii=False) + "\n")
  run.put(root / "lineage.md", ancestry.page(graph))
  homes = [(label, root / f"eval_{name}") for label, name, _ in config.rows]
  valid = {label for label, home in homes if lineage.finished(home) and not lineage.changed(home)}
  rows = stage_table.rows(homes, config.rival, valid)
  told = {"rival": config.rival, "models": rows}
  run.put(root / "table.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
  run.put(root / "table.md", stage_table.page(rows, config.rival, stage_table.cell))
  if any(rows.values()):
    console.print(stage_table.build(rows, config.rival))
  for name in ("table.md", "table.json", "lineage.md", "lineage.json"):
    console.print(f"  {root / name}", soft_wrap=True)


def main(config, root: pathlib.Path, first: str | None = None, last: str | None = None) -> None:
  console = rich.console.Console()
  every = chain.links(config.stages)
  todo = chain.chosen(every, first, last)
  with chain.alone(root) as lock:
    ran = [link.name for link in todo if step(link, root, lock, console)]
    report(config, every, root, console)
  if not ran:
    console.print(f"{root}: all {len(todo)} stages are finished, there is nothing to do")


if __name__ == "__main__":
  flags.DEFINE_string("from", None, "the first stage to look at; those before it are taken as is")
  flags.DEFINE_string("until", None, "the last stage to look at")
  try:
    run.stage(lambda config, root: main(config, root, flags.FLAGS["from"].value, flags.FLAGS.until))
  except ValueError as error:
    sys.exit(f"experiments.pipeline: {error}")
