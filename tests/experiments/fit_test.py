"""The tool that says whether a config fits, on this host's own compiler."""

import types

import pytest

from configs import r1_zero
from experiments import fit

ALL = ["update", "score", "prefill", "decode"]


def given(**changes):
  return types.SimpleNamespace(**({"topology": "cpu", "steps": ALL, "prompt": 24} | changes))


def config(**mesh):
  c = r1_zero.get_config("tiny")
  c.mesh.update(mesh)
  return c


def test_every_step_of_a_config_is_compiled_and_described(capsys):
  assert fit.main(config(fsdp=4, tensor=2), given())
  text = capsys.readouterr().out
  assert text.startswith("cpu: 8 devices\n")
  assert "update: up to 4 micro-batches of 8 rows x 128 tokens" in text
  assert "score: 8 rows x 128 tokens" in text
  assert "prefill: prompts of 32 tokens, cache of 24,576 tokens with 0.00 GB a device" in text
  assert "decode: 128 rows x 16 steps, cache of 24,576 tokens" in text
  assert text.count("peak ") == text.count("compiled in ") == 4


def test_a_preset_is_described_without_its_weights(capsys):
  c = r1_zero.get_config("model=tiny-qwen2")
  c.mesh.update(fsdp=8)
  c.batch.update(row_tokens=1040, microbatch_tokens=8 * 1040)
  assert fit.main(c, given(steps=["score"]))
  assert "score: 8 rows x 1,040 tokens" in capsys.readouterr().out


def test_what_cannot_be_compiled_is_refused():
  with pytest.raises(ValueError, match="--steps=learn: there are update,score,prefill,decode"):
    fit.main(config(fsdp=8), given(steps=["score", "learn"]))
  with pytest.raises(ValueError, match=r"mesh .* needs 4 devices; there are 8"):
    fit.main(config(fsdp=4), given())
  c = config(fsdp=8)
  c.sampler.slots = 12
  with pytest.raises(ValueError, match=r"batches of \[12\] rows do not divide"):
    fit.main(c, given())
  c.sampler.update(slots=16, draft="lookup")
  with pytest.raises(ValueError, match=r"draft='lookup'.*compiles the paged engine"):
    fit.main(c, given(steps=["decode"]))
  del c.grpo
  with pytest.raises(ValueError, match="steps of RL"):
    fit.main(c, given())
