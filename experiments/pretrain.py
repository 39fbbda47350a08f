"""The base model of the embedded world: next-token prediction on its generated text.

  python -m experiments.pretrain --config=configs/pretrain.py:tiny --workdir=runs/base

The same settings are made once per user and found again by their digest.
"""

import pathlib
import shutil
import time

import rich.console

from r1.train import host, pretrain, run


def main(config, folder: pathlib.Path) -> None:
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  settings = pretrain.settings(config)
  run.claim(folder, "pretrain", config.to_dict())

  def report(step: int, loss: float) -> None:
    console.print(f"{step}/{config.pretrain.steps}  loss {loss:.3f} nats per token")

  base, _ = pretrain.cached_base(*settings, report)
  shutil.copytree(base, folder, dirs_exist_ok=True)
  run.lineage(folder, "pretrain", {}, {"world": pretrain.digest(*settings)})
  console.print(f"base model in {folder}, {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  run.stage(main)
