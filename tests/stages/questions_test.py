"""Which questions a stage has, and which come when."""

import dataclasses
import json

import numpy as np
import pytest

from configs import r1_zero
from r1.data import split
from r1.stages import questions, reinforce
from tests.stages import fakes
from tests.train import tiny

STAGE = reinforce.read(r1_zero.get_config("tiny"))
LOOP = dataclasses.replace(STAGE.rl, questions_per_rollout=4)
DATA = split.DataConfig(
  **dataclasses.asdict(STAGE.data) | {"count": 12, "terms": ((2, 0.5), (3, 0.5))}
)
EVAL = dataclasses.replace(STAGE.eval, questions=4, wide=2)


def load(verifier, said, data=DATA, world=tiny.WORLD, **changes):
  given = {"loop": LOOP, "reward": STAGE.reward, "evaluation": EVAL} | changes
  return questions.load(data, world, **given, verifier=verifier, say=said.append)


def test_training_and_evaluation_share_no_prompt():
  found = load(fakes.Verifier(), said := [])
  assert (len(found.train), len(found.held), found.dropped, said) == (12, 4, {}, [])
  assert not {q.prompt for q in found.train} & {q.prompt for q in found.held}


def test_what_no_rule_can_judge_is_left_out_and_told():
  class Picky(fakes.Verifier):
    def faults(self, given):
      return {q.id: "cannot be read" for q in given[:2]}

  found = load(Picky(), said := [])
  assert (len(found.train), len(found.held)) == (10, 2)
  assert set((found.dropped | found.dropped_held).values()) == {"cannot be read"}
  assert len(said) == len(found.dropped | found.dropped_held) == 4
  assert found.counts == {
    "train": {"kept": 10, "dropped": {"cannot be read": 2}},
    "held_out": {"kept": 2, "dropped": {"cannot be read": 2}},
  }
  assert said[0] == f"left out: {next(iter(found.dropped))}: cannot be read"


def test_too_few_questions_are_refused():
  with pytest.raises(ValueError, match="questions_per_rollout=13, but 12 questions exist"):
    load(fakes.Verifier(), [], loop=dataclasses.replace(LOOP, questions_per_rollout=13))


# Which come when ---------------------------------------------------------------------------------


def test_an_epoch_asks_every_question_at_most_once_and_the_next_one_in_another_order():
  # 10 questions, 3 a rollout: three rollouts an epoch, one question left out of each.
  asked = [questions.draw(10, [3] * (n + 1), seed=4) for n in range(6)]
  for epoch in (asked[:3], asked[3:]):
    assert len({i for chosen in epoch for i in chosen}) == 9
  assert asked[:3] != asked[3:]
  assert questions.draw(10, [3], seed=5) != asked[0]
  assert questions.draw(10, [3], seed=4, stream=(2,)) != asked[0]


