"""The picture of a supervised run."""

import pathlib
import re

from PIL import Image

from r1.report import losses

ROOT = pathlib.Path(__file__).parents[2]


def test_a_run_becomes_one_picture_with_four_panels(tmp_path):
  records = [
    {"step": 0, "eval/loss": 2.0, "eval/accuracy": 0.1},
    {"step": 1, "sft/loss": 1.9, "policy/grad_norm": 3.0},
    {"step": 2, "sft/loss": 1.8, "policy/grad_norm": None},
    {"step": 2, "eval/loss": 1.7},
  ]
  losses.draw(records, tmp_path / "curves.png", "SFT")
  with Image.open(tmp_path / "curves.png") as picture:
    assert picture.size == (10 * 110, 6.5 * 110)
    assert len(picture.convert("L").getcolors()) > 10, "something is drawn"
  assert len(losses.PANELS) == 4


def test_a_run_without_any_record_is_drawn_too(tmp_path):
  losses.draw([], tmp_path / "curves.png", "nothing yet")
  assert (tmp_path / "curves.png").stat().st_size > 1000


def test_every_curve_is_a_metric_that_the_code_writes():
  paths = [p for top in ("r1", "experiments") for p in (ROOT / top).rglob("*.py")]
  written = "".join(p.read_text() for p in paths if p.name != "losses.py")
  for _, keys in losses.PANELS:
    for key in keys:
      name = key.partition("/")[2]
      assert re.search(rf'"({key}|{{prefix}}/{name}|sft/{name})"', written), key
