"""LoRA (arXiv 2106.09685): a low-rank second tree whose product is added inside the scanned layer.

An adapter of the matrix `q_DHK` is {"a_DJ", "b_JHK"}: its product over J has the letters of the
matrix. b starts at zero, so the model starts as it was. The tree stands in the parameters as
"lora", in the shape of the model's own tree; only one layer's product exists at a time.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp

from r1 import dims, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
  """rank: J. alpha: the product is scaled by alpha / rank.

  pattern: a regular expression; every matrix whose whole path it matches gets an adapter, such as
  r"\\w+/attn/[qkvo]_[A-Z]+" for attention. Paths are those of `transformer.specs`.
  """

  rank: int
  alpha: float
  pattern: str

  def __post_init__(self):
    if self.rank < 1 or self.alpha <= 0:
      raise ValueError(f"rank={self.rank} must be >= 1 and alpha={self.alpha} above 0")
    try:
      re.compile(self.pattern)
    except re.error as error:
      raise ValueError(f"pattern={self.pattern!r} is no regular expression: {error}") from error

  @property
  def scale(self) -> float:
    return self.alpha / self.rank


def specs(tree, cfg: LoraConfig) -> dict:
  """The adapters of every matrix that the pattern matches. tree: the model's specs.

  Raises ValueError where it matches none, or something else than matrices of the layers.
  """
  flat = spec.flatten(tree)
  chosen = {path: s for path, s in flat.items() if re.fullmatch(cfg.pattern, path) and s.inputs}
  if not chosen:
    paths = ", ".join(path for path, s in flat.items() if s.inputs)
    raise ValueError(f"pattern={cfg.pattern!r} matches none of the matrices: {paths}")
  if outside := [path for path in chosen if "/" not in path or path.startswith("mtp/")]:
    raise ValueError(f"pattern={cfg.pattern!r} matches {outside}; adapters are of layers alone")
  return spec.unflatten({path: _pair(s, cfg.rank) for path, s in chosen.items()})


def _pair(s: spec.ParamSpec, rank: int) -> dict:
  """{"a_…J", "b_J…"}: the contracted letters in front, the others behind; Z and E lead in both."""
  size = dict(zip(s.axes, s.shape)) | {"J": rank}
  lead = "ZE" if s.axes.startswith("ZE") else "Z"
  into = "".join(x for x in s.axes if x in s.inputs)
  out = "".join(x for x in s.axes if x not in lead + into)
  own = lead.replace("Z", "")
  shape = lambda axes: tuple(size[x] for x in axes)
  a = spec.ParamSpec(shape(lead + into + "J"), lead + into + "J", into, s.init)
  b = spec.ParamSpec(shape(lead + "J" + out), lead + "J" + out, "J", spec.zeros)
  return {f"a_{own}{into}J": a, f"b_{own}J{out}": b}


def merge(p: dict, adapters: dict | None, scale: float) -> dict:
  """The weights with their adapters' products added: one layer's slices, or whole stacks.

  adapters: in the same shape, or None. The sum is rounded once, to the type of the weight.
  """
  if adapters is None:
    return p
  merged = dict(p)
  for name, value in adapters.items():
    if not dims.suffix(name):
      merged[name] = merge(p[name], value, scale)
      continue
    a, b = (x.astype(jnp.float32) for _, x in sorted(value.items()))
    # What leads in both (layers, experts) leads in the weight too and is counted there once.
    lead = tuple(range(a.ndim + b.ndim - 2 - p[name].ndim))
    over_J = ((a.ndim - 1,), (len(lead),)), (lead, lead)
    whole = p[name].astype(jnp.float32) + scale * jax.lax.dot_general(a, b, over_J)
    merged[name] = whole.astype(p[name].dtype)
  return merged


def merge_all(params: dict, cfg: LoraConfig) -> dict:
  """Parameters without adapters that compute the same: every product added for good."""
  rest = {name: value for name, value in params.items() if name != "lora"}
  return merge(rest, params["lora"], cfg.scale)


def split(tree: dict) -> tuple[dict, dict]:
  """(trained, frozen) of parameters or specs: where there are adapters, these and a scalar head."""
  if "lora" not in tree:
    return tree, {}
  trained = {name: tree[name] for name in ("lora", "scalar_D") if name in tree}
  return trained, {name: value for name, value in tree.items() if name not in trained}
