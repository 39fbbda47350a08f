"""The stage tables of several pipelines, one for each seed, as one: medians, least and greatest.

python -m experiments.medians runs/r1-0 runs/r1-1 runs/r1-2
"""

import json
import pathlib
import sys
from collections.abc import Sequence

from absl import app

from r1.report import stage_table


def read(folder: pathlib.Path) -> dict:
  """The table that a pipeline left. Raises ValueError where there is none."""
  path = folder / "table.json"
  if not path.exists():
    raise ValueError(f"{folder} has no table.json; wanted the workdir of experiments.pipeline")
  return json.loads(path.read_text(encoding="utf-8"))


def main(folders: Sequence[str]) -> str:
  if not folders:
    raise ValueError("no workdir given; wanted those of experiments.pipeline, one for each seed")
  tables = [read(pathlib.Path(folder)) for folder in folders]
  found = stage_table.together([table["models"] for table in tables])
  return stage_table.page(found, tables[0]["rival"], stage_table.spread)


if __name__ == "__main__":
  try:
    app.run(lambda argv: print(main(argv[1:]), end=""))
  except ValueError as error:
    sys.exit(f"experiments.medians: {error}")
