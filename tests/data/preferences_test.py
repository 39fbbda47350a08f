"""Pairs and labels: read whole or refused by line, held out by prompt, balanced in length."""

import dataclasses
import json

import pytest

from r1.data import preferences
from r1.data.worlds import general


def pair(i, *, prompt=None, unseen=False):
  return preferences.Pair(
    id=f"p{i}", prompt=prompt or f"q{i}", chosen="yes", rejected="no", gap=1.5, unseen=unseen
  )


def label(i, said="safe", unseen=False):
  return preferences.Labelled(id=f"l{i}", prompt=f"q{i}", response="r", label=said, unseen=unseen)


def test_a_file_holds_pairs_and_labels_and_comes_back(tmp_path):
  path = tmp_path / "all.jsonl"
  preferences.write(path, [pair(1), label(1, "unsafe"), pair(2, unseen=True)])
  assert preferences.load(path) == ([pair(1), pair(2, unseen=True)], [label(1, "unsafe")])
  assert [p.name for p in tmp_path.iterdir()] == ["all.jsonl"]


def test_ids_are_the_lines_where_none_are_given(tmp_path):
  path = tmp_path / "own.jsonl"
  path.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")
  assert [p.id for p in preferences.load(path)[0]] == ["own/1"]


@pytest.mark.parametrize(
  ("row", "message"),
  [
    ({"prompt": "q", "chosen": "a"}, "no 'rejected'"),
    ({"prompt": "q", "response": "a"}, "no 'label'"),
    ({"prompt": "q", "response": "a", "label": "fine"}, "label='fine': wanted safe or unsafe"),
    ({"prompt": "q", "chosen": "a", "rejected": 3}, "rejected is 3, wanted a text"),
    ({"prompt": "q", "response": "a", "label": " "}, "label is ' ', wanted a text"),
    ({"prompt": " ", "chosen": "a", "rejected": "b"}, "prompt is ' ', wanted a text"),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "score": 1}, r"unknown keys \['score'\]"),
    ({"prompt": "q", "response": "a", "label": "safe", "unseen": 1}, "unseen is 1"),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "gap": "2"}, "gap is '2', wanted a number"),
  ],
)
def test_a_broken_line_is_told_by_file_and_line(tmp_path, row, message):
  path = tmp_path / "bad.jsonl"
  path.write_text("\n" + json.dumps(row) + "\n")
  with pytest.raises(ValueError, match=f"bad.jsonl:2: {message}"):
    preferences.load(path)


def test_a_policy_may_say_nothing(tmp_path):
  """Its end token came first: a judge has seen that answer, and a label is due to it."""
  records = [dataclasses.replace(pair(1), rejected=" "), dataclasses.replace(pair(2), chosen="")]
  silent = dataclasses.replace(label(1), response="")
  preferences.write(tmp_path / "all.jsonl", [*records, silent])
  found = preferences.load(tmp_path / "all.jsonl")
  assert found == (records, [silent])
  assert preferences.digest(found[0]) == preferences.digest(records)


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(ValueError, match=r"none\.jsonl: no such file"):
    preferences.load(tmp_path / "none.jsonl")


def test_equal_prompts_stand_on_one_side_and_the_unseen_are_never_learned():
  records = [pair(i, prompt=f"q{i % 50}", unseen=i % 50 == 3) for i in range(200)]
  train, held = preferences.hold_out(records, 0.3)
  assert len(train) + len(held) == 200
  assert not {r.prompt for r in train} & {r.prompt for r in held}
  assert not any(r.unseen for r in train)
  assert 30 < len(held) < 100
  assert preferences.hold_out(records, 0.0)[1] == [r for r in records if r.unseen]


def test_of_the_world_s_training_prompts_the_share_is_held_out():
  """They are those whose crc32 is not below the test split's share, so it cannot divide them."""
  records = [pair(i, prompt=q.prompt) for i, q in enumerate(general.prompts("train"))]
  _, held = preferences.hold_out(records, 0.15)
  assert len(held) / len(records) == pytest.approx(0.15, abs=0.03)


def test_nothing_left_to_learn_from_is_refused():
  with pytest.raises(ValueError, match="1 records leave none to learn from"):
    preferences.hold_out([pair(1, unseen=True)], 0.1)


@pytest.mark.parametrize(("labels", "counts"), [("ss", (2, 0)), ("u", (0, 1)), ("", (0, 0))])
def test_one_class_alone_is_refused_with_the_counts(labels, counts):
  records = [label(i, "safe" if x == "s" else "unsafe") for i, x in enumerate(labels)]
  with pytest.raises(ValueError, match=f"{counts[0]} answers are safe and {counts[1]} unsafe"):
    preferences.check_classes(records, "labels")
  preferences.check_classes([label(1), label(2, "unsafe")], "labels")


def test_pairs_are_dropped_until_the_lengths_are_comparable_by_hand():
  # Gaps 6, 4, 1, -1 of lengths (10, 4), (8, 4), (5, 4), (4, 5): 10 of 44, or .4545 of the mean
  # length. Without the first 4 of 30 (.267), without the second too 0 of 18.
  pairs, lengths = [pair(i) for i in range(4)], [(10, 4), (8, 4), (5, 4), (4, 5)]
  assert preferences.balance(pairs, lengths, 0.5) == (pairs, [])
  assert preferences.balance(pairs, lengths, 0.27) == (pairs[1:], pairs[:1])
  assert preferences.balance(pairs, lengths, 0.2) == (pairs[2:], pairs[:2])
  mirrored = [(b, a) for a, b in lengths]
  assert preferences.balance(pairs, mirrored, 0.27) == (pairs[1:], pairs[:1])


def test_a_pair_that_tilts_the_set_alone_does_not_tip_it_over():
  # Gaps 100 and eight times -2 of lengths (4, 6): without the first -16 of 80, a share of .4 the
  # other way, which no further drop changes.
  pairs, lengths = [pair(i) for i in range(9)], [(104, 4)] + [(4, 6)] * 8
  kept, dropped = preferences.balance(pairs, lengths, 0.3)
  assert (kept, dropped) == ([], pairs)
  assert preferences.balance(pairs, lengths, 0.4) == (pairs[1:], pairs[:1])


def test_balanced_pairs_and_none_at_all_stay():
  assert preferences.balance([], [], 0.1) == ([], [])
  assert preferences.balance([pair(1), pair(2)], [(5, 3), (3, 5)], 0.0)[1] == []


def test_a_digest_is_of_the_contents_and_their_order():
  one, other = preferences.digest([pair(1), pair(2)]), preferences.digest([pair(2), pair(1)])
  assert len(one) == 64
  assert one != other
  assert one == preferences.digest([pair(1), pair(2)])
