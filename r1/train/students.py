"""What a base becomes before it is distilled, and the teacher that may stand beside it.

The distilled students of arXiv 2501.12948 are published with 131,072 positions and a head of their
own, where Qwen2.5-Math has 4,096 positions and its smallest model shares the head's weights with
the embedding.
"""

import dataclasses

import jax

from r1 import sharding
from r1.model import transformer
from r1.text import tokenizer as tokenizers
from r1.train import lineage, models, workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentConfig:
  """context: positions that the student is asked to hold, 0 for as many as its base.

  untied: the head gets weights of its own, which begin as the embedding's.
  """

  context: int
  untied: bool

  def __post_init__(self):
    if self.context < 0:
      raise ValueError(f"context={self.context} must be >= 0; 0 keeps the base's")


def prepare(model: workdir.Model, cfg: StudentConfig, *, mesh) -> workdir.Model:
  """The student that learns: it computes what its base did.

  Only the number of positions is raised: the rotary embedding stays what it was, as published.
  Raises ValueError where fewer are asked for than the base has.
  """
  made = model.cfg
  if cfg.context and cfg.context < made.context:
    raise ValueError(
      f"context={cfg.context} is below the base's {made.context} positions; give 0 to keep them"
    )
  made = dataclasses.replace(made, context=cfg.context or made.context)
  if not cfg.untied or not made.tied:
    return dataclasses.replace(model, cfg=made)
  made = dataclasses.replace(made, tied=False)
  home = sharding.placed(transformer.specs(made), mesh, made.rules)["head_DV"].sharding
  turn = jax.jit(lambda embed_VD: embed_VD.T, out_shardings=home)
  params = model.params | {"head_DV": turn(model.params["embed_VD"])}
  return workdir.Model(made, model.tokenizer, params)


def teacher(
  where: str, student: workdir.Model, runtime: dict, *, dtype: str, mesh, say
) -> tuple[workdir.Model, dict[str, str]]:
  """(a model whose next-token distribution the student can learn, its files' digest by its name).

  where: as for `models.load`. Raises ValueError where its tokenizer is another than the student's:
  one distribution is then over other pieces of text than the other.
  """
  lineage.parent(where)
  folder = models.local(where)
  found = models.load(
    folder, runtime=runtime, dtype=dtype, mesh=mesh, tokenizer=student.tokenizer, say=say
  )
  if difference := _difference(student.tokenizer, found.tokenizer):
    raise ValueError(
      f"the teacher {where} and the student have different tokenizers ({difference}); next-token "
      "distributions compare under one tokenizer alone: learn from the teacher's text "
      "(distill.logits=0), or give two models with one tokenizer"
    )
  return found, {where: lineage.digest(folder)}


def _difference(student: tokenizers.Tokenizer, teacher: tokenizers.Tokenizer) -> str:
  """In words; "" where the same ids stand for the same pieces and end a text."""
  if student.size != teacher.size:
    return f"{teacher.size} ids of the teacher, {student.size} of the student"
  for i, (ours, theirs) in enumerate(zip(student.pieces, teacher.pieces)):
    if ours != theirs:
      return f"id {i} is {theirs!r} for the teacher and {ours!r} for the student"
  if student.eos[0] != teacher.eos[0]:
    return f"a text ends with id {teacher.eos[0]} of the teacher, {student.eos[0]} of the student"
  return ""
