"""Cold start from R1-Zero's answers to a model: right, rewritten without the gold, resumable."""

import dataclasses
import json
import pathlib
import shutil

import pytest

from configs import cold_start as recipe
from experiments import cold_start
from r1.evals import readable
from r1.rewards import form, language
from r1.rewards.maths import extract
from r1.stages import collect, dataset, imitate
from r1.train import lineage, metrics, pretrain, run, workdir
from tests.experiments import planted, runs, tiny_sft
from tests.experiments.harvest_test import CHANGES as SMALL
from tests.experiments.sft_test import untrained

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # TFDS warns of itself

OWN = ("base.", "sft.", "optimizer.", "runtime.")
CHANGES = {k: v for k, v in tiny_sft.CHANGES.items() if k.startswith(OWN)} | {
  k: v for k, v in SMALL.items() if k != "data.general_count"
}
CHANGES |= {"share": 0.3, "sft.row_tokens": 192, "sft.microbatch_tokens": 192}
CHANGES |= {"base.model.context": 192}


@pytest.fixture(scope="module")
def zero(patch, cache):
  """A workdir that stands for R1-Zero, whose answers are planted."""
  patch.setattr(pretrain, "train", untrained)
  patch.setattr(collect, "draw", planted.draw("answer_tag"))
  made = runs.changed(recipe.get_config("tiny,model=x"), CHANGES)
  folder, _ = pretrain.cached_base(*pretrain.settings(made.base), lambda *_: None)
  return str(folder)


def config(zero, **changes):
  return runs.changed(recipe.get_config(f"tiny,model={zero}"), CHANGES, **changes)


