"""Few shapes: what the engine compiles, and how many prompts a prefill is padded to."""

import pytest

from r1.sampling import chunk
from r1.sampling import requests as requests_lib
from tests.sampling.engine_test import answer


@pytest.mark.parametrize(
  ("prompts", "slots", "rows"),
  [
    (1, 16, [1]),
    (2, 16, [1, 1]),
    (3, 16, [8]),
    (9, 16, [8, 1]),
    (12, 16, [8, 8]),
    (2, 2, [2]),
    (1, 1, [1]),
  ],
)
def test_a_lone_prompt_is_not_padded_to_eight(prompts, slots, rows, monkeypatch):
  shapes, whole = [], chunk.prefill

  def prefill(params, pool, token_BL, *rest, **kind):
    shapes.append(token_BL.shape[0])
    return whole(params, pool, token_BL, *rest, **kind)

  monkeypatch.setattr(chunk, "prefill", prefill)
  requests = [requests_lib.Request(f"q{i}", 0, 0, (i + 1, 2, 3), 2) for i in range(prompts)]
  answer(requests, slots=slots)
  assert shapes == rows


def test_nothing_compiles_after_the_second_rollout_while_answers_grow():
  """Lengths double and double again; the shapes are those of the first rollouts."""

  def rollout(number, limit):
    prompts = [tuple(range(1, 2 + i % 5)) for i in range(7)]
    requests = [
      requests_lib.Request(f"q{i}", 0, number, p, limit - i % 3) for i, p in enumerate(prompts)
    ]
    answer(requests, slots=8, chunk=4, cache_tokens=640, eos=(30,))
    return chunk.run._cache_size(), chunk.prefill._cache_size()

  rollout(0, 6)
  before = rollout(1, 7)
  assert rollout(2, 14) == before
  assert rollout(3, 40) == before
