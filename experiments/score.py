"""What a model computes on given tokens: the tool to check an import against any reference.

  python -m experiments.score --model=DIR --tokens=IN.npz --out=OUT.npz \
    [--dtype=float32] [--greedy=16]

IN holds `input_ids` [rows, tokens], and may hold `attention_mask` (left padding) and
`greedy_prompt_len`. OUT gets `logits`, `logprobs`, `loss`, `hidden_states` (row 0), and where they
apply `router_indices_i`, `router_weights_i`, `mtp_logits`, `logits_left_padded`, `greedy_tokens`.
DIR is a Hugging Face checkpoint, which needs no tokenizer here, or a workdir. --nomtp leaves the
layer of multi-token prediction out, whose weights a checkpoint may lack although its config counts
it. Numbers in bfloat16 are written as float32, which numpy can read.
"""

import dataclasses
import pathlib
import sys
import zipfile

import jax
import numpy as np
from absl import app, flags

from r1.evals import forward
from r1.model.hf import config as hf_config
from r1.model.hf import load as hf_load
from r1.train import host, models, workdir


def read(path: str) -> dict:
  """The arrays of an .npz."""
  try:
    with zipfile.ZipFile(path), np.load(path) as file:
      return dict(file)
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise ValueError(f"--tokens={path} is no .npz of arrays: {error}") from error


def load(folder: pathlib.Path, runtime: dict, *, mtp: bool):
  """(parameters, ModelConfig); a checkpoint's rows beyond its tokenizer are not masked here."""
  if (folder / "model.json").exists():
    model = workdir.load(folder)
    return model.params, dataclasses.replace(model.cfg, **runtime)
  raw = hf_config.read(folder)
  cfg = hf_config.parse(raw, runtime, mtp=mtp)
  print(models.need(cfg, runtime["dtype"], None))
  return hf_load.load(folder, raw, cfg, dtype=runtime["dtype"]), cfg


def main(given) -> None:
  host.quiet_libraries()
  host.keep_compiled_programs()
  out = pathlib.Path(given.out)
  if not out.parent.is_dir():
    raise ValueError(f"--out={out}: there is no folder {out.parent}")
  runtime = {"dtype": given.dtype, "attend": "blockwise", "attention_block": 128}
  runtime |= {"logit_chunk": 2048, "remat": "none", "rules": None}
  arrays = read(given.tokens)
  with jax.default_matmul_precision("highest"):
    params, cfg = load(pathlib.Path(given.model), runtime, mtp=given.mtp)
    found = forward.outputs(params, cfg, arrays, given.greedy)
  found = {name: x if x.dtype.kind in "if" else x.astype(np.float32) for name, x in found.items()}
  with out.open("wb") as file:
    np.savez(file, allow_pickle=False, **found)
  for name, value in found.items():
    print(f"{name:22} {value.dtype!s:8} {value.shape}")


if __name__ == "__main__":
  flags.DEFINE_string("model", None, "a Hugging Face checkpoint or a workdir")
  flags.DEFINE_string("tokens", None, "an .npz with input_ids")
  flags.DEFINE_string("out", None, "the .npz to write")
  flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of weights and computation")
  flags.DEFINE_bool("mtp", True, "with the layer of multi-token prediction, if there is one")
  flags.DEFINE_integer("greedy", 0, "tokens of the greedy continuation", lower_bound=0)
  flags.mark_flags_as_required(["model", "tokens", "out"])
  try:
    app.run(lambda _: main(flags.FLAGS))
  except ValueError as error:
    sys.exit(f"experiments.score: {error}")
