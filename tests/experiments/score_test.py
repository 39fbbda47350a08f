"""The tool that compares a checkpoint with other programs: its files in and out, as called."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from r1.evals import forward
from r1.train import checkpoint, workdir
from tests.model.hf import checkpoints
from tests.train import tiny

ROOT = pathlib.Path(__file__).parents[2]
TOKENS = np.random.default_rng(2).integers(0, 300, (2, 12)).astype(np.int32)


def call(folder, **given):
  """Runs the command with these flags; the tokens are `folder`/in.npz."""
  if not (folder / "in.npz").exists():
    np.savez(folder / "in.npz", input_ids=TOKENS)
  given = {"tokens": folder / "in.npz", "out": folder / "found"} | given
  flags = [f"--{name}={value}" for name, value in given.items()]
  return subprocess.run(
    [sys.executable, "-m", "experiments.score", *flags],
    cwd=ROOT,
    env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def read(folder):
  with np.load(folder / "found") as file:
    return dict(file)


def test_a_checkpoint_is_scored_as_the_library_does(tmp_path):
  cfg, params = checkpoints.save(tmp_path / "model", "tiny-qwen2")
  mask = np.ones_like(TOKENS)
  mask[1, :5] = 0
  arrays = {"input_ids": TOKENS, "attention_mask": mask, "greedy_prompt_len": np.int32(6)}
  np.savez(tmp_path / "in.npz", **arrays)
  done = call(tmp_path, model=tmp_path / "model", greedy=4)
  assert done.returncode == 0, done.stderr
  assert "parameters in float32" in done.stdout
  found, wanted = read(tmp_path), forward.outputs(params, cfg, arrays, 4)
  assert found.keys() == wanted.keys()
  assert "logits_left_padded" in found
  for name, value in wanted.items():
    assert f"{name} " in done.stdout
    np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_half_precision_is_written_as_numbers_and_the_extra_layer_may_be_missing(tmp_path):
  cfg, params = checkpoints.save(tmp_path / "model", "tiny-deepseek-v3")
  arrays = checkpoints.tensors(tmp_path / "model")
  short = {k: v for k, v in arrays.items() if not k.startswith("model.layers.2.")}
  new = checkpoints.rewrite(tmp_path / "model", short)
  done = call(tmp_path, model=new)
  assert done.returncode != 0
  assert f"experiments.score: {new}: the checkpoint does not fit" in done.stderr
  assert "Traceback" not in done.stderr
  done = call(tmp_path, model=new, mtp="false", dtype="bfloat16")
  assert done.returncode == 0, done.stderr
  found = read(tmp_path)
  assert {value.dtype.kind for value in found.values()} == {"i", "f"}
  assert found["hidden_states"].dtype == np.float32
  assert "mtp_logits" not in found
  exact = forward.outputs(params, cfg, {"input_ids": TOKENS}, 0)["logits"]
  error = np.abs(found["logits"] - exact)
  assert 1e-4 < error.mean() < 0.1 * exact.std()


def test_a_workdir_is_scored_too(tmp_path):
  cfg = tiny.model(context=32)
  params = checkpoints.parameters(cfg)
  workdir.describe(tmp_path / "run", cfg, tiny.tokenizer())
  checkpointer = checkpoint.open_folder(tmp_path / "run" / "checkpoints", keep=1)
  checkpoint.save(checkpointer, 1, {"params": params}, score=0.0)
  checkpointer.close()
  done = call(tmp_path, model=tmp_path / "run")
  assert done.returncode == 0, done.stderr
  wanted = forward.outputs(params, cfg, {"input_ids": TOKENS}, 0)
  np.testing.assert_allclose(read(tmp_path)["logits"], wanted["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  ("flag", "value", "message"),
  [
    ("tokens", "README.md", "--tokens=README.md is no .npz of arrays"),
    ("out", "no/folder/out.npz", "--out=no/folder/out.npz: there is no folder no/folder"),
    ("model", "tests", "tests holds no config.json, so it is no Hugging Face checkpoint"),
  ],
)
def test_wrong_use_is_explained_in_a_line(tmp_path, flag, value, message):
  done = call(tmp_path, **{"model": "tests", flag: value})
  assert done.returncode != 0
  assert f"experiments.score: {message}" in done.stderr
  assert "Traceback" not in done.stderr
  assert not (tmp_path / "found").exists()
