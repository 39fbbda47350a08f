"""The loop of the stages that imitate; tests/experiments/sft_test.py runs it from end to end."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
import rich.console

from experiments import sft
from r1.data import conversations
from r1.model import config, transformer
from r1.stages import imitate
from r1.train import metrics, pretrain, state, workdir
from tests.experiments import tiny_sft
from tests.train import tiny


def made(text, response="it is so"):
  messages = (conversations.Message("user", text), conversations.Message("assistant", response))
  return conversations.Conversation(messages=messages, origin="here:1")


def newborn(model, world, opt, cfg, report):
  """A base without a single step."""
  tokenizer = pretrain.train_tokenizer(world, cfg)
  model_cfg = config.ModelConfig(**model, ids=tokenizer.size)
  specs = transformer.specs(model_cfg)
  params = state.initial_params(jax.random.key(cfg.seed), specs, None, None)
  return workdir.Model(model_cfg, tokenizer, params)


def settings():
  c = tiny_sft.config(sft__steps=2, sft__eval_every=0, sft__conversations=2)
  return c, imitate.read(c)


def data(parents=(), held=()):
  train = [made(f"{i} + 1 ?") for i in range(4)]
  return imitate.Data(train=train, held=list(held), parents=dict(parents), counts={})


def test_a_stage_of_any_name_learns_and_tells_where_its_conversations_come_from(
  patch, cache, tmp_path
):
  patch.setattr(pretrain, "train", newborn)
  c, cfg = settings()
  with imitate.session(c, cfg.batch.rows) as at:
    parents = {"runs/dev2": "abc"}
    setup, begun = imitate.build("cold_start", c, cfg, data(parents), tmp_path / "run", at)
    assert setup.held == []
    imitate.train(setup, begun)
  papers = json.loads((tmp_path / "run" / "lineage.json").read_text())
  assert papers["stage"] == "cold_start"
  assert papers["parents"]["runs/dev2"] == "abc"
  assert len(papers["parents"]) == 2, "the base beside it"
  assert [r["step"] for r in metrics.read(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
  with pytest.raises(ValueError, match="belongs to a run of cold_start"):
    sft.main(c, tmp_path / "run")
  with (
    imitate.session(c, cfg.batch.rows) as at,
    pytest.raises(ValueError, match=r"began with parents .*abc.*now they are .*abd"),
  ):
    imitate.build("cold_start", c, cfg, data({"runs/dev2": "abd"}), tmp_path / "run", at)


def test_conversations_that_do_not_fit_are_told_with_what_they_are():
  _, cfg = settings()
  written = io.StringIO()
  said = rich.console.Console(file=written, width=200)
  model_cfg = tiny.model(context=64)
  model = workdir.Model(model_cfg, tiny.tokenizer(), {})
  given = [made("1 + 1 ?"), made("1 + 2 ?", "b" * 200)]
  cfg = dataclasses.replace(cfg, overlong="drop")
  assert len(imitate.tokenize(given, "held-out conversations", model, cfg, said)) == 1
  assert "1 of 2 held-out conversations are longer than 64 tokens" in written.getvalue()


def test_every_conversation_of_a_digest_is_counted_those_that_are_not_looked_at_too():
  given = data(held=[made(f"{i} + 2 ?") for i in range(7)])
  found = imitate.counted(given, train=["tokens"] * 3, held=["tokens"] * 4, shown=5)
  assert found == {
    "train": {"kept": 3, "dropped": {imitate.OVERLONG: 1}},
    "held_out": {"kept": 4, "dropped": {imitate.OVERLONG: 1, imitate.SPARE: 2}},
  }


def test_a_schedule_that_cannot_be_is_refused_before_any_compute(no_compute):
  with pytest.raises(ValueError, match=r"final=2\.0 must be in"):
    imitate.read(tiny_sft.config(optimizer__final=2.0))


@pytest.mark.parametrize("template", ["short", "chat"])
def test_answers_are_learned_whole_from_the_thought_to_the_end_in_rows_of_their_own(template):
  """TRL #3067, LLaMA-Factory #7318: no answer is wrapped over two rows, each position starts anew.

  The end is a target, and no template takes the thought away.
  """
  tokenizer, cfg = tiny.tokenizer(), tiny.batch_config(row_tokens=128, rows=1, minibatches=1)
  answers = [f"<think>first {i} + 1 = {i + 1}, so {i + 1}</think>{'well ' * i}." for i in range(6)]
  given = [made(f"{i} + 1 ?", text) for i, text in enumerate(answers)]
  encoded, _ = conversations.encode_all(tokenizer, template, given, longest=128, overlong="refuse")
  batch, used = imitate.objective.assemble(
    encoded, normalise="token", cfg=cfg, microbatches=len(encoded)
  )
  assert 1 < used < len(given), "several rows, and several answers in one"
  learned = []
  for u in range(used):
    row = [np.asarray(x)[u, 0] for x in (batch.segment_BL, batch.position_BL)]
    targets, weights = np.asarray(batch.target_BL)[u, 0], np.asarray(batch.weight_BL)[u, 0]
    for segment in range(1, row[0].max() + 1):
      inside = row[0] == segment
      np.testing.assert_array_equal(row[1][inside], np.arange(inside.sum()))
      ids = targets[inside & (weights > 0)].tolist()
      assert ids[-1] == tokenizer.eos[0]
      learned.append(tokenizer.decode(ids))
  opened = {"short": "", "chat": "<think>"}[template]  # the prompt's, and so no target
  assert sorted(opened + text for text in learned) == sorted(answers)
