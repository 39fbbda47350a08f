"""Drafts by looking up the row's own past, by hand."""

import jax.numpy as jnp
import pytest

from r1.sampling import lookup
from tests.sampling import settings


def followed(row, ngram, count, length=None):
  token_BM = jnp.array([row], jnp.int32)
  length_B = jnp.array([len(row) if length is None else length])
  draft_BL, real_BL = lookup.followed(token_BM, length_B, ngram, count)
  assert len(set(real_BL[0].tolist())) == 1
  return draft_BL[0].tolist() if real_BL[0, 0] else None


@pytest.mark.parametrize(
  ("row", "ngram", "count", "want"),
  [
    ([1, 2, 3, 4, 9, 1, 2], 2, 3, [3, 4, 9]),
    ([1, 2, 3, 4, 9, 1, 2], 1, 3, [3, 4, 9]),
    ([1, 2, 3, 4, 9, 1, 2], 3, 3, None),  # 9 1 2 stands nowhere before
    ([1, 2, 3, 1, 2, 4, 1, 2], 2, 2, [4, 1]),  # the later of two places
    ([5, 6, 5, 6, 5, 6], 2, 4, [5, 6, 5, 6]),  # further than the row has tokens
    ([8, 7, 7], 1, 3, [7, 7, 7]),
    ([4, 5, 6, 4], 1, 5, [5, 6, 4, 5, 6]),
    ([7], 1, 2, None),  # its own place is none before
    ([7, 7], 2, 2, None),
    ([1, 2], 3, 2, None),  # shorter than what is looked for
    ([1, 2, 3], 1, 2, None),
  ],
)
def test_what_followed_the_newest_tokens_follows_again(row, ngram, count, want):
  assert followed(row, ngram, count) == want


def test_what_stands_beyond_a_row_s_end_is_not_found():
  """Slots hold padding of the prompt, and of nothing, behind the tokens that are known."""
  assert followed([1, 2, 3, 9, 9, 9], 1, 2, length=3) is None
  assert followed([0, 0, 0, 0], 1, 2, length=1) is None
  assert followed([3, 0, 3, 5, 5], 1, 2, length=3) == [0, 3]


def test_certain_tokens_are_remembered_in_their_places_and_others_are_not():
  sampler = settings.sampler(draft="lookup", draft_tokens=2, ngram=1)
  token_BM = lookup.start(jnp.array([[1, 2, 3], [4, 8, 8]], jnp.int32), 4, None)
  given = {"pick": None, "cfg": None, "sampler": sampler}

  def tell(token_BM, tokens, positions, certain):
    told = (jnp.array(x, jnp.int32) for x in (tokens, positions, certain))
    return lookup.draft(None, token_BM, None, *told, **given)

  # Row 0 is "1 2 3" and drew 2; row 1 is "4", its padding is no token, and it drew 6.
  draft_BL, real_BL, token_BM = tell(
    token_BM, [[2, 3, 2], [6, 8, 8]], [[0, 1, 2]] * 2, [[1, 1, 1], [1, 0, 0]]
  )
  assert real_BL.tolist() == [[True, True], [False, False]]
  assert draft_BL[0].tolist() == [3, 2]
  assert token_BM[1, :2].tolist() == [4, 6]
  # Both drafts of row 0 were right, and row 1 drew 4 behind drafts that were none.
  draft_BL, real_BL, token_BM = tell(
    token_BM, [[3, 2, 1], [4, 5, 5]], [[3, 4, 5], [1, 2, 3]], [[1, 1, 1], [1, 0, 0]]
  )
  assert token_BM[0].tolist() == [1, 2, 3, 2, 3, 2, 1]
  assert draft_BL.tolist() == [[2, 3], [6, 4]]
  assert real_BL.all()
