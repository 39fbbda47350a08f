"""When a stage writes checkpoints; tests/experiments/r1_zero_test.py kills and resumes runs."""

import dataclasses

import pytest

from configs import r1_zero
from r1.stages import course, questions, reinforce
from tests.stages import fakes


@pytest.mark.parametrize(
  ("every", "total", "want"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 4, [4])]
)
def test_a_checkpoint_is_written_where_it_is_due_and_after_the_last_rollout(
  monkeypatch, tmp_path, every, total, want
):
  seen = fakes.watch(monkeypatch)
  stage = reinforce.read(r1_zero.get_config("tiny"))
  loop = dataclasses.replace(stage.rl, rollouts=total, checkpoint_every=every)
  stage = dataclasses.replace(stage, rl=loop)
  setup = fakes.setup(stage, questions.Questions([], 0, [], {}, {}), seen, tmp_path)
  for done in range(1, total + 1):
    course.keep(None, dataclasses.replace(fakes.run(), rollouts=done), {}, setup)
  assert seen.saved == want
