"""The base model of the embedded world: next-token prediction on its generated text.

  python -m experiments.pretrain --config=configs/pretrain.py:tiny --workdir=runs/base

The same settings are made once per user and found again by their digest.
"""

import functools
import pathlib
import shutil
import time

import rich.console
from absl import app, flags
from ml_collections import config_flags

from r1.train import host, pretrain, run

CONFIG = config_flags.DEFINE_config_file("config", None, "FILE.py:settings, see configs/")
WORKDIR = flags.DEFINE_string("workdir", None, "where the base goes")


def main(argv):
  del argv
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  config, folder = CONFIG.value, pathlib.Path(WORKDIR.value)
  settings = pretrain.settings(config)
  run.claim(folder, "pretrain", config.to_dict())

  def report(step: int, loss: float) -> None:
    console.print(f"{step}/{config.pretrain.steps}  loss {loss:.3f} nats per token")

  base, _ = pretrain.cached_base(*settings, report)
  shutil.copytree(base, folder, dirs_exist_ok=True)
  run.lineage(folder, "pretrain", {}, {"world": pretrain.digest(*settings)})
  console.print(f"base model in {folder}, {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  host.restart_with_huge_pages()
  app.run(main, flags_parser=functools.partial(run.parse, config=CONFIG))
