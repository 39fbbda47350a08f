"""The base model of the embedded world: next-token prediction on its generated text.

  python -m experiments.pretrain --config=configs/pretrain.py:tiny --workdir=runs/base

The same settings are made once per user and found again by their digest.
"""

import pathlib
import shutil
import time

import rich.console

from r1.data.worlds import arithmetic
from r1.stages import ask, finish
from r1.text import templates
from r1.train import host, lineage, pretrain, run, workdir


def main(config, folder: pathlib.Path) -> None:
  started, console = time.monotonic(), rich.console.Console()
  if finish.already(folder, "pretrain", config.to_dict()):
    return
  host.quiet_libraries()
  host.keep_compiled_programs()
  settings = pretrain.settings(config)
  run.claim(folder, "pretrain", config.to_dict())
  lineage.begin(folder, "pretrain", {}, {"world": pretrain.digest(*settings)}, {})

  def report(step: int, loss: float) -> None:
    console.print(f"{step}/{config.pretrain.steps}  loss {loss:.3f} nats per token")

  base, _ = pretrain.cached_base(*settings, report)
  shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # half a copy of a run that died
  unfinished = shutil.ignore_patterns(lineage.FINISHED)
  shutil.copytree(base, folder, ignore=unfinished, dirs_exist_ok=True)
  model, sums = workdir.load(folder), arithmetic.World(**config.world)
  asked = arithmetic.questions(sums, "test", count=ask.COUNT, seed=config.pretrain.seed)
  prompts = [tuple(templates.encode(model.tokenizer, "short", q.prompt)) for q in asked]
  texts = ask.answers(model, prompts, config.pretrain.seed)
  finish.finish(folder, model, numbers={}, texts=texts, console=console)
  console.print(f"base model in {folder}, {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  run.stage(main)
