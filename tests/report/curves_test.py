"""The picture of a run."""

import pathlib
import re

import pytest
from PIL import Image

from r1.report import curves

ROOT = pathlib.Path(__file__).parents[2]
LINES = {
  "RL": [
    {"step": 0, "eval/greedy": 0.1},
    {"step": 4, "reward/accuracy": 0.2, "reward/format": 0.5, "policy/entropy": 1.0},
    {"step": 8, "reward/accuracy": 0.3, "think/checked": 0.1},
  ],
  "SFT": [
    {"step": 0, "eval/loss": 2.0, "eval/accuracy": 0.1},
    {"step": 1, "sft/loss": 1.9, "policy/grad_norm": 3.0},
    {"step": 2, "sft/loss": 1.8, "policy/grad_norm": None},
    {"step": 2, "eval/loss": 1.7},
  ],
}


def picture(path, records, panels):
  curves.draw(records, panels, path, "a run")
  with Image.open(path) as image:
    return image.size, image.tobytes()


@pytest.mark.parametrize(
  ("name", "count", "width"), [("RL", 6, 13), ("ALIGNED", 8, 16), ("SFT", 4, 10)]
)
def test_a_run_becomes_one_picture_of_its_panels(tmp_path, name, count, width):
  panels = getattr(curves, name)
  assert len(panels) == count
  lines = LINES["RL" if name == "ALIGNED" else name]
  size, drawn = picture(tmp_path / "curves.png", lines, panels)
  assert size == (width * 110, 6.5 * 110)
  _, empty = picture(tmp_path / "empty.png", [], panels)
  assert drawn != empty
  # Another stage's metrics are no curve of this one.
  other = [{"step": 1, "of/another": 1.0}, {"step": 2, "of/another": 2.0}]
  assert picture(tmp_path / "other.png", other, panels)[1] == empty


@pytest.mark.parametrize(
  ("panels", "pattern"),
  [
    (curves.ALIGNED, r'"{key}"|"{group}/{{'),
    (curves.SFT, r'"({key}|{{prefix}}/{name}|sft/{name})"'),
  ],
  ids=["ALIGNED", "SFT"],
)
def test_every_curve_is_a_metric_that_the_code_writes(panels, pattern):
  """Somewhere outside of the reports, whole or put together from its group and its name."""
  paths = [p for top in ("r1", "experiments") for p in (ROOT / top).rglob("*.py")]
  written = "".join(p.read_text() for p in paths if p.parent.name != "report")
  for _, keys in panels:
    for key in keys:
      group, _, name = key.partition("/")
      assert re.search(pattern.format(key=key, group=group, name=name), written), key
