"""A finished run as a Hugging Face checkpoint, for vLLM and transformers.

  python -m experiments.export --model=runs/zero --out=exported [--dtype=bfloat16] [--best]
  python -m experiments.export --model=runs/zero --out=adapters --adapters=BASE

The second form writes LoRA's adapters alone, in PEFT's layout; the first adds them to the weights.
"""

import dataclasses
import sys

from absl import app, flags

from r1.model import lora
from r1.model.hf import export, peft
from r1.train import host, workdir


def write(model: workdir.Model, out: str, *, dtype: str, shard_gb: float) -> int:
  """The whole model, adapters added to its weights; returns the bytes of the weights."""
  params, cfg = model.params, model.cfg
  if cfg.lora is not None:
    params, cfg = lora.merge_all(params, cfg.lora), dataclasses.replace(cfg, lora=None)
  size = int(shard_gb * 1e9)
  return export.export(out, params, cfg, model.tokenizer, dtype=dtype, shard_bytes=size)


def main(given) -> None:
  host.quiet_libraries()
  model = workdir.load(given.model, best=given.best)
  if given.adapters is not None:
    size = peft.export(given.out, model.params, model.cfg, base=given.adapters)
  else:
    size = write(model, given.out, dtype=given.dtype, shard_gb=given.shard_gb)
  print(f"{size / 2**20:.1f} MiB of weights in {given.out}")


if __name__ == "__main__":
  flags.DEFINE_string("model", None, "a workdir")
  flags.DEFINE_string("out", None, "the folder to write; it must be new or empty")
  flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of the weights written")
  flags.DEFINE_float("shard_gb", 5.0, "largest size of a file", lower_bound=1e-3)
  flags.DEFINE_bool("best", False, "the best checkpoint instead of the last")
  flags.DEFINE_string("adapters", None, "write adapters alone, for this base checkpoint")
  flags.mark_flags_as_required(["model", "out"])
  try:
    app.run(lambda _: main(flags.FLAGS))
  except ValueError as error:
    sys.exit(f"experiments.export: {error}")
