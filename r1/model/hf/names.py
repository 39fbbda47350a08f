"""One table between our parameters and the tensors of a Hugging Face checkpoint, read both ways.

A checkpoint's matrix is [outputs, inputs], our array's letters in another order: the contracted
letters (`ParamSpec.inputs`) last, both halves flattened. Some of its tensors hold several of our
arrays side by side: the latent projections per head, the two halves of a multi-token join.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from r1 import spec
from r1.model import transformer


@dataclasses.dataclass(frozen=True)
class Tensor:
  """One tensor of the checkpoint and the arrays of ours that it holds.

  paths: our leaves, in the order in which they lie along `axis` of the unflattened tensor.
  z: the layer's index in its stack, None outside of stacks. e: the expert's, None without.
  """

  name: str
  paths: tuple[str, ...]
  axis: int
  z: int | None
  e: int | None


ATTENTION = {
  "norm_D": "input_layernorm.weight",
  "q_DHK": "self_attn.q_proj.weight",
  "k_DNK": "self_attn.k_proj.weight",
  "v_DNK": "self_attn.v_proj.weight",
  "o_HKD": "self_attn.o_proj.weight",
  "o_HWD": "self_attn.o_proj.weight",
  "q_bias_HK": "self_attn.q_proj.bias",
  "k_bias_NK": "self_attn.k_proj.bias",
  "v_bias_NK": "self_attn.v_proj.bias",
  "o_bias_D": "self_attn.o_proj.bias",
  "q_norm_K": "self_attn.q_norm.weight",
  "k_norm_K": "self_attn.k_norm.weight",
  "q_a_DA": "self_attn.q_a_proj.weight",
  "q_a_bias_A": "self_attn.q_a_proj.bias",
  "q_a_norm_A": "self_attn.q_a_layernorm.weight",
  "kv_a_norm_C": "self_attn.kv_a_layernorm.weight",
}
# (our arrays, their tensor, the axis along which they lie side by side)
JOINED = (
  (("q_nope_AHK", "q_rope_AHP"), "self_attn.q_b_proj.weight", 1),
  (("q_nope_DHK", "q_rope_DHP"), "self_attn.q_proj.weight", 1),
  (("kv_a_DC", "k_rope_DP"), "self_attn.kv_a_proj_with_mqa.weight", 0),
  (("kv_a_bias_C", "k_rope_bias_P"), "self_attn.kv_a_proj_with_mqa.bias", 0),
  (("k_b_CHK", "v_b_CHW"), "self_attn.kv_b_proj.weight", 1),
)
FEED = {
  "norm_D": "post_attention_layernorm.weight",
  "gate_DF": "mlp.gate_proj.weight",
  "up_DF": "mlp.up_proj.weight",
  "down_FD": "mlp.down_proj.weight",
  "gate_bias_F": "mlp.gate_proj.bias",
  "up_bias_F": "mlp.up_proj.bias",
  "down_bias_D": "mlp.down_proj.bias",
  "router_DE": "mlp.gate.weight",
  "router_bias_E": "mlp.gate.e_score_correction_bias",
  "gate_EDX": "mlp.experts.{e}.gate_proj.weight",
  "up_EDX": "mlp.experts.{e}.up_proj.weight",
  "down_EXD": "mlp.experts.{e}.down_proj.weight",
  "shared_gate_DY": "mlp.shared_experts.gate_proj.weight",
  "shared_up_DY": "mlp.shared_experts.up_proj.weight",
  "shared_down_YD": "mlp.shared_experts.down_proj.weight",
}
TOP = {
  "embed_VD": "model.embed_tokens.weight",
  "norm_D": "model.norm.weight",
  "head_DV": "lm_head.weight",
  "scalar_D": "score.weight",
}
MTP = {"embed_norm_D": "enorm.weight", "hidden_norm_D": "hnorm.weight"}
MTP |= {"norm_D": "shared_head.norm.weight"}
# Stay float32 beside weights of any type: the bias, as in published checkpoints, because it adds to
# scores in float32 that lie close together; the scalar head because it is new, small and trained.
EXACT = ("router_bias_E", "scalar_D")


def tensors(cfg) -> list[Tensor]:
  """Every tensor of this model's checkpoint, in the order of the layers."""
  specs: dict = transformer.specs(cfg)
  start = 0
  found = [Tensor(TOP[n], (n,), 0, None, None) for n in specs if n in TOP]
  for stack, count in cfg.stacks:
    for z in range(count):
      found += _layer(specs[stack], stack, z, start + z, cfg)
    start += count
  if cfg.mtp:
    found += _mtp(specs["mtp"], start, cfg)
  return found


def duplicates(cfg) -> dict[str, str]:
  """Tensors that repeat another: an MTP layer carries the embedding and the head once more."""
  if not cfg.mtp:
    return {}
  z = sum(count for _, count in cfg.stacks)
  head = "model.embed_tokens.weight" if cfg.tied else "lm_head.weight"
  return {
    f"model.layers.{z}.embed_tokens.weight": "model.embed_tokens.weight",
    f"model.layers.{z}.shared_head.head.weight": head,
  }


