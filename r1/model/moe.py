"""Mixture of experts: routed SwiGLUs beside shared ones (arXiv 2401.06066, 2412.19437 section 2.1).

`dense` runs every expert on every token and is the oracle. `dropless` sorts the (token, choice)
pairs by expert and multiplies each expert's rows only; no capacity, no token is dropped. Both have
the signature of every feed: (p, x_BLD, real_BL, cfg) -> (y_BLD, aux).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from r1 import dims, sharding, spec
from r1.model import grouped, layers, router

MATRICES = ("gate_EDX", "up_EDX", "down_EXD")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Routing:
  """How a mixture of experts chooses and computes.

  scores: of a token for the experts, "sigmoid" (DeepSeek-V3) or "softmax" (V2).
  groups: runs of E / groups experts; only the best `groups_kept` of them are chosen from.
  group_score: of a group, the sum of its two best biased scores ("top2") or the best ("max").
  renormalise: whether the weights of a token are divided by their sum.
  scale: factor of the weights.
  bias: whether there is a router_bias_E.
  dispatch: "dense" (the oracle) or "sorted" (dropless).
  block: rows of a window of the grouped matmul on CPUs; half of one is wasted for each expert.
  """

  scores: str
  groups: int
  groups_kept: int
  group_score: str
  renormalise: bool
  scale: float
  bias: bool
  dispatch: str
  block: int

  def __post_init__(self):
    for name, value, known in (
      ("scores", self.scores, router.SCORES),
      ("group_score", self.group_score, router.GROUP_SCORES),
      ("dispatch", self.dispatch, DISPATCH),
    ):
      if value not in known:
        raise ValueError(f"{name}={value!r}; there are {tuple(known)}")
    if not 0 < self.groups_kept <= self.groups:
      raise ValueError(f"groups_kept={self.groups_kept} must be 1 .. groups={self.groups}")
    if self.block < 1:
      raise ValueError(f"block={self.block} rows; it must be >= 1")


def specs(cfg) -> dict[str, spec.ParamSpec]:
  """The parameters of one layer's mixture; E is a batch letter, which no matmul contracts."""
  tree = spec.gain("norm_D", cfg) | spec.matrix("router_DE", cfg, "D")
  if cfg.moe.bias:
    tree |= spec.bias("router_bias_E", cfg, trained=False)
  tree |= spec.matrix("gate_EDX", cfg, "D") | spec.matrix("up_EDX", cfg, "D")
  tree |= spec.matrix("down_EXD", cfg, "X")
  if cfg.Y:
    tree |= spec.matrix("shared_gate_DY", cfg, "D") | spec.matrix("shared_up_DY", cfg, "D")
    tree |= spec.matrix("shared_down_YD", cfg, "Y")
  return tree


def feed(p, x_BLD, real_BL, cfg):
  """The sibling that `cfg.moe.dispatch` names."""
  return DISPATCH[cfg.moe.dispatch](p, x_BLD, real_BL, cfg)


def dense(p, x_BLD, real_BL, cfg):
  """Every expert on every token: E / S times the work, and the oracle of `dropless`."""
  return _mix(_every, p, x_BLD, real_BL, cfg)


def dropless(p, x_BLD, real_BL, cfg):
  """Each token by its own experts only; on a mesh, experts stay where their weights are."""
  return _mix(_chosen, p, x_BLD, real_BL, cfg)


DISPATCH = {"dense": dense, "sorted": dropless}


def _mix(experts, p, x_BLD, real_BL, cfg):
  """Routes, sums the experts' weighted outputs and adds the shared experts, unscaled.

  real_BL: bool; padding is not routed and counts nowhere. aux holds, as float32 unless said:
  load_E, the real (token, choice) pairs of each expert; balance, see `router.balance`; and of each
  token, ordered by expert id, the int32 expert_BLS and weight_BLS as applied (-1 and 0 on padding).
  """
  dims.check(x_BLD=x_BLD, real_BL=real_BL, router_DE=p["router_DE"], gate_EDX=p["gate_EDX"])
  B, L, D = x_BLD.shape
  choice = router.route(p, x_BLD.reshape(-1, D), cfg)
  real_BL1 = real_BL[..., None]
  expert_BLS = jnp.where(real_BL1, choice.expert_TS.reshape(B, L, cfg.S), -1)
  weight_BLS = jnp.where(real_BL1, choice.weight_TS.reshape(B, L, cfg.S), 0.0)
  y_BLD = experts(p, x_BLD, expert_BLS, weight_BLS, cfg)
  if cfg.Y:
    y_BLD += shared(p, x_BLD, cfg)
  rank_BLS = jnp.argsort(expert_BLS, axis=-1)
  return y_BLD, {
    "load_E": jnp.sum(router.count(expert_BLS, cfg.E), axis=0).astype(jnp.float32),
    "balance": router.balance(choice.score_TE.reshape(B, L, cfg.E), real_BL, cfg),
    "expert_BLS": jnp.take_along_axis(expert_BLS, rank_BLS, axis=-1),
    "weight_BLS": jnp.take_along_axis(jax.lax.stop_gradient(weight_BLS), rank_BLS, axis=-1),
  }


def shared(p, x_BLD, cfg):
  """The experts that every token visits: one SwiGLU of their widths together."""
  hidden_BLY = layers.swiglu(x_BLD, p["shared_gate_DY"], p["shared_up_DY"])
  hidden_BLY = sharding.shard(hidden_BLY, "BLY", cfg.rules)
  return jnp.einsum("BLY,YD->BLD", hidden_BLY, p["shared_down_YD"])


