"""A model of a few thousand weights for tests, its batches, and a look into what JAX traces."""

import functools

import jax
import numpy as np

from r1 import spec
from r1.data import packing
from r1.model import config as model_config
from r1.model import heads, transformer

SETTINGS = model_config.PLAIN | {
  "D": 16,
  "F": 24,
  "V": 32,
  "H": 4,
  "N": 2,
  "K": 8,
  "ids": 32,
  "stacks": (("dense", 2),),
  "context": 64,
  "rope_base": 100.0,
  "norm_eps": 1e-6,
  "qkv_bias": True,
  "qk_norm": False,
  "tied": True,
  "dtype": "float32",
  "attend": "blockwise",
  "attention_block": 4,
  "logit_chunk": 8,
  "remat": "none",
  "rules": None,
}

RUNTIME = {  # of a preset
  name: SETTINGS[name]
  for name in ("dtype", "attend", "attention_block", "logit_chunk", "remat", "rules")
}
ROW = 16  # one length of row for most tests, so that XLA compiles few programs

# These programs run for milliseconds and compile for seconds, half of them in LLVM's passes.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
forward = jit(transformer.forward, static_argnames="cfg")
logp = jit(heads.logp, static_argnames="cfg")


def config(**changes):
  return model_config.ModelConfig(**(SETTINGS | changes))


def params(cfg, seed=0):
  """Random weights in which no gain is 1 and no bias 0, so that nothing is tested by accident."""
  rng = np.random.default_rng(seed)

  def draw(s):
    noise = rng.standard_normal(s.shape)
    if s.inputs:
      size = np.prod([n for n, letter in zip(s.shape, s.axes) if letter in s.inputs])
      return noise / np.sqrt(size)
    return 1 + 0.2 * noise if s.axes.endswith("D") and "V" not in s.axes else 0.7 * noise

  flat = spec.flatten(transformer.specs(cfg))
  return spec.unflatten({path: draw(s).astype(np.float32) for path, s in flat.items()})


def documents(lengths, cfg, seed=1):
  """Random token sequences of these lengths; id 0, which padding has too, may be among them."""
  rng = np.random.default_rng(seed)
  return [rng.integers(0, cfg.ids, n).astype(np.int32) for n in lengths]


def packed(sequences, row, rows=None):
  """Packed rows in which every token but a document's first is scored."""
  return packing.pack([(tokens, np.ones(len(tokens), bool)) for tokens in sequences], row, rows)


def alone(tokens, cfg, params):
  """hidden_LD of one document in a row of its own, of ROW slots."""
  batch = packed([tokens], ROW)
  out = forward(params, batch.token_BL, batch.position_BL, batch.segment_BL, cfg)
  return np.asarray(out.hidden_BLD[0, : len(tokens)])


def equations(function, *arguments) -> list:
  """Every operation of a traced function, at any depth of scans, loops and calls."""
  found, todo = [], [jax.make_jaxpr(function)(*arguments).jaxpr]
  while todo:
    for equation in todo.pop().eqns:
      found.append(equation)
      for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
        if _is_jaxpr(value):
          todo.append(getattr(value, "jaxpr", value))
  return found


def traced(function, *arguments) -> list[jax.ShapeDtypeStruct]:
  """Every array that a traced function makes."""
  made = [v.aval for equation in equations(function, *arguments) for v in equation.outvars]
  return [aval for aval in made if hasattr(aval, "shape")]


def _is_jaxpr(value) -> bool:
  return hasattr(getattr(value, "jaxpr", value), "eqns")


def largest(function, *arguments) -> int:
  """Elements of the largest array that a traced function makes."""
  return max(int(np.prod(aval.shape)) for aval in traced(function, *arguments))
