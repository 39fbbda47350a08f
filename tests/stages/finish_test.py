"""The end of a stage: complete when finished.json is there, and the same after any death."""

import io
import json

import numpy as np
import pytest
import rich.console

from r1 import spec
from r1.model import lora
from r1.model.hf import config as hf_config
from r1.model.hf import load
from r1.stages import finish
from r1.train import lineage, run, workdir
from tests.train import tiny

CONFIG = {"sft": {"seed": 1}}


def model(**changes):
  cfg = tiny.model(ids=tiny.tokenizer().size, D=32, **changes)
  return workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg))


def begin(folder, parents=()):
  run.claim(folder, "sft", CONFIG)
  lineage.begin(folder, "sft", dict(parents), {"train": "ab"}, {})
  return folder


def end(folder, made):
  said = rich.console.Console(file=io.StringIO(), width=200)
  texts = [("1 + 1 ?", "2")]
  finish.finish(folder, made, numbers={"eval/loss": 1.0}, texts=texts, console=said)
  return said.file.getvalue()


def test_a_finished_stage_is_a_checkpoint_with_a_card_and_a_page(tmp_path):
  made, folder = model(), begin(tmp_path / "sft")
  said = end(folder, made)
  assert "hf" in said
  assert "samples.md" in said
  assert "| eval/loss | 1 |" in (folder / "hf" / "README.md").read_text()
  assert "1 + 1 ?" in (folder / "samples.md").read_text()
  wanted = {
    "model": lineage.digest_of_arrays(made.params),
    "hf": lineage.digest(folder / "hf"),
  }
  assert lineage.finished(folder) == wanted
  assert lineage.digest(folder) == wanted["model"]


def test_adapters_are_added_to_the_exported_weights(tmp_path):
  adapters = lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/q_DHK")
  made, folder = model(lora=adapters), begin(tmp_path / "sft")
  end(folder, made)
  raw = hf_config.read(folder / "hf")
  cfg = hf_config.parse(raw, {**RUNTIME}, mtp=False)
  found = load.load(folder / "hf", raw, cfg, dtype="float32", mesh=None, rules=None)
  wanted = lora.merge_all(made.params, adapters)
  for path, array in spec.flatten(wanted).items():
    np.testing.assert_array_equal(spec.flatten(found)[path], array, err_msg=path)


RUNTIME = {
  "dtype": "float32",
  "attend": "einsum",
  "attention_block": 32,
  "logit_chunk": 64,
  "remat": "none",
  "rules": None,
}


class Died(BaseException):
  pass


@pytest.mark.parametrize("last", ["export", "page", "finished"])
def test_a_stage_that_dies_at_its_end_ends_like_one_that_did_not(tmp_path, monkeypatch, last):
  made, whole, folder = model(), begin(tmp_path / "whole"), begin(tmp_path / "killed")
  end(whole, made)

  def die(*_, **__):
    raise Died

  where = {
    "export": (finish.export, "export"),
    "page": (finish.pages, "samples"),
    "finished": (lineage, "finish"),
  }
  with monkeypatch.context() as patch:
    patch.setattr(*where[last], die)
    with pytest.raises(Died):
      end(folder, made)
  assert lineage.finished(folder) is None
  (folder / "hf").mkdir(exist_ok=True)
  (folder / "hf" / "half.safetensors").write_text("what a killed run left")
  end(folder, made)
  assert lineage.finished(folder) == lineage.finished(whole)
  names = [sorted(p.name for p in (f / "hf").iterdir()) for f in (whole, folder)]
  assert names[0] == names[1]


def test_a_finished_stage_says_so_and_refuses_another_config(tmp_path, capsys):
  folder = begin(tmp_path / "sft")
  assert not finish.already(folder, "sft", CONFIG)
  lineage.finish(folder, {"model": "ab"})
  assert finish.already(folder, "sft", CONFIG)
  assert "sft is finished, there is nothing to do" in capsys.readouterr().out
  with pytest.raises(ValueError, match=r"sft\.seed: 1 there, 2 now"):
    finish.already(folder, "sft", {"sft": {"seed": 2}})
  with pytest.raises(ValueError, match="belongs to a run of sft"):
    finish.already(folder, "distill", CONFIG)


def test_a_finished_stage_tells_which_parent_has_changed(tmp_path, capsys):
  parent = begin(tmp_path / "base")
  lineage.finish(parent, {"model": "one"})
  folder = begin(tmp_path / "sft", parents={str(parent): "one"})
  lineage.finish(folder, {"model": "ab"})
  assert finish.already(folder, "sft", CONFIG)
  assert "has changed" not in capsys.readouterr().out
  lineage.finish(parent, {"model": "two"})
  assert finish.already(folder, "sft", CONFIG)
  assert "was one, is two; a new --workdir" in capsys.readouterr().out.replace("\n", " ")
  json.loads((folder / "finished.json").read_text())


def test_a_group_of_answers_has_one_place_on_the_page(tmp_path):
  lines = [
    {"step": 4, "id": f"q{i}", "prompt": f"{i} ?", "response": f"{i}, try {sample}"}
    for i in range(20)
    for sample in range(8)
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (tmp_path / "samples.jsonl").write_text(text)
  assert finish.texts(tmp_path) == [(f"{i} ?", f"{i}, try 7") for i in range(4, 20)]