def test_the_order_of_a_run_is_what_it_was_before_there_were_mixtures():
  """Recorded: `permutation(10)` of the generators (4, 0) and (4, 1), three at a time."""
  orders = [np.random.default_rng((4, epoch)).permutation(10).tolist() for epoch in (0, 1)]
  for n in range(6):
    start = 3 * (n % 3)
    assert questions.draw(10, [3] * (n + 1), seed=4) == orders[n // 3][start : start + 3]


def test_where_the_size_changes_the_epoch_goes_straight_on():
  # 10 questions: 4, 4, then 2 are left for the third; the fourth begins another epoch.
  sizes = [4, 4, 2, 2]
  asked = [questions.draw(10, sizes[: n + 1], seed=0) for n in range(4)]
  assert sorted(i for chosen in asked[:3] for i in chosen) == list(range(10))
  assert len(asked[3]) == 2
  # 4, 4 leave 2, which are too few for 3.
  assert len(set(questions.draw(10, [4, 4, 3], seed=0))) == 3


def test_more_questions_than_there_are_is_refused():
  with pytest.raises(ValueError, match="11 of 10 questions asked in one rollout"):
    questions.draw(10, [11], seed=0)


def test_general_prompts_come_by_the_mixture_and_reasoning_ones_go_on():
  """Two updates a rollout: half of the questions are general from update 4, a quarter from 8."""
  loop = dataclasses.replace(LOOP, mixture=((0, 0.0), (4, 0.5), (8, 0.25)))
  train = fakes.maths(8) + fakes.maths(6, kind="helpful")
  given = questions.Questions(train, 6, [], {}, {})
  asked = [questions.pick(given, loop, n, updates=2) for n in range(6)]
  general = [[i for i in chosen if i >= 8] for chosen in asked]
  assert [len(chosen) for chosen in asked] == [4] * 6
  assert [len(chosen) for chosen in general] == [0, 0, 2, 2, 1, 1]
  assert sorted(i for chosen in general for i in chosen) == list(range(8, 14)), (
    "an epoch of the general ones"
  )
  assert sorted(i for chosen in asked[:2] for i in chosen) == list(range(8))
  again = questions.pick(given, loop, 4, updates=2)
  assert again == asked[4], "no memory: (seed, number) is all"
  assert len(set(questions.pick(given, dataclasses.replace(loop, seed=9), 4, updates=2))) == 4
  assert questions.pick(given, dataclasses.replace(loop, seed=9), 4, updates=2) != again


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_rollout_s_questions_are_divided_to_the_last(share):
  # 4 a rollout.
  assert questions.divide(LOOP, share) == (4 - 4 * share, 4 * share)


def test_general_prompts_are_read_only_where_the_mixture_asks_for_them(tmp_path):
  missing = dataclasses.replace(DATA, general=str(tmp_path / "none.jsonl"))
  assert load(fakes.Verifier(), [], data=missing).general == 0
  mixed = dataclasses.replace(LOOP, mixture=((0, 0.5),))
  with pytest.raises(ValueError, match=r"none\.jsonl: no such file"):
    load(fakes.Verifier(), [], data=missing, loop=mixed)


def test_general_prompts_of_the_world_stand_behind_the_reasoning_ones():
  judged = dataclasses.replace(STAGE.reward, general=(("tests.experiments.own:varied", 1.0),))
  mixed = dataclasses.replace(LOOP, mixture=((0, 0.0), (8, 0.5)))
  data = dataclasses.replace(DATA, general_count=30)
  found = load(fakes.Verifier(), [], data=data, loop=mixed, reward=judged)
  assert (found.reasoning, found.general) == (12, 30)
  assert {q.kind for q in found.train[:12]} == {"maths"}
  assert {q.kind for q in found.train[12:]} <= {"helpful", "safety"}
  assert {q.language for q in found.train[12:]} == {"en"}, "as data.languages has it"
  assert not any(q.meta["unseen"] for q in found.train[12:])
  with pytest.raises(ValueError, match=r"a rollout asks 2 general questions .*, but 1 exist"):
    load(
      fakes.Verifier(),
      [],
      data=dataclasses.replace(data, general_count=1),
      loop=mixed,
      reward=judged,
    )


def test_a_model_of_another_world_needs_general_prompts_of_its_own(tmp_path):
  path = tmp_path / "own.jsonl"
  rows = [{"prompt": f"what is {i} + 1 ?", "answer": str(i + 1)} for i in range(40)]
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  data = dataclasses.replace(DATA, questions=str(path), share=0.3, general_count=30)
  given = {"data": data, "world": None, "evaluation": dataclasses.replace(EVAL, wide=1)}
  assert load(fakes.Verifier(), [], **given).general == 0, "no mixture asks for any"
  mixed = dataclasses.replace(LOOP, mixture=((0, 0.0), (8, 0.5)))
  with pytest.raises(ValueError, match=r"asks for general prompts.*config\.data\.general=FILE"):
    load(fakes.Verifier(), [], **given, loop=mixed)