# Every expert ------------------------------------------------------------------------------------


def _every(p, x_BLD, expert_BLS, weight_BLS, cfg):
  chosen_BLSE = expert_BLS[..., None] == jnp.arange(cfg.E)[None, None, None]
  weight_BLE = jnp.sum(jnp.where(chosen_BLSE, weight_BLS[..., None], 0.0), axis=2)
  gate_BLEX = jnp.einsum("BLD,EDX->BLEX", x_BLD, p["gate_EDX"])
  hidden_BLEX = jax.nn.silu(gate_BLEX) * jnp.einsum("BLD,EDX->BLEX", x_BLD, p["up_EDX"])
  out_BLED = jnp.einsum("BLEX,EXD->BLED", hidden_BLEX, p["down_EXD"])
  y_BLD = jnp.einsum("BLED,BLE->BLD", out_BLED.astype(jnp.float32), weight_BLE)
  return y_BLD.astype(x_BLD.dtype)


# Only the chosen ---------------------------------------------------------------------------------


def _chosen(p, x_BLD, expert_BLS, weight_BLS, cfg):
  """By `_own_experts` on the one device, or on each device of the mesh for the experts it holds."""
  p = {name: p[name] for name in MATRICES}
  if cfg.rules is None:
    return _own_experts(p, x_BLD, expert_BLS, weight_BLS, 0, cfg)
  # The model width is gathered here; the first line makes its gradient come back in its shards.
  p = {name: sharding.home(w, dims.suffix(name), cfg.rules) for name, w in p.items()}
  cut = tuple(entry for entry in cfg.rules.weight if entry[0] != "D")
  at_weight = {name: sharding.pspec(dims.suffix(name), cut) for name in p}
  at_row = tuple(sharding.pspec(letters, cfg.rules.act) for letters in ("BLD", "BLS", "BLS"))
  on_each = jax.shard_map(
    functools.partial(_share, cfg=cfg), in_specs=(at_weight, *at_row), out_specs=at_row[0]
  )
  return on_each(p, x_BLD, expert_BLS, weight_BLS)


def _share(p, x_BLD, expert_BLS, weight_BLS, *, cfg):
  """One device's part: gathers the rows that meet its experts, and sums what the devices made.

  Where rows are split over the experts' mesh axes they are gathered, and the sums are scattered
  back; where they are not, each device holds them already.
  """
  holders = sharding.split_over("E", cfg.rules.weight)
  split = sharding.split_over("B", cfg.rules.act)
  both = tuple(axis for axis in holders if axis in split)
  parts = tuple(axis for axis in holders if axis not in both)
  parts += sharding.split_over("X", cfg.rules.weight)
  axes = tuple(dict.fromkeys((*split, *both, *parts)))
  rows = sharding.vary((x_BLD, expert_BLS, weight_BLS), split, axes)
  p = sharding.vary(p, both + parts, axes)
  if both:
    rows = jax.lax.all_gather(rows, both, axis=0, tiled=True)
  first = jax.lax.axis_index(holders) * p["gate_EDX"].shape[0] if holders else 0
  y_BLD = _own_experts(p, *rows, first, cfg)
  if parts:
    y_BLD = jax.lax.psum(y_BLD, parts)
  if both:
    y_BLD = jax.lax.psum_scatter(y_BLD, both, scatter_dimension=0, tiled=True)
  return y_BLD


def _own_experts(p, x_BLD, expert_BLS, weight_BLS, first, cfg):
  """y_BLD of the experts first .. first + E - 1, those whose weights are given; 0 for the others.

  Every buffer has room for all pairs, since all may go to these experts.
  """
  B, L, D = x_BLD.shape
  E = p["gate_EDX"].shape[0]
  block = min(cfg.moe.block, expert_BLS.size)
  local_BLS = expert_BLS - first
  group = jnp.where((local_BLS >= 0) & (local_BLS < E), local_BLS, E).reshape(-1)
  pair = jnp.argsort(group, stable=True)  # sorted by expert, the pairs of others behind all
  place = jnp.argsort(pair)  # of each pair among the sorted
  pair = jnp.pad(pair, (0, block), constant_values=pair.size)  # the spare rows of a window
  sizes_E = jnp.sum(router.count(local_BLS, E), axis=0)
  each_BLSD = jnp.broadcast_to(x_BLD[:, :, None], (B, L, cfg.S, D))
  x_TD = _take(each_BLSD.reshape(-1, D), pair, place)
  gate_TX = grouped.matmul(x_TD, p["gate_EDX"], sizes_E, block)
  hidden_TX = jax.nn.silu(gate_TX) * grouped.matmul(x_TD, p["up_EDX"], sizes_E, block)
  out_TD = grouped.matmul(hidden_TX, p["down_EXD"], sizes_E, block)
  out_BLSD = _take(out_TD, place, pair).reshape(B, L, cfg.S, D)
  y_BLD = jnp.einsum("BLSD,BLS->BLD", out_BLSD.astype(jnp.float32), weight_BLS)
  return y_BLD.astype(x_BLD.dtype)


@jax.custom_vjp
def _take(rows, there, back):
  """rows[there], with 0 for an index that no row has; `back` is the inverse of `there`."""
  return rows.at[there].get(mode="fill", fill_value=0)


def _take_forward(rows, there, back):
  return _take(rows, there, back), (there, back)


def _take_backward(kept, d_rows):
  """A gather again: the scatter that autodiff writes is slow and, on GPUs, in no fixed order."""
  there, back = kept
  return _take(d_rows, back, there), None, None


_take.defvjp(_take_forward, _take_backward)
