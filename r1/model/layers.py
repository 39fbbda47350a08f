"""The small parts: RMS norm and SwiGLU."""

import jax
import jax.numpy as jnp

from r1 import sharding, spec


def rms_norm(x, gain, eps: float):
  """x / rms(x) * gain over the last axis, in float32 (arXiv 1910.07467, eq. 4)."""
  x32 = x.astype(jnp.float32)
  scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
  return (x32 * scale).astype(x.dtype) * gain.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


@jax.custom_vjp
def swiglu(x_BLD, gate_DF, up_DF):
  """silu(gate x) * up x (arXiv 2002.05202, eq. 6), with a backward pass of its own.

  It keeps the two products and nothing else. It also multiplies the weights' gradients as x^T d
  and not as (d^T x)^T: the latter, which autodiff writes, makes XLA's CPU backend compute the
  exponentials inside a transposed copy of d, a quarter of a small model's step.
  """
  return _swiglu_forward(x_BLD, gate_DF, up_DF)[0]


def _swiglu_forward(x_BLD, gate_DF, up_DF):
  gate_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, gate_DF)
  up_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, up_DF)
  hidden_BLF = jax.nn.sigmoid(gate_BLF) * gate_BLF * up_BLF
  return hidden_BLF, (x_BLD, gate_DF, up_DF, gate_BLF, up_BLF)


def _swiglu_backward(kept, d_hidden_BLF):
  x_BLD, gate_DF, up_DF, gate_BLF, up_BLF = kept
  share_BLF = jax.nn.sigmoid(gate_BLF)
  d_up_BLF = d_hidden_BLF * gate_BLF * share_BLF
  d_gate_BLF = d_hidden_BLF * up_BLF * share_BLF * (1 + gate_BLF * (1 - share_BLF))
  d_x_BLD = jnp.einsum("BLF,DF->BLD", d_gate_BLF, gate_DF)
  d_x_BLD += jnp.einsum("BLF,DF->BLD", d_up_BLF, up_DF)
  d_gate_DF = jnp.einsum("BLD,BLF->DF", x_BLD, d_gate_BLF)
  return d_x_BLD, d_gate_DF, jnp.einsum("BLD,BLF->DF", x_BLD, d_up_BLF)


swiglu.defvjp(_swiglu_forward, _swiglu_backward)


def specs(cfg) -> dict:
  """The weights of one dense MLP."""
  tree = spec.gain("norm_D", cfg)
  tree |= spec.matrix("gate_DF", cfg, "D") | spec.matrix("up_DF", cfg, "D")
  tree |= spec.matrix("down_FD", cfg, "F")
  if cfg.feed_bias:
    tree |= spec.bias("gate_bias_F", cfg) | spec.bias("up_bias_F", cfg)
    tree |= spec.bias("down_bias_D", cfg)
  return tree


def mlp(p, x_BLD, real_BL, cfg):
  """SwiGLU: down(silu(gate x) * up x). Returns (y_BLD, no statistics)."""
  del real_BL
  if cfg.feed_bias:
    gate_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["gate_DF"]) + p["gate_bias_F"][None, None]
    up_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["up_DF"]) + p["up_bias_F"][None, None]
    hidden_BLF = jax.nn.silu(gate_BLF) * up_BLF
  else:
    hidden_BLF = swiglu(x_BLD, p["gate_DF"], p["up_DF"])
  hidden_BLF = sharding.shard(hidden_BLF, "BLF", cfg.rules)
  y_BLD = jnp.einsum("BLF,FD->BLD", hidden_BLF, p["down_FD"])
  return y_BLD + p["down_bias_D"][None, None] if cfg.feed_bias else y_BLD, {}
