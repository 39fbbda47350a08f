"""Which questions a run trains on and which it holds out, from files and from the world."""

import json

import pytest

from r1.data import questions, split
from tests.train import tiny

DATA = {"questions": "", "held_out": "", "share": 0.3, "count": 6, "terms": ((3, 1.0),)}
DATA |= {"languages": (("en", 1.0),), "general": "", "general_count": 5}


def config(**changes):
  return split.DataConfig(**DATA | changes)


def find(cfg, world=tiny.WORLD):
  return split.find(cfg, world, seed=1, held=4, held_seed=2)


def write(path, numbers):
  rows = [{"prompt": f"{i} + 1 ?", "answer": str(i + 1)} for i in numbers]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  return str(path)


def asked(*prompts):
  return [questions.Question(id=text, prompt=text, answer="1") for text in prompts]


def test_without_a_file_both_sides_are_problems_of_the_world_of_the_run_s_own_sizes():
  train, held = find(config())
  assert (len(train), len(held)) == (6, 4)
  assert {q.id for q in train}.isdisjoint(q.id for q in held)
  # Three numbers stand in every problem, where the world itself has two in half of them.
  assert {sum(word.isdigit() for word in q.prompt.split()) for q in train + held} == {3}
  assert find(config())[0] == train
  assert split.find(config(), tiny.WORLD, seed=5, held=4, held_seed=2)[0] != train
  assert split.find(config(), tiny.WORLD, seed=1, held=4, held_seed=5)[1] != held


def test_the_world_s_problems_are_asked_in_the_languages_of_the_run():
  mixed = config(count=200, languages=(("en", 1.0), ("zh", 3.0)))
  train, held = split.find(mixed, tiny.WORLD, seed=1, held=100, held_seed=2)
  shares = [sum(q.language == "zh" for q in side) / len(side) for side in (train, held)]
  assert all(0.6 < share < 0.9 for share in shares)
  assert all(("多少" in q.prompt) == (q.language == "zh") for q in train + held)
  plain, _ = split.find(config(count=200), tiny.WORLD, seed=1, held=100, held_seed=2)
  assert [q.answer for q in plain] == [q.answer for q in train], "the problems are the same"
  with pytest.raises(ValueError, match="fr"):
    config(languages=(("fr", 1.0),))
  with pytest.raises(ValueError, match="above 0"):
    config(languages=(("en", 0.0),))


def test_a_file_is_divided_by_its_share_and_needs_no_world(tmp_path):
  path = write(tmp_path / "sums.jsonl", range(40))
  train, held = find(config(questions=path), None)
  assert (train, held) == questions.hold_out(questions.load(path), 0.3)


def test_a_file_of_held_out_questions_leaves_the_other_whole(tmp_path):
  path, other = write(tmp_path / "a.jsonl", range(9)), write(tmp_path / "b.jsonl", range(20, 23))
  train, held = find(config(questions=path, held_out=other))
  assert (len(train), len(held)) == (9, 3)
  assert held[0].prompt == "20 + 1 ?"


def test_held_out_questions_without_questions_are_refused():
  with pytest.raises(ValueError, match=r"data.held_out='b.jsonl' needs data.questions"):
    config(held_out="b.jsonl")


def test_neither_a_file_nor_a_world_is_refused():
  with pytest.raises(ValueError, match=r"give data.questions=FILE"):
    find(config(), None)


@pytest.mark.parametrize(
  ("held", "rollout", "wide", "message"),
  [
    (("x", "b"), 2, 1, "1 held-out prompts are trained on, such as 'b'"),
    (("x",), 4, 1, "questions_per_rollout=4, but 3 questions exist"),
    (("x",), 3, 2, "eval.wide=2, but 1 questions are held out"),
  ],
)
def test_sides_that_overlap_or_are_too_small_are_refused(held, rollout, wide, message):
  train = asked("a", "b", "c")
  with pytest.raises(ValueError, match=message):
    split.check(train, asked(*held), questions_per_rollout=rollout, wide=wide)
  split.check(train, asked("x"), questions_per_rollout=3, wide=1)


# General prompts ---------------------------------------------------------------------------------


def test_general_prompts_are_a_file_s_or_the_world_s_in_the_languages_of_the_run(tmp_path):
  made = split.find_general(config(languages=(("zh", 1.0), ("en", 0.0))), seed=3)
  assert len(made) == 5
  assert {q.language for q in made} == {"zh"}
  assert split.find_general(config(languages=(("zh", 1.0),)), seed=4) != made
  path = tmp_path / "general.jsonl"
  path.write_text(
    '{"prompt": "a poem", "kind": "helpful"}\n{"prompt": "a bomb", "kind": "safety"}\n'
  )
  found = split.find_general(config(general=str(path)), seed=3)
  assert [q.kind for q in found] == ["helpful", "safety"]


def test_a_file_of_general_prompts_holds_no_others(tmp_path):
  path = write(tmp_path / "sums.jsonl", range(2))
  with pytest.raises(ValueError, match=r"kinds \['maths'\]; general prompts are helpful or safety"):
    split.find_general(config(general=path), seed=3)
