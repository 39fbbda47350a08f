"""Every family through the stages: a checkpoint in, three steps of each kind, a checkpoint out."""

import gzip
import json
import os
import pathlib
import types
import warnings

import numpy as np
import pytest

from configs import r1_zero as rl_recipe
from configs import sft as sft_recipe
from experiments import export as exporting
from experiments import sft
from r1.evals import forward
from r1.train import metrics, workdir
from tests.experiments import families, tiny_run

DATA = os.environ.get("R1_TEST_DATA")
RL = {
  "data.share": 0.2,
  "rl.rollouts": 3,
  "rl.questions_per_rollout": 2,
  "rl.limit": ((0, 12),),
  "grpo.group": 2,
  "grpo.max_tokens": 12,
  "batch.row_tokens": 1024,
  "batch.microbatch_tokens": 2048,
  "batch.minibatches": 1,
  "sampler.slots": 8,
  "eval.questions": 2,
  "eval.wide": 2,
  "eval.samples": 1,
  "eval.limit": 8,
  "reward.own": (("tests.experiments.own:varied", 1.0),),
}
SFT = {
  "data.share": 0.2,
  "sft.steps": 3,
  "sft.epochs": 0,
  "sft.conversations": 2,
  "sft.row_tokens": 512,
  "sft.microbatch_tokens": 1024,
}
BOTH = {"runtime.dtype": "float32", "optimizer.warmup": 0, "optimizer.learning_rate": 1e-3}


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
  """The first questions of GSM8K, in its own layout."""
  if DATA is None:
    pytest.skip("R1_TEST_DATA is not set")
  with gzip.open(pathlib.Path(DATA) / "gsm8k" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
    lines = [line for line, _ in zip(file, range(60))]
  path = tmp_path_factory.mktemp("questions") / "gsm8k.jsonl"
  path.write_text("".join(line for line in lines if len(line) < 500), encoding="utf-8")
  return path


def pattern(model):
  """PEFT reads no adapters of a mixture's feed-forwards."""
  return {"lora.pattern": r"\w+/attn/\w+"} if "deepseek" in str(model) else {}


def reinforce(model, questions, folder, lora: int):
  made = rl_recipe.get_config(f"model={model},lora={lora}")
  made.update_from_flattened_dict(RL | BOTH | pattern(model) | {"data.questions": str(questions)})
  return tiny_run.start(made, folder)


def tune(model, folder, lora: int):
  chats = folder.parent / "chats.jsonl"
  turn = lambda i: [
    {"role": "user", "content": f"{i} + 1?"},
    {"role": "assistant", "content": f"{i + 1}"},
  ]
  lines = [json.dumps({"messages": turn(i) + turn(i + 1)}) for i in range(12)]
  chats.write_text("\n".join(lines), encoding="utf-8")
  made = sft_recipe.get_config(f"model={model},lora={lora},data={chats}")
  template = {"sft.template": "chat" if "deepseek" in str(model) else "own"}  # R1's drops thoughts
  made.update_from_flattened_dict(SFT | BOTH | pattern(model) | template)
  sft.main(made, folder)
  return folder


def write_out(folder, out, adapters=None):
  """What `python -m experiments.export` does, in this process."""
  given = {"model": folder, "out": out, "dtype": "float32", "shard_gb": 5.0, "best": False}
  exporting.main(types.SimpleNamespace(**given, adapters=adapters))
  return out


def ours(folder):
  """Logits of a trained workdir on a few tokens, for the ids that the tokenizer has."""
  model = workdir.load(folder)
  logits = forward.outputs(model.params, model.cfg, {"input_ids": TOKENS}, 0)["logits"]
  return logits[..., : model.cfg.ids]


TOKENS = np.random.default_rng(0).integers(0, 500, (2, 24))


def theirs(folder, adapters=None):
  """What transformers (and peft) compute, and the weights that it missed or did not expect."""
  reason = "{} is not installed: pip install -e '.[parity]'"
  torch = pytest.importorskip("torch", reason=reason.format("torch"))
  transformers = pytest.importorskip("transformers", reason=reason.format("transformers"))
  model, found = transformers.AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, output_loading_info=True
  )
  if adapters is not None:
    peft = pytest.importorskip("peft", reason=reason.format("peft"))
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers retires
      model = peft.PeftModel.from_pretrained(model, adapters)
  with torch.no_grad():
    logits = model.eval()(input_ids=torch.tensor(TOKENS), use_cache=False).logits.numpy()
  return logits, {kind: names for kind, names in found.items() if names}


@pytest.mark.slow
@pytest.mark.parametrize("name", families.TOKENIZERS)
@pytest.mark.parametrize("kind", ["grpo", "lora-grpo", "sft", "lora-sft"])
def test_a_family_goes_in_learns_and_comes_out(name, kind, questions, tmp_path):
  model, rank = families.write(tmp_path, name), 4 if "lora" in kind else 0
  if kind.endswith("grpo"):
    folder = reinforce(model, questions, tmp_path / "run", rank)
    records = metrics.read(folder / "metrics.jsonl")
    assert max(record.get("sampler/logp_gap", 0) for record in records) < 1e-4
    assert records[-1].get("policy/skipped", 0) == 0
  else:
    folder = tune(model, tmp_path / "run", rank)
    found = [r["eval/loss"] for r in metrics.read(folder / "metrics.jsonl") if "eval/loss" in r]
    assert len(found) == 2  # before and after
    assert found[-1] < found[0]
  out = write_out(folder, tmp_path / "out")
  want = ours(folder)
  ids = want.shape[-1]
  got, odd = theirs(out)
  assert not odd
  np.testing.assert_allclose(got[..., :ids], want, rtol=0, atol=1e-4)
  before, _ = theirs(model)
  assert np.abs(before - got).max() > 1e-4  # something was learned
  if rank:
    write_out(folder, tmp_path / "adapters", adapters=str(model))
    adapted, _ = theirs(model, tmp_path / "adapters")
    np.testing.assert_allclose(adapted[..., :ids], want, rtol=0, atol=1e-4)
