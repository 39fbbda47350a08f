"""Drafts by the layer of multi-token prediction: the right tokens, and the row's own noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.sampling import ahead
from tests.sampling import planted, settings, speculate_test


@pytest.mark.parametrize("draft_tokens", [1, 4])
def test_a_layer_that_knows_the_successor_is_right_every_time(draft_tokens):
  """However often it is applied to its own output."""
  out = speculate_test.guessed([[3, 9], [0]], "mtp", draft_tokens=draft_tokens, room=11, eos=(8,))
  assert out.token_BM[:2].tolist() == [planted.run(10, 11), planted.run(1, 11)]
  rounds = -(-10 // (1 + draft_tokens))
  assert out.accepted_B[:2].tolist() == [10 - rounds] * 2


def test_a_layer_that_predicts_what_the_model_does_draws_what_the_row_will():
  """Sampled and far from certain: with noise of its own it would guess one token in six.

  A lead of 2 nats over 15 others: the successor has probability .33, the rest .045 each, and two
  independent draws meet with .33^2 + 15 * .045^2 = .14.
  """
  prompts = [[i] for i in range(16)]
  given = {"temperature": 1.0, "eos": (16,), "room": 40, "draft_tokens": 3}
  args = planted.params(2.0), planted.CFG, prompts
  out = speculate_test.draw(*args, draft="mtp", **given)
  successors = planted.NEXT[out.token_BM[:, :-1]] == out.token_BM[:, 1:]
  assert 0.25 < successors.mean() < 0.4
  # The last forward's drafts may lie beyond the limit.
  assert (out.accepted_B >= out.drafted_B - 3).all()
  speculate_test.same(out, speculate_test.draw(*args, **given | {"draft_tokens": 1}))


def test_guesses_made_on_guesses_leave_nothing_in_the_cache():
  params, cfg = planted.params(40.0), planted.CFG
  sampler = settings.sampler(draft="mtp", draft_tokens=4)
  memory = ahead.start(jnp.zeros((2, 3), jnp.int32), 5, cfg)
  assert memory.length_B.tolist() == [0, 0]
  seen = []

  def pick(hidden_BLD, position_BL):
    seen.append(hidden_BLD.shape)
    return position_BL, None

  token_BL = jnp.array([[1, 2, 3], [4, 0, 0]], jnp.int32)
  position_BL = jnp.broadcast_to(jnp.arange(3, dtype=jnp.int32)[None], (2, 3))
  draft_BL, real_BL, memory = jax.jit(
    lambda memory: ahead.draft(
      params,
      memory,
      jnp.ones((2, 3, 16)),
      token_BL,
      position_BL,
      jnp.array([[1, 1, 1], [1, 0, 0]]),
      pick=pick,
      cfg=cfg,
      sampler=sampler,
    )
  )(memory)
  assert memory.length_B.tolist() == [3, 1]
  # The pair at position i is about the token at i + 2, and each guess is one further.
  np.testing.assert_array_equal(draft_BL, [[4, 5, 6, 7], [2, 3, 4, 5]])
  assert real_BL.all()
