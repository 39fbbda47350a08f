"""Recorded checkpoints of five kinds, against what transformers computed from them (float32, CPU).

The fixtures are random weights in the layout of published checkpoints; see their README.
"""

import functools
import json
import os
import pathlib

import numpy as np
import pytest

from r1.evals import forward
from r1.model.hf import config, load
from tests.model import tiny

DATA = os.environ.get("R1_TEST_DATA")
NAMES = ("qwen2", "llama", "qwen3", "deepseek_v3", "deepseek_v3_fp8")
recorded = pytest.mark.skipif(DATA is None, reason="R1_TEST_DATA is not set")
RUNTIME = {name: tiny.SETTINGS[name] for name in ("dtype", "attend", "remat", "rules")}
RUNTIME |= {"attention_block": 32, "logit_chunk": 2048}


def folder(name: str) -> pathlib.Path:
  return pathlib.Path(DATA or "") / "hf_parity" / name


@functools.cache
def model(name: str, **changes):
  raw = config.read(folder(name))
  cfg = config.parse(raw, RUNTIME | changes)
  return load.load(folder(name), raw, cfg, dtype="float32"), cfg


@functools.cache
def found(name: str, **changes):
  """(what the fixture recorded, what we compute)."""
  with np.load(folder(name) / "io.npz") as file:
    want = dict(file)
  asked = ("input_ids", "attention_mask", "greedy_prompt_len")
  params, cfg = model(name, **changes)
  return want, forward.outputs(params, cfg, {key: want[key] for key in asked}, 16)


@recorded
@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_number_is_met(name):
  want, got = found(name)
  assert want.keys() - {"input_ids", "attention_mask", "greedy_prompt_len"} == got.keys()
  for key in got:
    if got[key].dtype.kind == "i":
      np.testing.assert_array_equal(got[key], want[key], err_msg=key)
    else:
      np.testing.assert_allclose(got[key], want[key], rtol=0, atol=1e-4, err_msg=key)


@recorded
@pytest.mark.parametrize("absorb", [True, False])
def test_greedy_tokens_are_those_of_either_way_to_read_a_latent_cache(absorb):
  params, cfg = model("deepseek_v3", absorb=absorb)
  want, _ = found("deepseek_v3")
  tokens = forward.continuation(params, want["input_ids"], want, 16, cfg)
  np.testing.assert_array_equal(tokens, want["greedy_tokens"])


@recorded
@pytest.mark.parametrize("name", NAMES)
def test_both_layouts_of_the_config_mean_the_same(name):
  newer = json.loads((folder(name) / "config_v5.json").read_text())
  assert config.parse(newer, RUNTIME) == config.parse(config.read(folder(name)), RUNTIME)


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({}, "wanted input_ids"),
    ({"input_ids": np.zeros((2, 3))}, "input_ids are float64"),
    ({"input_ids": np.array([[1, 40]])}, "run from 1 to 40, the model has 0 to 31"),
    (
      {"input_ids": np.array([[1, 2]]), "attention_mask": np.array([[1, 0]])},
      "must be 0s and then 1s",
    ),
    ({"input_ids": np.array([[1, 2]]), "greedy_prompt_len": 5}, "greedy_prompt_len=5, wanted 1"),
  ],
)
def test_input_that_makes_no_sense_is_refused(arrays, message):
  cfg = tiny.config()
  with pytest.raises(ValueError, match=message):
    forward.outputs(tiny.params(cfg), cfg, arrays, 1)
