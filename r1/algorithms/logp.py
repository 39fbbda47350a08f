"""Log-probabilities of packed rows: one function for scoring and for the loss."""

import functools

import jax

from r1.model import heads, transformer


def token_logp(params, batch, cfg, temperature, parent_BL=None, fork=None):
  """(logp_BL, entropy_BL, aux): nats of batch.target_BL under softmax(logits / temperature).

  batch: anything with token_BL, position_BL, segment_BL and target_BL. parent_BL,
  fork: see `transformer.forward`. aux: statistics of the layers, see `transformer.Output`.
  """
  where = batch.token_BL, batch.position_BL, batch.segment_BL
  out = transformer.forward(params, *where, cfg, parent_BL=parent_BL, fork=fork)
  return *heads.logp(params, out.hidden_BLD, batch.target_BL, cfg, temperature), out.aux


@functools.partial(jax.jit, static_argnames="cfg")
def score(params, batch, cfg, temperature):
  """logp_BL of packed rows, as a compiled program; the old and the reference policy's numbers."""
  return token_logp(params, batch, cfg, temperature, batch.parent_BL, batch.fork)[0]
