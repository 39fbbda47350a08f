"""The picture of a run."""

import pathlib
import re

from PIL import Image

from r1.report import curves

ROOT = pathlib.Path(__file__).parents[2]


def test_a_run_becomes_one_picture_with_six_panels(tmp_path):
  records = [
    {"step": 0, "eval/greedy": 0.1},
    {"step": 4, "reward/accuracy": 0.2, "reward/format": 0.5, "policy/entropy": 1.0},
    {"step": 8, "reward/accuracy": 0.3, "think/checked": 0.1},
  ]
  curves.draw(records, tmp_path / "curves.png", "R1-Zero")
  with Image.open(tmp_path / "curves.png") as picture:
    assert picture.size == (13 * 110, 6.5 * 110)
    assert len(picture.convert("L").getcolors()) > 10, "something is drawn"
  assert len(curves.PANELS) == 6


def test_a_run_without_any_record_is_drawn_too(tmp_path):
  curves.draw([], tmp_path / "curves.png", "nothing yet")
  assert (tmp_path / "curves.png").stat().st_size > 1000


def test_every_curve_is_a_metric_that_the_library_writes():
  written = "".join(p.read_text() for p in (ROOT / "r1").rglob("*.py") if p.name != "curves.py")
  for _, keys in curves.PANELS:
    for key in keys:
      group, _, name = key.partition("/")
      assert re.search(rf'"{re.escape(key)}"|"{group}/{{|"{name}"', written), key
