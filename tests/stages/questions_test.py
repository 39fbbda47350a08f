"""Which questions a stage has, and which come when."""

import dataclasses

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


def load(verifier, said, **changes):
  given = {"loop": LOOP, "reward": STAGE.reward, "evaluation": EVAL} | changes
  return questions.load(DATA, tiny.WORLD, **given, verifier=verifier, say=said.append)


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
  assert set(found.dropped.values()) == {"cannot be read"}
  assert len(said) == len(found.dropped) == 4
  assert said[0] == f"left out: {next(iter(found.dropped))}: cannot be read"


def test_too_few_questions_are_refused():
  with pytest.raises(ValueError, match="questions_per_rollout=13, but 12 questions exist"):
    load(fakes.Verifier(), [], loop=dataclasses.replace(LOOP, questions_per_rollout=13))


def test_an_epoch_asks_every_question_once():
  given = questions.Questions(train=fakes.maths(12), held=[], dropped={})
  asked = [questions.pick(given, LOOP, number) for number in range(6)]
  for epoch in (asked[:3], asked[3:]):
    assert sorted(i for chosen in epoch for i in chosen) == list(range(12))
  assert asked[:3] != asked[3:]
