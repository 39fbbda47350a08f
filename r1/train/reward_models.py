"""Reward models: what of a response they see, how it is scored in batches, and how one is loaded.

The helpful model sees the prompt and the final summary, so nothing that is thought can move it; the
safety model sees the prompt and the whole response (arXiv 2501.12948v2 section 3.1). Both score at
the end token.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from r1 import sharding
from r1.data import questions as records
from r1.data import responses as answers
from r1.model import config as model_config
from r1.model import heads, transformer
from r1.rewards import verdict
from r1.text import templates
from r1.text import tokenizer as tokenizers
from r1.train import lineage, models, run

KINDS = ("helpful", "safety")
FILE = "reward.json"
BUCKET = 64  # tokens; rows are this long, or a doubling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
  """What a score means. template: how prompts are written. mean, std: of the scores of what the
  model learned from; a helpful reward is given in these units."""

  kind: str
  template: str
  mean: float
  std: float

  def __post_init__(self):
    if self.kind not in KINDS:
      raise ValueError(f"kind={self.kind!r}: there are {', '.join(KINDS)}")
    if not self.std > 0:
      raise ValueError(f"std={self.std}: a model that scores all answers alike is no reward")


def encode(
  tokenizer: tokenizers.Tokenizer, template: str, kind: str, prompt: str, text: str
) -> np.ndarray:
  """The ids that a model of this kind scores: prompt, what it sees of the response, end of text.

  text: the response from <think> on, whether the template or the policy wrote that.
  """
  before = templates.render(template, prompt).removesuffix(templates.opened(template))
  shown = answers.summary(text) if kind == "helpful" else text
  ids = [] if tokenizer.bos is None else [tokenizer.bos]
  ids += tokenizer.encode(before.removeprefix(templates.BOS_TEXT)) + tokenizer.encode(shown)
  return np.asarray([*ids, tokenizer.eos[0]], np.int32)


def score(
  params: dict, cfg, sequences: Sequence[np.ndarray], *, tokens: int, mesh=None
) -> np.ndarray:
  """The scalar head's number at the last token of each sequence, float32, in order.

  A sequence has a row to itself, so its score depends on nothing else. tokens: of a batch, where a
  row is not longer. There is one compiled shape for each doubling of the length.
  """
  unit = 1 if mesh is None else sharding.row_shards(dict(mesh.shape))
  scores = np.zeros(len(sequences), np.float32)
  by_width: dict[int, list[int]] = {}
  for i, ids in enumerate(sequences):
    by_width.setdefault(_width(len(ids)), []).append(i)
  for width, members in sorted(by_width.items()):
    rows = max(tokens // width // unit, 1) * unit
    for start in range(0, len(members), rows):
      chosen = members[start : start + rows]
      batch = _pad([sequences[i] for i in chosen], rows, width)
      placed = sharding.place(batch, mesh=mesh, rules=cfg.rules)
      scores[chosen] = np.asarray(_scores(params, *placed, cfg=cfg))[: len(chosen)]
  return scores


def _width(length: int) -> int:
  width = BUCKET
  while width < length:
    width *= 2
  return width


def _pad(sequences: Sequence[np.ndarray], rows: int, width: int):
  """(token_UBL, segment_UBL) of one batch; rows without a sequence are padding."""
  token_UBL, segment_UBL = (np.zeros((1, rows, width), np.int32) for _ in range(2))
  for b, ids in enumerate(sequences):
    token_UBL[0, b, : len(ids)], segment_UBL[0, b, : len(ids)] = ids, 1
  return token_UBL, segment_UBL


@functools.partial(jax.jit, static_argnames="cfg")
def _scores(params, token_UBL, segment_UBL, *, cfg):
  """score_B of one padded batch; the weights are an argument, so no copy of them goes stale."""
  token_BL, segment_BL = token_UBL[0], segment_UBL[0]
  position_BL = jnp.broadcast_to(jnp.arange(token_BL.shape[1]), token_BL.shape)
  out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg)
  value_BL = heads.scalar(params, out.hidden_BLD, cfg)
  last_B1 = jnp.maximum(jnp.sum(segment_BL, axis=1, keepdims=True) - 1, 0)
  return jnp.take_along_axis(value_BL, last_B1, axis=1)[:, 0]


# Loading ------------------------------------------------------------------------------------------


def describe(folder: pathlib.Path, head: Head) -> None:
  """Writes what the scores of a workdir's model mean."""
  run.note(folder / FILE, dataclasses.asdict(head))


def load(
  where: str | os.PathLike,
  kind: str,
  *,
  policy: str,
  tokenizer: tokenizers.Tokenizer,
  template: str,
  cfg: model_config.ModelConfig,
  runtime: dict,
  dtype: str,
  tokens: int,
  mesh=None,
  say: Callable[[str], None] = print,
) -> Callable[[Sequence[records.Question], Sequence[answers.Response]], list[verdict.Score]]:
  """The reward model of a kind as `combine.combine` asks it.

  where: the workdir of the preference stage, which holds one of each kind; or one model, a workdir
  or a checkpoint with a scalar head. policy: the name of the model that is scored; tokenizer,
  template and cfg are its own. tokens: of a batch. Helpful scores are in standard deviations from
  the mean of what the model learned from, safety scores the probability of safe. Raises ValueError
  where the model is unfinished, of another kind, tokenizer or template, or has no scalar head; and
  where one of the preference stage has not the policy's layers (arXiv 2501.12948v2 section 3.1),
  which a published one need not have.
  """
  folder = models.local(where)
  folder = folder / kind if (folder / kind).is_dir() else folder
  lineage.parent(folder)
  model = models.load(folder, runtime=runtime, dtype=dtype, mesh=mesh, say=say)
  if not model.cfg.scalar:
    raise ValueError(
      f"{folder} is a language model and scores nothing; wanted the preference stage's workdir, or "
      "a checkpoint with a scalar head"
    )
  both = {policy: tokenizer, str(folder): model.tokenizer}
  lineage.same("tokenizer", {name: tokenizers.identity(each) for name, each in both.items()})
  if (folder / FILE).exists():
    layers = model_config.architecture
    lineage.same("architecture", {policy: layers(cfg), str(folder): layers(model.cfg)})
  head = read(folder) or Head(kind=kind, template=template, mean=0.0, std=1.0)
  if head.kind != kind:
    raise ValueError(f"{folder} is a {head.kind} model; wanted one of kind {kind!r}")
  lineage.same("template", {policy: template, str(folder): head.template})

  def judge(questions, responses) -> list[verdict.Score]:
    pairs = zip(questions, responses, strict=True)
    ids = [encode(tokenizer, template, kind, q.prompt, r.text) for q, r in pairs]
    given = {"tokens": tokens, "mesh": mesh}
    return [reward(float(x), head) for x in score(model.params, model.cfg, ids, **given)]

  return judge


def read(folder: pathlib.Path) -> Head | None:
  """The inverse of `describe`; None where the folder says nothing, as published checkpoints."""
  path = folder / FILE
  return Head(**json.loads(path.read_text())) if path.exists() else None


def reward(value: float, head: Head) -> verdict.Score:
  """A scalar as a reward: right is more than the mean answer, or safe rather than not."""
  if not np.isfinite(value):
    return verdict.Score(0.0, "no_verdict")
  if head.kind == "safety":
    value = float(1 / (1 + np.exp(-np.float64(np.clip(value, -60, 60)))))
    return verdict.Score(value, "right" if value > 0.5 else "wrong")
  value = (value - head.mean) / head.std
  return verdict.Score(value, "right" if value > 0 else "wrong")
