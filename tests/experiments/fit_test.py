"""The tool that says whether a config fits, on this host's own compiler."""

import types

import jax
import pytest

from configs import r1_zero
from experiments import fit
from r1 import sharding
from r1.stages import reinforce
from r1.train import rl

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


@pytest.mark.parametrize("share_prompts", [True, False])
def test_the_update_is_compiled_for_the_batches_of_the_run(share_prompts):
  """The arrays that a run's update takes, micro-batch by micro-batch."""
  c = config(fsdp=8)
  c.batch.share_prompts, c.sampler.in_flight = share_prompts, 1
  mesh = sharding.make_mesh(dict(c.mesh))
  cfg = fit.describe(c, sharding.FSDP_TENSOR)
  with sharding.on(mesh):
    _, lowered = fit.lower("update", c, cfg, mesh, prompt=24)
  (_, (found, _), _), _ = lowered.args_info
  stage = reinforce.read(c)
  want, _ = rl.empty_step(stage.batch, stage.grpo, found.token_BL.shape[0])
  kinds = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  assert kinds(found) == kinds(want)
  assert (found.parent_BL is not None) == share_prompts


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
  c.sampler.draft = "none"
  c.runtime.attend = "splash"
  with pytest.raises(ValueError, match="share_prompts=True with attend='splash'"):
    fit.main(c, given())
  del c.grpo
  with pytest.raises(ValueError, match="steps of RL"):
    fit.main(c, given())
