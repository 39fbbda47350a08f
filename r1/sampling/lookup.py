"""Drafts from the row itself: what followed the last time that its newest n tokens stood there.

Prompt lookup needs no weights and costs next to nothing. It pays where an answer repeats its
question or itself: sums written out step by step, edits of given code, quotations.
"""

import jax
import jax.numpy as jnp


def start(prompt_BL, room: int, cfg):
  """What is known of each row so far: its tokens, in the slots of their positions."""
  return jnp.pad(prompt_BL, ((0, 0), (0, room)))


def draft(
  params, token_BM, hidden_BLD, next_BL, position_BL, segment_BL, *, pick, cfg, sampler
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """(draft_BL, real_BL, token_BM): `sampler.draft_tokens` guesses a row, or none of them real.

  The arguments are those of every drafter, see `speculate.draw`; this one reads tokens alone.
  """
  row_B1, slots = jnp.arange(token_BM.shape[0])[:, None], token_BM.shape[1]
  known_BL = segment_BL > 0
  slot_BL = jnp.where(known_BL, position_BL + 1, slots)
  token_BM = token_BM.at[row_B1, slot_BL].set(next_BL, mode="drop")
  length_B = jnp.max(jnp.where(known_BL, position_BL + 2, 0), axis=1)
  draft_BL, real_BL = followed(token_BM, length_B, sampler.ngram, sampler.draft_tokens)
  return draft_BL, real_BL, token_BM


def followed(token_BM, length_B, ngram: int, count: int):
  """(draft_BL, real_BL): the `count` tokens behind the last earlier place of the newest `ngram`.

  The row is taken to go on as it did between the two places, so the drafts of a short cycle wrap
  around in it. real_BL is all False in a row whose newest tokens are new.
  """
  length_B1 = length_B[:, None]
  at_1M = jnp.arange(token_BM.shape[1], dtype=jnp.int32)[None]
  match_BM = at_1M + ngram < length_B1  # the place itself is no earlier one
  for i in range(ngram):
    newest_B1 = _take(token_BM, length_B1 - ngram + i)
    match_BM &= jnp.roll(token_BM, -i, axis=1) == newest_B1
  last_B1 = jnp.max(jnp.where(match_BM, at_1M, -1), axis=1, keepdims=True)
  period_B1 = jnp.maximum(length_B1 - ngram - last_B1, 1)
  ahead_1L = jnp.arange(count, dtype=jnp.int32)[None]
  draft_BL = _take(token_BM, last_B1 + ngram + ahead_1L % period_B1)
  return draft_BL, jnp.broadcast_to(last_B1 >= 0, draft_BL.shape)


def _take(token_BM, at_BL):
  return jnp.take_along_axis(token_BM, jnp.clip(at_BL, 0, token_BM.shape[1] - 1), axis=1)