@pytest.fixture(scope="module")
def finished(zero, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "dev1"
  cold_start.main(config(zero), folder)
  return folder


def lines(folder):
  return [json.loads(line) for line in (folder / "cold_start.jsonl").read_text().splitlines()]


def test_every_kept_answer_is_right_readable_and_in_the_question_s_language(finished):
  """By Python's own arithmetic on the prompt, not by the verifier that chose them."""
  kept, languages = lines(finished), set()
  assert len(kept) > 15
  for line in kept:
    asked, said = (m["content"] for m in line["messages"])
    name = line["meta"]["language"]
    assert int(extract.extract(said, "boxed")) == planted.value(asked)
    assert readable.readable(planted.question(asked, name), said)
    parts = form.parse(said, "boxed")
    assert language.share_of(parts.thought, language.SCRIPT_OF[name]) == 1
    languages.add(name)
  assert languages == {"en", "zh"}


def test_thoughts_in_another_language_are_translated_and_mixed_ones_dropped(finished):
  counts = lineage.read(finished)["counts"]["rewritten"]
  assert counts["kept"] + sum(counts["dropped"].values()) == 24 * 5
  assert "foreign" not in counts["dropped"]
  assert {"mixed", "wrong", "truncated", "unparsed", "code"} <= counts["dropped"].keys()
  assert counts["kept"] == len(lines(finished))


def test_the_base_is_trained_on_them_and_the_stage_finished(finished, zero):
  record = lineage.read(finished)
  assert zero in record["parents"]
  assert record["data"].keys() == {"train", "held_out"}
  assert record["counts"].keys() == {"rewritten", "train", "held_out"}
  assert [r["step"] for r in metrics.read(finished / "metrics.jsonl") if "sft/loss" in r] == [
    1,
    2,
    3,
  ]
  assert "model" in lineage.finished(finished)
  assert (finished / "hf" / "config.json").exists()
  assert workdir.load(finished).params.keys() == workdir.load(zero).params.keys()


def collected(prompt, name, text):
  asked = planted.question(prompt, name)
  said = collect.responses.Response(text=text, tokens=9, truncated=False)
  return collect.Collected(
    question=asked, number=0, response=said, verdict="right", prompt_tokens=5
  )


class Agreeable:
  """A verifier that finds everything right, so that nothing but the rewriting is seen."""

  def right(self, questions, answers):
    return [True] * len(questions)


def test_the_rewriting_never_looks_at_the_right_answer(zero):
  """A wrong gold, or none at all, gives the same texts."""
  stage = cold_start.read(config(zero))
  texts = [
    planted.text(planted.question("what is 3 + 4 - 2 ?", "en"), kind, 0, "answer_tag")
    for kind in ("right", "foreign", "wrong")
  ]
  given = [collected("what is 3 + 4 - 2 ?", "en", text) for text in texts]
  found = []
  for gold in ("5", "999", None):
    asked = dataclasses.replace(given[0].question, answer=gold)
    rows = [dataclasses.replace(row, question=asked) for row in given]
    found.append(cold_start.compose(rows, stage, Agreeable(), None))
  assert found[0] == found[1] == found[2]
  written, faults = found[0]
  assert faults == [None] * 3
  assert all(text.endswith("the result is \\boxed{5}.") for text in written), (
    "the thought's conclusion, though the tag of the third says another"
  )


def test_what_was_rewritten_is_judged_anew(zero):
  class Severe:
    def right(self, questions, answers):
      return ["\\boxed{7}" in a.text for a in answers]

  stage = cold_start.read(config(zero))
  given = [
    collected(prompt, "en", planted.text(planted.question(prompt, "en"), "right", 0, "answer_tag"))
    for prompt in ("what is 3 + 4 ?", "what is 3 + 5 ?")
  ]
  odd = collected("what is 3 + 4 ?", "en", "<think>i guess</think><answer>7</answer>")
  _, faults = cold_start.compose([*given, odd], stage, Severe(), None)
  assert faults == [None, "wrong", "rewrite"]


def test_a_run_killed_in_training_keeps_its_data_set(finished, zero, patch, tmp_path):
  folder = runs.kill(patch, cold_start, config(zero), tmp_path / "killed", at=2, loop=imitate)
  assert lineage.finished(folder) is None
  before = (folder / "dataset.json").read_bytes()
  with patch.context() as context:
    context.setattr(collect, "draw", None)  # nothing is sampled again
    cold_start.main(config(zero), folder)
  assert (folder / "dataset.json").read_bytes() == before
  assert lineage.finished(folder) == lineage.finished(finished)
  assert dataset.about(folder) == dataset.about(finished)
  assert lineage.read(folder)["counts"] == lineage.read(finished)["counts"]


def test_what_other_parents_have_made_is_never_gone_on_from(zero, patch, tmp_path):
  """Killed while it samples, or with its data set written; then R1-Zero is made anew.

  The pipeline sees that the workdir is of no use, and the stage itself refuses it.
  """

  def killed(*_):
    raise runs.Killed

  for module, name in ((collect, "draw"), (imitate, "build")):
    other, folder = tmp_path / name / "zero", tmp_path / name / "dev1"
    shutil.copytree(zero, other)
    with patch.context() as context:
      context.setattr(module, name, killed)
      with pytest.raises(runs.Killed):
        cold_start.main(config(other), folder)
    assert (dataset.about(folder) is None) == (name == "draw")
    assert lineage.changed(folder) == []
    lineage.finish(other, {"model": "another"})
    assert [line.split(" was ")[0] for line in lineage.changed(folder)] == [str(other)]
    with pytest.raises(ValueError, match=r"began with parents .* it cannot go on from others"):
      cold_start.main(config(other), folder)
    base = next(name for name in lineage.read(folder)["parents"] if name != str(other))
    assert pathlib.Path(base) == pathlib.Path(zero), "the base that is to be trained is named too"


def test_a_second_start_does_nothing_and_says_so(finished, zero, capsys):
  cold_start.main(config(zero), finished)
  assert "cold_start is finished, there is nothing to do" in capsys.readouterr().out


# Refusals ----------------------------------------------------------------------------------------


def test_nothing_kept_is_refused_with_the_table_of_reasons(zero, patch, tmp_path):
  with patch.context() as context:
    context.setattr(planted, "KINDS", ("wrong", "cut"))
    with pytest.raises(ValueError, match="of 120 answers none is kept:") as told:
      cold_start.main(config(zero), tmp_path / "none")
  assert "it did not end by itself" in str(told.value)
  assert not (tmp_path / "none" / "metrics.jsonl").exists()


def test_a_base_that_r1_zero_was_not_made_of_is_refused_before_anything_is_sampled(
  zero, patch, tmp_path
):
  made = runs.changed(recipe.get_config("tiny,model=x"), CHANGES, base__pretrain__vocabulary=340)
  other, _ = pretrain.cached_base(*pretrain.settings(made.base), lambda *_: None)
  asked = runs.changed(recipe.get_config(f"tiny,model={zero},base={other}"), CHANGES)
  with patch.context() as context:
    context.setattr(collect, "draw", None)  # sampling would fail
    with pytest.raises(ValueError, match=f"{zero} and {other} differ in tokenizer: .*384.* .*340"):
      cold_start.main(asked, tmp_path / "run")


def test_a_base_of_another_size_than_r1_zero_is_refused_before_anything_is_sampled(
  zero, patch, tmp_path
):
  made = runs.changed(recipe.get_config("tiny,model=x"), CHANGES, base__model__F=48)
  other, _ = pretrain.cached_base(*pretrain.settings(made.base), lambda *_: None)
  asked = runs.changed(recipe.get_config(f"tiny,model={zero},base={other}"), CHANGES)
  with patch.context() as context:
    context.setattr(collect, "draw", None)
    told = rf"{zero} and {other} differ in architecture: {{'F': \d+}} there, {{'F': 48}} here"
    with pytest.raises(ValueError, match=told):
      cold_start.main(asked, tmp_path / "run")


def test_a_base_that_is_not_finished_is_named_before_anything_is_sampled(zero, patch, tmp_path):
  run.claim(tmp_path / "half", "pretrain", {})
  asked = runs.changed(recipe.get_config(f"tiny,model={zero},base={tmp_path / 'half'}"), CHANGES)
  with patch.context() as context:
    context.setattr(collect, "draw", None)
    with pytest.raises(ValueError, match=r"parent .*half: this run of pretrain is not finished"):
      cold_start.main(asked, tmp_path / "run")


def test_a_cold_start_asks_for_r1_zero_and_for_questions(tmp_path, no_compute):
  with pytest.raises(ValueError, match="nothing to start from: add model=R1-ZERO"):
    cold_start.main(recipe.get_config("tiny"), tmp_path / "run")
  with pytest.raises(ValueError, match="brings neither a base nor questions"):
    cold_start.read(recipe.get_config("paper,model=runs/zero"))


def test_the_paper_s_numbers():
  """arXiv 2501.12948v2 sections B.3.2 and B.4.2."""
  c = recipe.get_config("paper,model=runs/zero,base=deepseek-v3")
  assert (c.zero, c.model) == ("runs/zero", "deepseek-v3")
  assert c.collect.temperature == 1.0
  assert (c.sft.epochs, c.sft.conversations, c.sft.row_tokens) == (2, 128, 32_768)
  assert c.optimizer.learning_rate == 5e-5
  assert c.optimizer.learning_rate * c.optimizer.final == pytest.approx(5e-6)
  assert c.filter.overlap == 10
