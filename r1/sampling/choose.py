"""From logits to a token, and how likely it was."""

import jax
import jax.numpy as jnp

from r1.model import attention


def nucleus(logits_BV, top_p: float):
  """Masks all but the smallest set of ids whose probability reaches top_p (arXiv 1904.09751).

  The most likely id always stays, and so do ids exactly as likely as the last of the set.
  """
  if top_p >= 1:
    return logits_BV
  sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
  prob_BV = jax.nn.softmax(sorted_BV, axis=-1)
  inside_BV = jnp.cumsum(prob_BV, axis=-1) - prob_BV < top_p
  least_B1 = jnp.min(jnp.where(inside_BV, sorted_BV, jnp.inf), axis=-1, keepdims=True)
  return jnp.where(logits_BV >= least_B1, logits_BV, attention.NEVER)


def sample(key_B, logits_BV, temperature, top_p: float):
  """(id_B, logp_B): one id per row, and its log-probability under what was sampled from, in nats.

  key_B is the row's own, so neither its slot nor the batch size changes the draw. Temperature 0
  takes the most likely id and reports its log-probability at temperature 1; it may be traced, so
  that a schedule compiles nothing anew.
  """
  greedy = temperature == 0
  logits_BV = nucleus(logits_BV / jnp.where(greedy, 1.0, temperature), top_p)
  drawn_B = jax.vmap(jax.random.categorical)(key_B, logits_BV)
  id_B = jnp.where(greedy, jnp.argmax(logits_BV, axis=-1), drawn_B)
  logp_BV = jax.nn.log_softmax(logits_BV, axis=-1)
  logp_B1 = jnp.take_along_axis(logp_BV, id_B[:, None], axis=-1)
  return id_B.astype(jnp.int32), logp_B1[:, 0]
