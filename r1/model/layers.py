"""The small parts: RMS norm and SwiGLU."""

import math

import jax
import jax.numpy as jnp
from flax import struct

from r1 import sharding, spec


def rms_norm(x, gain, eps: float):
  """x / rms(x) * gain over the last axis, in float32 (arXiv 1910.07467, eq. 4)."""
  x32 = x.astype(jnp.float32)
  scale = jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
  return (x32 * scale).astype(x.dtype) * gain.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


class Turned(struct.PyTreeNode):
  """A matmul weight with its outputs first, [outputs, inputs]; `shape` is that of the outputs.

  With few rows a CPU multiplies half as fast by a weight whose inputs come first, because the
  matmul turns the weight over before it starts, each time.
  """

  weight_OD: jax.Array
  shape: tuple[int, ...] = struct.field(pytree_node=False)


def turn(weight, inputs: int) -> Turned:
  """The weight turned over; its first `inputs` axes are contracted."""
  shape = weight.shape[inputs:]
  return Turned(jnp.reshape(weight, (-1, math.prod(shape))).T, shape)


def product(equation: str, x, weight):
  """einsum(equation, x, weight), where the weight's first axes meet x's last ones."""
  inputs = len(_contracted(equation))
  if not isinstance(weight, Turned):
    return jnp.tensordot(x, weight, inputs)
  rows = x.shape[:-inputs]
  x_TD = x.reshape(math.prod(rows), -1)
  y_OT = jax.lax.dot_general(weight.weight_OD, x_TD, (((1,), (1,)), ((), ())))
  # Without the barrier XLA takes the transpose below into the matmul, which then is x W^T again.
  return jax.lax.optimization_barrier(y_OT).T.reshape(*rows, *weight.shape)


def _contracted(equation: str) -> str:
  """The letters that both operands have."""
  x, weight = equation.partition("->")[0].split(",")
  return "".join(letter for letter in x if letter in weight)


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
  if "gate_up" in p:  # joined by `unroll`
    gate_BLF, up_BLF = jnp.split(product("BLD,DF->BLF", x_BLD, p["gate_up"]), 2, axis=-1)
    hidden_BLF = jax.nn.silu(gate_BLF) * up_BLF
  elif cfg.feed_bias:
    gate_BLF = product("BLD,DF->BLF", x_BLD, p["gate_DF"]) + p["gate_bias_F"][None, None]
    up_BLF = product("BLD,DF->BLF", x_BLD, p["up_DF"]) + p["up_bias_F"][None, None]
    hidden_BLF = jax.nn.silu(gate_BLF) * up_BLF
  else:
    hidden_BLF = swiglu(x_BLD, p["gate_DF"], p["up_DF"])
  hidden_BLF = sharding.shard(hidden_BLF, "BLF", cfg.rules)
  y_BLD = product("BLF,FD->BLD", hidden_BLF, p["down_FD"])
  return y_BLD + p["down_bias_D"][None, None] if cfg.feed_bias else y_BLD, {}
