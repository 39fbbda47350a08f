"""What a model is: its sizes by letter and the few choices that change its function."""

import dataclasses

from r1 import sharding

ATTENTIONS = ("einsum", "blockwise")
REMATS = ("none", "layer")
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Sizes are named by their letter (see `r1.dims`).

  ids: how many of the V rows the tokenizer knows; the rest are masked in sampler and trainer.
  stacks: homogeneous runs of layers, each scanned: (("dense", 28),).
  context: the longest sequence in tokens that the model is asked to hold.
  dtype: of the computation; parameters stay float32.
  attend: the attention body used without a cache.
  attention_block: tokens of a block of the blockwise body.
  logit_chunk: tokens whose logits exist at one time in the loss.
  rules: letters to mesh axes, None on one device.
  """

  D: int
  F: int
  V: int
  H: int
  N: int
  K: int
  ids: int
  stacks: tuple[tuple[str, int], ...]
  context: int
  rope_base: float
  norm_eps: float
  qkv_bias: bool
  qk_norm: bool
  tied: bool
  dtype: str
  attend: str
  attention_block: int
  logit_chunk: int
  remat: str
  rules: sharding.Rules | None

  def __post_init__(self):
    if self.H % self.N:
      raise ValueError(f"H={self.H} query heads cannot share N={self.N} key heads evenly")
    if self.K % 2:
      raise ValueError(f"K={self.K}: rotary embedding needs an even head size")
    if not 0 < self.ids <= self.V:
      raise ValueError(f"ids={self.ids} of the tokenizer do not fit V={self.V} rows")
    for name, value, known in (
      ("attend", self.attend, ATTENTIONS),
      ("remat", self.remat, REMATS),
      ("dtype", self.dtype, DTYPES),
    ):
      if value not in known:
        raise ValueError(f"{name}={value!r}; there are {known}")
    if min(self.attention_block, self.logit_chunk) < 1:
      raise ValueError(
        f"attention_block={self.attention_block} and logit_chunk={self.logit_chunk} must be >= 1"
      )

  @property
  def R(self) -> int:
    """Queries per key/value head."""
    return self.H // self.N
