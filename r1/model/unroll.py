"""Parameters as a CPU decodes with them: layer by layer, and every matmul weight turned over.

A scan over stacked layers copies each layer's weights out of the stack before it uses them, and a
matmul of few rows turns its weight over. Both cost as much as the work itself when a step has few
rows; done once per rollout they cost nothing.
"""

import jax
import jax.numpy as jnp

from r1 import dims
from r1.model import block, heads, layers, lora, transformer

# Matmuls of one input, done as one: each call costs a small model more than its arithmetic does.
JOINT = {"qkv": ("q_DHK", "k_DNK", "v_DNK"), "gate_up": ("gate_DF", "up_DF")}
LONE = {"gate_bias_F"}
KEPT = ("k_b", "v_b", "router", "shared")  # not used through `layers.product`


def unroll(params: dict, cfg) -> dict:
  """The same model for `transformer.forward`: adapters merged, every weight in its final type."""
  if cfg.lora:
    params = lora.merge_all(params, cfg.lora)
  declared, dtype = transformer.specs(cfg), jnp.dtype(cfg.dtype)
  found = {"embed_VD": params["embed_VD"], "norm_D": params["norm_D"]}
  found["head_DV"] = layers.turn(heads.matrix(params, cfg).astype(dtype), 1)
  for name, count in cfg.stacks:
    stack = [jax.tree.map(lambda w, z=z: w[z], params[name]) for z in range(count)]
    found[name] = tuple(_turn(block.cast(p, dtype), declared[name]) for p in stack)
  return found


def _turn(p: dict, declared: dict) -> dict:
  """One layer; experts and the matrices that latent attention absorbs stay as they are."""
  turned, joint = {}, {}
  for name, parts in JOINT.items():
    if all(part in p and declared[part].inputs for part in parts) and not LONE & p.keys():
      joint[name] = layers.turn(jnp.concatenate([p[part] for part in parts], axis=1), 1)
  p = {name: x for name, x in p.items() if not any(name in JOINT[j] for j in joint)}
  for name, value in p.items():
    if isinstance(value, dict):
      turned[name] = _turn(value, declared[name])
      continue
    inputs = declared[name].inputs
    plain = inputs and dims.suffix(name).startswith(inputs) and not name.startswith(KEPT)
    turned[name] = layers.turn(value, len(inputs)) if plain else value
  return turned | joint
