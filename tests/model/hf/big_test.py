"""The generator of large checkpoints, and what reading one costs."""

import os
import subprocess
import sys

import numpy as np
import pytest

from r1.model.hf import safetensors, write
from tests.model.hf import big


@pytest.mark.parametrize("code", ["BF16", "F32", "F8_E4M3"])
def test_noise_is_finite_and_belongs_to_name_and_seed(monkeypatch, code):
  monkeypatch.setattr(big, "CHUNK", 512)
  tensor = write.Tensor("x", (33, 7), safetensors.DTYPES[code])
  draw = lambda name, seed: np.concatenate(
    list(big.noise(write.Tensor(name, tensor.shape, tensor.dtype), seed))
  )
  x = draw("x", 0)
  assert x.shape == tensor.shape
  assert x.dtype == tensor.dtype
  assert (np.abs(x.astype(np.float64)) < 2).all()
  assert len(np.unique(x.view(f"u{x.dtype.itemsize}"))) > 80
  np.testing.assert_array_equal(draw("x", 0), x)
  assert (draw("x", 1) != x).any()
  assert (draw("y", 0) != x).any()


def test_a_small_big_checkpoint_is_read(tmp_path):
  written = big.qwen2(tmp_path / "model", gigabytes=0.002, width=128, ids=500)
  index = safetensors.open_folder(tmp_path / "model")
  assert safetensors.total_bytes(index) == written
  assert abs(written - 2e6) < 3e5
  assert index["model.layers.0.mlp.down_proj.weight"].shape == (128, 512)
  assert (tmp_path / "model" / "config.json").exists()


READER = """
import resource, sys
from r1.model.hf import safetensors
index = safetensors.open_folder(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
for entry in index.values():
  assert safetensors.read(entry).nbytes == entry.stop - entry.start
print(peak() - before, max(entry.stop - entry.start for entry in index.values()))
"""


@pytest.mark.slow
def test_reading_two_gigabytes_takes_the_memory_of_the_largest_tensor(tmp_path):
  """The largest has 134e6 bytes; a mapped file would count as resident with all of its 2e9."""
  written = big.qwen2(tmp_path / "model", gigabytes=2)
  done = subprocess.run(
    [sys.executable, "-c", READER, tmp_path / "model"],
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  grown, largest = map(int, done.stdout.split())
  print(
    f"{written / 1e9:.2f}e9 bytes read; {grown / 1e6:.0f}e6 resident, {largest / 1e6:.0f}e6 max"
  )
  assert written > 1.8e9
  assert grown < 1.1 * largest + 2**24