def _layer(specs: dict, where: str, z: int, number: int, cfg) -> list[Tensor]:
  """The tensors of layer `number` of the checkpoint, layer z of the stack at `where`."""
  prefix, found = f"model.layers.{number}.", []
  for names, tensor, axis in JOINED:
    if names[0] in specs["attn"]:
      paths = tuple(f"{where}/attn/{name}" for name in names)
      found.append(Tensor(prefix + tensor, paths, axis, z, None))
  for part, table in (("attn", ATTENTION), ("feed", FEED)):
    for name in specs[part]:
      if any(name in names for names, _, _ in JOINED):
        continue
      one = "{e}" in table[name]
      for e in range(cfg.E) if one else (None,):
        tensor = prefix + table[name].format(e=e)
        found.append(Tensor(tensor, (f"{where}/{part}/{name}",), 0, z, e))
  return found


def _mtp(specs: dict, number: int, cfg) -> list[Tensor]:
  prefix = f"model.layers.{number}."
  found = [Tensor(prefix + MTP[n], (f"mtp/{n}",), 0, None, None) for n in specs if n in MTP]
  halves = ("mtp/embed_DO", "mtp/hidden_DO")  # the embedding first, as released weights have it
  found.append(Tensor(prefix + "eh_proj.weight", halves, 1, None, None))
  return found + _layer(specs["block"], "mtp/block", 0, number, cfg)


def letters(s: spec.ParamSpec) -> str:
  """The axes of one layer's (and one expert's) array in the checkpoint's order."""
  own = _own(s)
  return "".join(a for a in own if a not in s.inputs) + "".join(a for a in own if a in s.inputs)


def _own(s: spec.ParamSpec) -> str:
  """The axes without those that the checkpoint counts in names: layers, and experts of a matrix."""
  axes = s.axes.removeprefix("Z")
  return axes.removeprefix("E") if len(axes) == 3 and s.inputs and axes[0] == "E" else axes


def shape(tensor: Tensor, specs: dict) -> tuple[int, ...]:
  """The tensor's shape in the checkpoint. specs: the flattened tree."""
  outputs, inputs = _whole(tensor, specs)
  if tensor.paths == ("embed_VD",):
    return outputs
  return (math.prod(outputs), math.prod(inputs)) if inputs else (math.prod(outputs),)


def _sizes(s: spec.ParamSpec) -> tuple[list[int], int]:
  """(sizes in the checkpoint's order, how many of them are outputs)."""
  size = dict(zip(s.axes, s.shape))
  order = letters(s)
  return [size[a] for a in order], sum(a not in s.inputs for a in order)


def _whole(tensor: Tensor, specs: dict) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """The unflattened sizes of the outputs and of the inputs, all parts of the tensor together."""
  found = [_sizes(specs[path]) for path in tensor.paths]
  whole, outputs = list(found[0][0]), found[0][1]
  whole[tensor.axis] = sum(sizes[tensor.axis] for sizes, _ in found)
  return tuple(whole[:outputs]), tuple(whole[outputs:])


def _start(tensor: Tensor, path: str, specs: dict) -> int:
  """Where our array begins along the tensor's axis."""
  before = tensor.paths[: tensor.paths.index(path)]
  return sum(_sizes(specs[p])[0][tensor.axis] for p in before)


def box(tensor: Tensor, path: str, cut: Sequence[slice], specs: dict):
  """Which part of a tensor holds this part of our array, and how to take it out.

  cut: a range per axis of one layer's (and one expert's) array. Returns (rows, columns, inner):
  the ranges of the stored matrix to read (columns is None for a vector), and the function from
  what was read to our part. Only the first output letter and the first input letter narrow what is
  read: these are the ones that a mesh splits.
  """
  s = specs[path]
  order, own = letters(s), _own(s)
  outputs, inputs = _whole(tensor, specs)
  whole, begin = outputs + inputs, _start(tensor, path, specs)
  wanted = [cut[own.index(a)] for a in order]
  at = [
    slice(c.start + begin, c.stop + begin) if i == tensor.axis else c for i, c in enumerate(wanted)
  ]
  read = [slice(0, size) for size in whole]
  for i in {0, len(outputs)} & set(range(len(whole))):
    read[i] = at[i]
  if tensor.paths == ("embed_VD",):
    rows, columns = at[0], at[1]
    read[1] = at[1]
  else:
    rows = _range(read[0], math.prod(outputs[1:])) if outputs else slice(0, 1)
    columns = _range(read[len(outputs)], math.prod(inputs[1:])) if inputs else None
  inside = tuple(slice(c.start - r.start, c.stop - r.start) for c, r in zip(at, read))
  shape_read = [r.stop - r.start for r in read]
  back = [order.index(a) for a in own]
  return rows, columns, lambda value: value.reshape(shape_read)[inside].transpose(back)


def _range(part: slice, each: int) -> slice:
  return slice(part.start * each, part.stop * each)


def join(tensor: Tensor, arrays: dict[str, np.ndarray], specs: dict) -> np.ndarray:
  """The tensor as the checkpoint stores it. arrays: one layer's (and one expert's), by path."""
  parts = []
  for path in tensor.paths:
    own = _own(specs[path])
    parts.append(arrays[path].transpose([own.index(a) for a in letters(specs[path])]))
  value = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=tensor.axis)
  return np.ascontiguousarray(value.reshape(shape(tensor, specs)))
