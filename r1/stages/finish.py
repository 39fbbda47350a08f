"""How a stage ends: an exported model with its card, sample texts, and finished.json at the last.

Every step can be done again, so a run that dies in here ends as if it had not when it is started
once more.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Mapping, Sequence

import rich.console

from r1.model import lora
from r1.model.hf import export
from r1.report import card, pages
from r1.train import lineage, metrics, run, workdir

SHARD_BYTES = 5 * 10**9
SHOWN = 16  # prompts on the page of sample texts
RECENT = 1024  # lines of samples.jsonl where they are looked for
PAPERS = (  # what a reader opens first
  "metrics.jsonl",
  "samples.jsonl",
  "samples.md",
  "curves.png",
  "checkpoints",
  "tensorboard",
  "hf",
)


def already(folder: pathlib.Path, stage: str, config: dict) -> bool:
  """Is the workdir that of a finished run of this config? Then it says so, and what has changed.

  Raises ValueError where the folder belongs to another stage or to other settings.
  """
  if lineage.finished(folder) is None:
    return False
  run.claim(folder, stage, config)
  console = rich.console.Console()
  console.print(f"{folder}: {stage} is finished, there is nothing to do", soft_wrap=True)
  for line in lineage.changed(folder):
    text = f"a parent has changed since: {line}; a new --workdir starts from what it is now"
    console.print(text, style="yellow", markup=False, soft_wrap=True)
  return True


def finish(
  folder: pathlib.Path,
  model: workdir.Model,
  *,
  numbers: Mapping[str, float],
  texts: Sequence[tuple[str, str]],
  console: rich.console.Console,
) -> None:
  """Exports the model to `hf/` with its card, writes samples.md, and finished.json.

  model: with the weights that the last checkpoint holds; they are exported in their own type.
  numbers: of the last evaluation, with their standard errors. texts: (prompt, answer).
  """
  record = lineage.read(folder)
  assert record is not None, "a stage begins with lineage.begin"
  write(folder / "hf", model)
  text = card.build(str(folder), record, numbers)
  (folder / "hf" / lineage.CARD).write_text(text, encoding="utf-8")
  page = pages.samples(f"{record['stage']}: sample texts", texts)
  (folder / "samples.md").write_text(page, encoding="utf-8")
  made = {
    "model": lineage.digest_of_arrays(model.params),
    "hf": lineage.digest_of_files(folder / "hf"),
  }
  lineage.finish(folder, made)
  for name in (name for name in PAPERS if (folder / name).exists()):
    console.print(f"  {folder / name}", soft_wrap=True)


def texts(folder: pathlib.Path) -> list[tuple[str, str]]:
  """(prompt, answer) of the last prompts of a run's samples.jsonl, one answer each."""
  last = metrics.last(folder / "samples.jsonl", RECENT)
  told = {(record["step"], record["id"]): record for record in last}
  return [(record["prompt"], record["response"]) for record in list(told.values())[-SHOWN:]]


def write(folder: pathlib.Path, model: workdir.Model) -> int:
  """The model as a Hugging Face checkpoint, adapters added; returns the bytes of its weights.

  What a killed run left in the folder goes.
  """
  shutil.rmtree(folder, ignore_errors=True)
  params, cfg = model.params, model.cfg
  dtype = params["embed_VD"].dtype.name
  if cfg.lora is not None:
    params, cfg = lora.merge_all(params, cfg.lora), dataclasses.replace(cfg, lora=None)
  return export.export(folder, params, cfg, model.tokenizer, dtype=dtype, shard_bytes=SHARD_BYTES)
