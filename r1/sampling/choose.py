"""From logits to a token, and how likely it was.

The order is: temperature, then the k likeliest ids, then the nucleus of what is left, then the
ids within reach of the likeliest. A filter that is off adds nothing to the compiled program.
"""

import math

import jax
import jax.numpy as jnp

from r1.model import attention


def likeliest(logits_BV, top_k: int):
  """Masks all but the top_k most likely ids (arXiv 1805.04833); 0 keeps every one.

  Ids exactly as likely as the last of them stay too.
  """
  if top_k == 0 or top_k >= logits_BV.shape[-1]:
    return logits_BV
  least_B1 = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
  return jnp.where(logits_BV >= least_B1, logits_BV, attention.NEVER)


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


def within_reach(logits_BV, min_p: float):
  """Masks ids less probable than min_p times the most likely one (arXiv 2407.01082); 0 keeps all.

  A ratio of probabilities is a difference of logits, so no softmax is needed.
  """
  if min_p <= 0:
    return logits_BV
  least_B1 = jnp.max(logits_BV, axis=-1, keepdims=True) + math.log(min_p)
  return jnp.where(logits_BV >= least_B1, logits_BV, attention.NEVER)


def first_largest(x_BV):
  """argmax over the last axis, in two passes.

  XLA's CPU backend computes what an argmax searches (here, random numbers and their logarithms) one
  element at a time within the search; read twice, it is computed beforehand, four times as fast.
  """
  top_B1 = jnp.max(x_BV, axis=-1, keepdims=True)
  last = x_BV.shape[-1] - 1  # NaN is never the largest
  return jnp.min(jnp.where(x_BV >= top_B1, jnp.arange(last + 1), last), axis=-1)


def sample(key_B, logits_BV, temperature, sampler):
  """(id_B, logp_B): one id per row, and its log-probability under what was sampled from, in nats.

  key_B is the row's own, so neither its slot nor the batch size changes the draw. Temperature 0
  takes the most likely id and reports its log-probability at temperature 1; it may be traced, so
  that a schedule compiles nothing anew. sampler: its top_k, top_p and min_p are read.
  """
  greedy = temperature == 0
  logits_BV = likeliest(logits_BV / jnp.where(greedy, 1.0, temperature), sampler.top_k)
  logits_BV = within_reach(nucleus(logits_BV, sampler.top_p), sampler.min_p)
  noise_BV = jax.vmap(lambda key: jax.random.gumbel(key, logits_BV.shape[1:]))(key_B)
  noise_BV = jnp.where(greedy, 0.0, noise_BV)
  id_B = first_largest(logits_BV + noise_BV)
  logp_BV = jax.nn.log_softmax(logits_BV, axis=-1)
  logp_B1 = jnp.take_along_axis(logp_BV, id_B[:, None], axis=-1)
  return id_B.astype(jnp.int32), logp_B1[:, 0]
