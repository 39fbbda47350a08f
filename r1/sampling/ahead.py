"""Drafts by the model's own layer of multi-token prediction (arXiv 2412.19437, section 2.2).

The layer predicts one token further than the model; for more drafts it is applied to its own
output. It picks with the very noise that the row will draw the token with. So where its
distribution Q is close to the model's P, both come to the same token: with Gumbel noise in common,
at least as often as (1 - D) / (1 + D), D their total variation distance (arXiv 2408.07978). Its
most likely token would be drawn with that token's probability only.
"""

import jax
import jax.numpy as jnp

from r1.model import mtp


def start(prompt_BL, room: int, cfg):
  """The layer's own cache."""
  return mtp.empty(cfg, prompt_BL.shape[0], prompt_BL.shape[1] + room)


def draft(params, cache, hidden_BLD, next_BL, position_BL, segment_BL, *, pick, cfg, sampler):
  """(draft_BL, real_BL, cache): `sampler.draft_tokens` guesses a row, all real.

  The arguments are those of every drafter, see `speculate.draw`. The cache keeps what is certain;
  the layer's steps on its own output are cut off again.
  """
  hidden_BLD, cache = mtp.extend(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg, cache)
  known_B = cache.length_B
  last_B1 = jnp.maximum(jnp.sum(segment_BL > 0, axis=1, keepdims=True) - 1, 0)
  hidden_B1D = jnp.take_along_axis(hidden_BLD, last_B1[..., None], axis=1)
  position_B1 = jnp.take_along_axis(position_BL, last_B1, axis=1)
  first_B1, _ = pick(hidden_B1D, position_B1 + 2)
  live_B1 = segment_BL[:, :1]

  def further(carry, _):
    hidden_B1D, id_B1, position_B1, cache = carry
    position_B1 = position_B1 + 1
    hidden_B1D, cache = mtp.extend(params, hidden_B1D, id_B1, position_B1, live_B1, cfg, cache)
    id_B1, _ = pick(hidden_B1D, position_B1 + 2)
    return (hidden_B1D, id_B1, position_B1, cache), id_B1[:, 0]

  carry = hidden_B1D, first_B1, position_B1, cache
  (_, _, _, cache), more_LB = jax.lax.scan(further, carry, length=sampler.draft_tokens - 1)
  draft_BL = jnp.concatenate([first_B1, more_LB.T], axis=1)
  return draft_BL, jnp.ones_like(draft_BL, bool), cache.replace(length_B=known_B)
