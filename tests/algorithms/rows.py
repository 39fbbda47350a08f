"""Responses laid out in packed rows, as a trainer would, for the tests of the loss."""

import jax
import jax.numpy as jnp
import numpy as np

from r1.algorithms import advantages, grpo

R1 = {  # arXiv 2501.12948: beta .001, epsilon 10, k3, DeepSeekMath's mean per response
  "group": 16,
  "clip_low": 10.0,
  "clip_high": 10.0,
  "kl": 0.001,
  "kl_estimator": "k3",
  "ratio": "token",
  "normalise": "response",
  "max_tokens": 64,
  "std": "sample",
  "std_eps": 1e-6,
  "truncated": "keep",
  "dynamic": False,
  "sampler_cap": None,
}


def config(**changes):
  return grpo.GrpoConfig(**(R1 | changes))


def response(logp, *, old=None, ref=None, sampler=None, advantage=1.0, counted=True):
  """Vectors over the scored tokens; what is not given equals logp."""
  logp = np.asarray(logp, np.float64)
  old = logp if old is None else np.asarray(old, np.float64)
  return {
    "logp": logp,
    "old": old,
    "ref": logp if ref is None else np.asarray(ref, np.float64),
    "sampler": old if sampler is None else np.asarray(sampler, np.float64),
    "advantage": float(advantage),
    "counted": counted,
  }


def sampled(rng, count, longest, far=0.3):
  """Random responses whose policies differ by about `far` nats per token."""
  out = []
  for i in range(count):
    logp = -rng.exponential(1.0, rng.integers(1, longest + 1))
    near = lambda logp=logp: logp + far * rng.standard_normal(len(logp))
    a = rng.standard_normal()
    out.append(response(logp, old=near(), ref=near(), sampler=near(), advantage=a))
    out[-1]["counted"] = i % 4 != 3
  return out


def pack(responses, cfg, per_row=2, prompt=2, pad=3, junk=0.0):
  """(logp_BL, entropy_BL, batch, at): `per_row` responses in a row, each behind a prompt.

  Every slot that is not a scored token of a counted response holds `junk`. at[i] is the
  (row, slice) of response i. The weights are those of the whole list of responses.
  """
  lengths = [len(o["logp"]) for o in responses]
  weights = advantages.token_weights(lengths, [o["counted"] for o in responses], cfg)
  rows = [list(range(i, min(i + per_row, len(lengths)))) for i in range(0, len(lengths), per_row)]
  shape = (len(rows), max(sum(prompt + lengths[i] for i in row) for row in rows) + pad)
  names = ("logp", "old", "ref", "sampler", "advantage")
  slots = {name: np.full(shape, junk) for name in names} | {"weight": np.zeros(shape)}
  entropy_BL, segment_BL = np.full(shape, junk), np.zeros(shape, np.int32)
  at = [(0, slice(0))] * len(lengths)
  for b, row in enumerate(rows):
    start = 0
    for s, i in enumerate(row, start=1):
      end = start + prompt + lengths[i]
      segment_BL[b, start:end] = s
      at[i] = (b, slice(start + prompt, end))
      start = end
      if responses[i]["counted"]:
        for name in names:
          slots[name][at[i]] = responses[i][name]
        slots["weight"][at[i]], entropy_BL[at[i]] = weights[i], 1.0
  made = {name: jnp.asarray(x, jnp.float32) for name, x in slots.items()}
  token_BL = jnp.zeros(shape, jnp.int32)
  batch = grpo.GrpoBatch(
    token_BL=token_BL,
    position_BL=token_BL,
    segment_BL=jnp.asarray(segment_BL),
    target_BL=token_BL,
    weight_BL=made["weight"],
    advantage_BL=made["advantage"],
    old_logp_BL=made["old"],
    ref_logp_BL=made["ref"],
    sampler_logp_BL=made["sampler"],
  )
  return made["logp"], jnp.asarray(entropy_BL, jnp.float32), batch, at


def run(logp_BL, entropy_BL, batch, cfg):
  """(loss, metrics, gradient with respect to logp_BL)."""
  (value, metrics), grad_BL = _grad(logp_BL, entropy_BL, batch, cfg)
  return float(value), metrics, np.asarray(grad_BL)


_grad = jax.jit(jax.value_and_grad(grpo.loss, has_aux=True), static_argnums=3)


def loss(responses, cfg, **layout):
  """(loss, summary of the metrics, gradient per response)."""
  logp_BL, entropy_BL, batch, at = pack(responses, cfg, **layout)
  value, metrics, grad_BL = run(logp_BL, entropy_BL, batch, cfg)
  summary = {name: float(x) for name, x in grpo.summary(value, metrics).items()}
  return value, summary, [grad_BL[where] for where in at]
