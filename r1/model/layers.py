"""The small parts: RMS norm, rotary embedding, SwiGLU."""

import jax
import jax.numpy as jnp

from r1 import sharding


def rms_norm(x, gain, eps: float):
  """x / rms(x) * gain over the last axis, in float32 (arXiv 1910.07467, eq. 4)."""
  x32 = x.astype(jnp.float32)
  scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
  return (x32 * scale).astype(x.dtype) * gain.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def rotary(position_BL, width: int, base: float):
  """cos and sin of the angles position * base^(-2i/width), each [B, L, width/2] in float32."""
  frequency = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
  angle = position_BL[..., None].astype(jnp.float32) * frequency.reshape(1, 1, -1)
  return jnp.cos(angle), jnp.sin(angle)


def rotate(x_BLHK, cos_sin):
  """Rotates the pairs (i, i + K/2), the layout of Qwen and Llama weights (arXiv 2104.09864)."""
  cos, sin = (a[:, :, None, :].astype(x_BLHK.dtype) for a in cos_sin)
  first, second = jnp.split(x_BLHK, 2, axis=-1)
  return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


@jax.custom_vjp
def swiglu(gate, up):
  """silu(gate) * up, with a backward pass of its own: it keeps its inputs and nothing else.

  The barrier there stops XLA's CPU backend from recomputing the exponentials inside the transposed
  copies that the weights' gradients read, which took a third of a small model's step.
  """
  return jax.nn.sigmoid(gate) * gate * up


def _swiglu_forward(gate, up):
  return swiglu(gate, up), (gate, up)


def _swiglu_backward(inputs, d_hidden):
  gate, up = inputs
  share = jax.nn.sigmoid(gate)
  d_gate = d_hidden * up * share * (1 + gate * (1 - share))
  return jax.lax.optimization_barrier((d_gate, d_hidden * gate * share))


swiglu.defvjp(_swiglu_forward, _swiglu_backward)


def mlp(p, x_BLD, cfg):
  """SwiGLU: down(silu(gate x) * up x) (arXiv 2002.05202, eq. 6)."""
  gate_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["gate_DF"])
  up_BLF = jnp.einsum("BLD,DF->BLF", x_BLD, p["up_DF"])
  hidden_BLF = sharding.shard(swiglu(gate_BLF, up_BLF), "BLF", cfg.rules)
  return jnp.einsum("BLF,FD->BLD", hidden_BLF, p["down_FD"])
