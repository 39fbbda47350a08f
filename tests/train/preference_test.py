"""Which pairs and labels a reward model learns from, and when."""

import numpy as np
import pytest

from r1.data import preferences
from r1.train import preference
from tests.train import tiny

SETTINGS = {
  "seed": 0,
  "template": "short",
  "epochs": 2,
  "examples": 4,
  "row_tokens": 32,
  "microbatch_tokens": 64,
  "score_tokens": 128,
  "eval_every": 2,
  "checkpoint_every": 4,
  "keep": 1,
  "patience": 5,
}


def config(**changes):
  return preference.PreferenceConfig(**SETTINGS | changes)


def test_the_number_of_updates_by_hand():
  assert preference.total_steps(config(), 9) == 2 * 3
  assert preference.total_steps(config(), 8) == 2 * 2


def test_records_become_items_with_their_sides():
  pair = preferences.Pair(id="p", prompt="1 + 1 ?", chosen="<think>a</think>2", rejected="3")
  safe = preferences.Labelled(id="s", prompt="1 + 1 ?", response="<think>a</think>2", label="safe")
  bad = preferences.Labelled(id="u", prompt="1 + 1 ?", response="3", label="unsafe")
  given = tiny.tokenizer(), config(), 64
  (item,), places = preference.items("helpful", [pair], *given)
  assert [side for _, side in item] == [1, -1]
  assert [tiny.tokenizer().decode(ids)[-1] for ids, _ in item] == ["2", "3"]
  assert places == [0]
  labelled, _ = preference.items("safety", [safe, bad], *given)
  assert [[side for _, side in item] for item in labelled] == [[1], [-1]]
  assert "a" in tiny.tokenizer().decode(labelled[0][0][0])
  assert len(preference.sequences([item, *labelled])) == 4


@pytest.mark.parametrize(("row", "context"), [(32, 256), (256, 32)])
def test_what_is_longer_than_a_row_or_the_context_is_left_out(row, context):
  records = [
    preferences.Pair(id=str(i), prompt="1 ?", chosen="2 " * size, rejected="3")
    for i, size in enumerate((3, 90, 4))
  ]
  cfg = config(row_tokens=row, microbatch_tokens=2 * row)
  items, places = preference.items("helpful", records, tiny.tokenizer(), cfg, context)
  assert places == [0, 2]
  assert max(len(ids) for item in items for ids, _ in item) <= 32
  assert all(isinstance(ids, np.ndarray) for item in items for ids, _ in item)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"template": "chatml"}, "unknown template 'chatml'"),
    ({"examples": 0}, "examples=0 must be >= 1"),
    ({"checkpoint_every": 3}, "checkpoint_every=3 must be a multiple of eval_every=2"),
    ({"microbatch_tokens": 32}, "an item of 2 sequences may need 2"),
    ({"microbatch_tokens": 33}, "microbatch_tokens"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    config(**changes)
