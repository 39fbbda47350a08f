"""The card of a model."""

from r1.report import card

LINEAGE = {
  "stage": "sft",
  "commit": "abc",
  "parents": {"runs/base": "0123456789abcdef"},
  "data": {"train": "fedcba9876543210", "held_out": "00"},
  "counts": {"train": {"kept": 7, "dropped": {"wrong": 2, "mixed": 1}}},
  "config": {"sft.epochs": 2, "sft.limit": [[0, 8]], "mesh.data": 1},
}


def test_a_card_tells_what_made_the_model_and_from_what():
  text = card.build("runs/sft", LINEAGE, {"eval/loss": 1.25, "policy/loss": 3.5})
  assert text.startswith("---\nlibrary_name: transformers\ntags:\n- r1\n- sft\n---\n")
  assert "- `runs/base`, digest `0123456789ab`" in text
  assert "| train | `fedcba987654` | 7 | 2 wrong, 1 mixed |" in text
  assert "| held_out | `00` | – | – |" in text
  assert "sft.epochs = 2\nsft.limit = [[0, 8]]\n" in text
  assert "mesh.data" not in text
  assert "| eval/loss | 1.25 |" in text
  assert "policy/loss" not in text
  assert 'from_pretrained("runs/sft/hf")' in text


def test_what_is_counted_under_another_name_than_its_data_set_is_shown_too():
  counts = LINEAGE["counts"] | {"rewritten": {"kept": 9, "dropped": {"wrong": 4}}}
  text = card.build("runs/dev1", LINEAGE | {"counts": counts}, {})
  assert "| held_out | `00` | – | – |\n| rewritten | – | 9 | 4 wrong |" in text


def test_numbers_stand_with_their_standard_errors():
  text = card.build("runs/sft", LINEAGE, {"eval/greedy": 0.5, "eval/greedy_se": 0.0125})
  assert "| eval/greedy | 0.5 ± 0.013 |" in text
  assert "eval/greedy_se" not in text


def test_the_limits_of_a_small_world_are_told_where_the_model_comes_from_one():
  assert card.OWN in card.build("runs/sft", LINEAGE, {})
  world = LINEAGE | {"config": {"base.world.slip": 0.1}}
  assert card.WORLD in card.build("runs/sft", world, {})


def test_a_model_without_parents_or_numbers_says_so():
  text = card.build("runs/base", LINEAGE | {"parents": {}}, {})
  assert "None: its weights were made here." in text
  assert "None were taken at the end of this stage." in text
