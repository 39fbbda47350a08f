"""A preset alone is a dry run: its architecture and sizes, the world's tokenizer and data."""

import json

import pytest

from configs import r1_zero as rl_recipe
from configs import sft as sft_recipe
from experiments import sft
from r1.model import presets
from r1.stages import reinforce
from r1.train import metrics, workdir
from tests.experiments import runs, tiny_run, tiny_sft

TINY = {
  "base.pretrain.tokenizer_documents": 300,
  "runtime.dtype": "float32",
  "runtime.attend": "einsum",
  "runtime.remat": "none",
  "optimizer.warmup": 0,
}
RL = TINY | {
  "data.count": 32,
  "rl.rollouts": 1,
  "rl.questions_per_rollout": 2,
  "rl.limit": ((0, 8),),
  "grpo.group": 2,
  "batch.row_tokens": 512,
  "batch.microbatch_tokens": 1024,
  "batch.minibatches": 1,
  "sampler.slots": 4,
  "eval.questions": 2,
  "eval.wide": 1,
  "eval.samples": 1,
  "eval.limit": 8,
}
SFT = TINY | {
  "data.count": 60,
  "data.share": 0.2,
  "sft.epochs": 0,
  "sft.steps": 1,
  "sft.conversations": 2,
  "sft.row_tokens": 512,
  "sft.microbatch_tokens": 1024,
}


@pytest.fixture(autouse=True)
def no_base(cache):
  """None is made: it would lie in the cache."""
  yield
  assert not list(cache.glob("**/model.json"))


def check(folder):
  """The preset's own widths, and a lineage that names it."""
  cfg = workdir.load(folder).cfg
  raw = presets.RAW["tiny-qwen3"]
  assert tuple(raw[name] for name in ("hidden_size", "intermediate_size", "vocab_size")) == (
    cfg.D,
    cfg.F,
    cfg.V,
  )
  assert 0 < cfg.ids <= 384, "the tokenizer is the world's"
  parents = json.loads((folder / "lineage.json").read_text())["parents"]
  assert parents == {"tiny-qwen3": "tiny-qwen3"}


@pytest.mark.slow
def test_r1_zero_runs_dry_on_a_preset(tmp_path):
  made = runs.changed(rl_recipe.get_config("model=tiny-qwen3"), RL)
  folder = tiny_run.start(made, tmp_path / "run")
  check(folder)
  assert [r["step"] for r in metrics.read(folder / "metrics.jsonl") if "policy/loss" in r] == [1]


def test_sft_runs_dry_on_a_preset(tmp_path):
  made = runs.changed(sft_recipe.get_config("model=tiny-qwen3"), SFT)
  tiny_sft.start(made, tmp_path / "run")
  check(tmp_path / "run")
  found = metrics.read(tmp_path / "run" / "metrics.jsonl")
  assert [r["step"] for r in found if "sft/loss" in r] == [1]


@pytest.mark.parametrize(
  "arg", ["model=qwen3-4b", "paper,model=deepseek-v3", "tiny,model=qwen3-4b"]
)
def test_every_size_takes_a_preset_without_questions_or_conversations(arg):
  assert reinforce.read(rl_recipe.get_config(arg)).data.questions == ""
  assert sft.read(sft_recipe.get_config(arg)).conversations


@pytest.mark.parametrize("arg", ["model=Qwen3-4B", "paper,model=runs/base"])
def test_a_model_of_files_still_brings_no_data(arg):
  with pytest.raises(ValueError, match="neither a base nor questions"):
    reinforce.read(rl_recipe.get_config(arg))
  with pytest.raises(ValueError, match="neither base nor conversations"):
    sft.read(sft_recipe.get_config(arg))


def test_answers_that_a_preset_has_no_room_for_are_told_by_the_setting(tmp_path):
  """The recipe of one accelerator is meant for contexts above a tiny preset's 512."""
  made = runs.changed(rl_recipe.get_config("model=tiny-qwen3"), RL | {"rl.limit": ((0, 1024),)})
  with pytest.raises(ValueError, match=r"answers of 1024 \(rl.limit\) share context=512"):
    tiny_run.start(made, tmp_path / "run")
