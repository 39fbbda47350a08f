"""The paper's six students, small: a base in Hugging Face's layout in, a student out."""

import json
import types

import jax
import numpy as np
import pytest

from configs import distill as recipe
from experiments import distill
from experiments import export as exporting
from r1.train import metrics, models, workdir
from tests.experiments import families

SMALL = {
  "data.share": 0.2,
  "sft.steps": 3,
  "sft.epochs": 0,
  "sft.conversations": 4,
  "sft.row_tokens": 512,
  "sft.microbatch_tokens": 1024,
  "mesh.fsdp": 1,
  "mesh.tensor": 1,
  "runtime.dtype": "float32",
  "runtime.attend": "einsum",
  "optimizer.warmup": 1,
}


def conversations(folder):
  """What a reasoner wrote, in two languages; one is far too long."""
  rows = [
    {"prompt": f"What is {i} + 2?", "response": f"<think>\n{i} + 2 = {i + 2}.\n</think>\n{i + 2}"}
    for i in range(12)
  ]
  rows += [{"prompt": "二加三是多少？", "response": "<think>\n二加三是五。\n</think>\n五"}]
  rows += [{"prompt": "On and on?", "response": "<think>\n" + "and on " * 900 + "\n</think>\nno"}]
  path = folder / "harvest.jsonl"
  path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
  return path


@pytest.mark.slow
@pytest.mark.parametrize("student", recipe.STUDENTS)
def test_a_student_of_the_paper_learns_from_text_and_comes_out_in_its_own_layout(
  student, tmp_path, capsys
):
  base, data = families.shrunk(tmp_path, families.BASES[student]), conversations(tmp_path)
  c = recipe.get_config(f"paper,student={student},model={base},data={data}")
  c.update_from_flattened_dict(SMALL)
  folder, out = tmp_path / "run", tmp_path / "out"
  distill.main(c, folder)
  said = capsys.readouterr().out
  assert "1 of " in said
  assert "are longer than 512 tokens: dropped" in said
  found = metrics.read(folder / "metrics.jsonl")
  assert [r["step"] for r in found if "sft/loss" in r] == [1, 2, 3]
  looks = [r["eval/loss"] for r in found if "eval/loss" in r]
  assert looks[-1] < looks[0]
  given = {"model": folder, "out": out, "dtype": "float32", "shard_gb": 5.0, "best": False}
  exporting.main(types.SimpleNamespace(**given, adapters=None))
  raw = json.loads((out / "config.json").read_text())
  assert raw["max_position_embeddings"] == 131_072
  assert not raw["tie_word_embeddings"]
  again = models.load(out, runtime=families.RUNTIME, dtype="float32", say=lambda line: None)
  assert (
    again.tokenizer.pieces
    == models.load(
      base, runtime=families.RUNTIME, dtype="float32", say=lambda line: None
    ).tokenizer.pieces
  )
  jax.tree.map(np.testing.assert_array_equal, again.params, workdir.load(folder).params)
