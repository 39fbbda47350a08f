"""What a model is: its sizes by letter and the few choices that change its function."""

import dataclasses

from r1 import sharding
from r1.model import lora, moe, remat, rope, router

CHOICES = {
  "attention": ("gqa", "mla"),
  "attend": ("einsum", "blockwise", "splash"),
  "remat": remat.NAMES,
  "dtype": ("float32", "bfloat16"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Sizes are named by their letter (see `r1.dims`), 0 where the model has no such part.

  ids: how many of the V rows the tokenizer knows; the rest are masked in sampler and trainer.
  stacks: homogeneous runs of layers, each scanned: (("dense", 3), ("moe", 58)); "moe" has experts.
  mtp: layers of multi-token prediction behind them, 0 or 1.
  scalar: one number per token (a reward or value model) in place of next-token logits.
  context: the longest sequence in tokens that the model is asked to hold.
  windows: how many positions back each layer sees, itself included; 0 is all, () no limit at all.
  rope_pairs: rotated pairs are neighbours (latent attention only). rope_scaling: None for none.
  o_bias, feed_bias: of attention's output and of the dense MLPs.
  absorb: latent attention reads the cache with queries carried to the latents.
  moe: how the router chooses. lora: adapters beside the weights, or None.
  dtype: of the computation; parameters keep their own.
  attend: the attention body used without a cache.
  attention_block: tokens of a block of the blockwise body.
  logit_chunk: tokens whose logits exist at one time in the loss.
  remat: what layers keep for the backward pass, see `r1.model.remat`.
  rules: letters to mesh axes, None on one device.
  """

  D: int
  F: int
  V: int
  H: int
  N: int
  K: int
  A: int
  C: int
  P: int
  W: int
  E: int
  S: int
  X: int
  Y: int
  ids: int
  stacks: tuple[tuple[str, int], ...]
  mtp: int
  scalar: bool
  context: int
  windows: tuple[int, ...]
  attention: str
  absorb: bool
  rope_base: float
  rope_scaling: rope.Scaling | None
  rope_pairs: bool
  norm_eps: float
  qkv_bias: bool
  o_bias: bool
  feed_bias: bool
  qk_norm: bool
  tied: bool
  moe: moe.Routing | None
  lora: lora.LoraConfig | None
  dtype: str
  attend: str
  attention_block: int
  logit_chunk: int
  remat: str
  rules: sharding.Rules | None

  def __post_init__(self):
    for name, known in CHOICES.items():
      if getattr(self, name) not in known:
        raise ValueError(f"{name}={getattr(self, name)!r}; there are {known}")
    _check_attention(self)
    if not 0 < self.ids <= self.V:
      raise ValueError(f"ids={self.ids} of the tokenizer do not fit V={self.V} rows")
    _check_stacks(self)
    if min(self.attention_block, self.logit_chunk) < 1:
      raise ValueError(
        f"attention_block={self.attention_block} and logit_chunk={self.logit_chunk} must be >= 1"
      )

  @property
  def R(self) -> int:
    """Queries per key/value head."""
    return self.H // self.N

  @property
  def O(self) -> int:  # noqa: E743
    """The model's width, where a square matrix puts it out."""
    return self.D


def _check_attention(cfg) -> None:
  """Raises ValueError where the heads do not fit, or a setting belongs to the other attention."""
  if cfg.H % cfg.N:
    raise ValueError(f"H={cfg.H} query heads cannot share N={cfg.N} key heads evenly")
  latent = cfg.attention == "mla"
  if (width := cfg.P if latent else cfg.K) % 2:
    raise ValueError(f"rotary embedding needs an even width, this is {width}")
  if latent and not min(cfg.C, cfg.K, cfg.P, cfg.W) > 0:
    raise ValueError(
      f"C={cfg.C}, K={cfg.K}, P={cfg.P}, W={cfg.W}: latent attention needs all of them"
    )
  if latent and cfg.qk_norm:
    raise ValueError("qk_norm is of grouped-query attention; the latent one norms its latents")
  if cfg.rope_pairs and not latent:
    raise ValueError("rope_pairs is of latent attention; here pairs are half a head apart")


def _check_stacks(cfg) -> None:
  """Raises ValueError where the layers do not add up, or experts lack a size."""
  layers = sum(count for _, count in cfg.stacks)
  if len(dict(cfg.stacks)) < len(cfg.stacks) or any(count < 1 for _, count in cfg.stacks):
    raise ValueError(f"stacks={cfg.stacks}: each needs a name of its own and a layer at least")
  if cfg.windows and (len(cfg.windows) != layers or min(cfg.windows) < 0):
    raise ValueError(f"windows={cfg.windows} of {layers} layers: wanted one each, 0 for no limit")
  if cfg.mtp not in (0, 1) or (cfg.mtp and cfg.windows):
    raise ValueError(f"mtp={cfg.mtp}: wanted 0 or 1, and 0 beside windows={cfg.windows}")
  if cfg.mtp and cfg.scalar:
    raise ValueError(f"mtp={cfg.mtp}: a model with a scalar head predicts no tokens; wanted 0")
  if ("moe" in dict(cfg.stacks)) != (cfg.moe is not None):
    raise ValueError(f"stacks={cfg.stacks} and moe={cfg.moe}: experts need both or neither")
  if cfg.moe is not None and not (0 < cfg.S <= cfg.E and cfg.X > 0):
    raise ValueError(f"S={cfg.S} of E={cfg.E} experts of X={cfg.X} cannot be chosen")
  if cfg.moe is not None:
    router.check(cfg)


# What a run decides, or what a model is given without becoming another.
OF_A_RUN = (
  *("ids", "mtp", "scalar", "context", "absorb", "lora", "dtype", "attend", "attention_block"),
  *("logit_chunk", "remat", "rules"),
)
LATENT = ("A", "C", "P", "W")  # sizes of latent attention; readers set them for the other one too


def architecture(cfg: ModelConfig) -> dict[str, object]:
  """What a model has in common with those made of it: sizes, layers and what they compute.

  Left out are its head, its adapters, how long a sequence may be, and how it is computed.
  """
  unused = OF_A_RUN + (() if cfg.attention == "mla" else LATENT)
  fields = dataclasses.asdict(dataclasses.replace(cfg, rules=None))
  if fields["moe"] is not None:
    fields["moe"] = {k: v for k, v in fields["moe"].items() if k not in ("dispatch", "block")}
  return {name: value for name, value in fields.items() if name not in unused}


# What a plain dense transformer leaves out; a config starts from these and names the rest.
PLAIN = {
  **dict.fromkeys("ACPWESXY", 0),
  "mtp": 0,
  "scalar": False,
  "windows": (),
  "attention": "gqa",
  "absorb": True,
  "rope_scaling": None,
  "rope_pairs": False,
  "o_bias": False,
  "feed_bias": False,
  "moe": None,
  "lora": None,
}
