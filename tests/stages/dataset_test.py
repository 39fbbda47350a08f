"""A stage's data set: what is written, what is read back, and what does not fit together."""

import dataclasses
import json
import re

import pytest

from r1.data import array_records, conversations, questions
from r1.stages import dataset
from r1.text import tokenizer as tokenizers
from r1.train import pretrain
from tests.train import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # TFDS and its dependencies warn of themselves

ASKED = questions.Question(id="3+4", prompt="what is 3 + 4 ?", answer="7")
TEXT = "<think>first 3 + 4 = 7, so 7</think>the result is \\boxed{7}."
SMALLER = pretrain.PretrainConfig(**tiny.PRETRAIN | {"vocabulary": 330})
COUNTS = {"reasoning": {"kept": 2, "dropped": {"wrong": 3, "mixed": 1}}}


def rows():
  about = {"tokenizer": tiny.tokenizer(), "template": "short"}
  talk = questions.Question(id="en/hi", prompt="say hi", kind="helpful")
  return [
    dataset.row(ASKED, TEXT, 0, source="runs/dev2", **about),
    dataset.row(ASKED, TEXT + " ", 2, source="runs/dev2", **about),
    dataset.row(talk, "hi.", 0, source="people", **about),
  ]


def publish(folder, made=None, template="short"):
  return dataset.publish(
    folder,
    "harvest",
    rows() if made is None else made,
    what="Answers.",
    template=template,
    mode="boxed",
    tokenizer=tiny.tokenizer(),
    counts=COUNTS,
    parents={"runs/dev2": "abcdef"},
    settings={"collect.samples": 4},
  )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  folder = tmp_path_factory.mktemp("harvest")
  publish(folder)
  return folder


def test_a_line_says_where_it_comes_from_and_how_long_it_is():
  line = rows()[1]
  assert line["id"] == "runs/dev2/3+4/2"
  # Begin of text, five and a half words of the template, and so on: counted by the tokenizer.
  given = conversations.Conversation(
    messages=tuple(conversations.Message(**m) for m in line["messages"]), origin=""
  )
  tokens, scored = conversations.encode(tiny.tokenizer(), "short", given)
  assert line["meta"] == {
    "source": "runs/dev2",
    "question": "3+4",
    "domain": "math",
    "language": "en",
    "sample": 2,
    "tokens": len(tokens),
    "answer_tokens": int(scored.sum()),
  }


def test_jsonl_and_array_record_hold_the_same_conversations(published):
  found = dataset.read(str(published))
  assert [c.messages[1].content for c in found] == [TEXT, TEXT + " ", "hi."]
  assert conversations.load(published / "harvest.jsonl") == found
  lines = [json.loads(line) for line in (published / "harvest.jsonl").read_text().splitlines()]
  records = array_records.read(published / "tfds" / "harvest" / "1.0.0")
  assert sorted(lines, key=lambda line: line["id"]) == records


def test_the_same_rows_have_the_same_digest(published, tmp_path):
  same = publish(tmp_path)
  assert same == dataset.about(published)
  assert (tmp_path / "harvest.jsonl").read_bytes() == (published / "harvest.jsonl").read_bytes()
  other = publish(tmp_path, rows()[:2])
  assert other.digest != same.digest
  assert other.rows == 2


def test_the_card_tells_domains_reasons_parents_and_digests(published):
  card = (published / "README.md").read_text()
  lengths = [row["meta"]["tokens"] for row in rows()]
  assert f"| math | 2 | 1.0 | {sum(lengths[:2]) / 2:,.1f} |" in card
  assert f"| total | 3 | 1.0 | {sum(lengths) / 3:,.1f} |" in card
  assert "| reasoning | sampled or read | 6 |" in card, "2 kept, 3 wrong and 1 mixed"
  assert "| reasoning | the answer is wrong | 3 |" in card
  assert "| `runs/dev2` | `abcdef` |" in card
  told = dataset.about(published)
  assert told is not None
  assert told.digest in card


def test_a_file_is_read_as_a_file(published):
  file = str(published / "harvest.jsonl")
  assert dataset.read(file) == dataset.read(str(published))
  assert dataset.parents(file) == {}
  assert dataset.parents("") == {}
  dataset.check(file, "runs/base", template="chat", tokenizer=None)


def test_somebody_s_own_file_becomes_lines(published):
  about = {"tokenizer": tiny.tokenizer(), "template": "chat"}
  found = dataset.from_file(str(published / "harvest.jsonl"), **about)
  assert [row["messages"] for row in found] == [row["messages"] for row in rows()]
  assert {row["meta"]["domain"] for row in found} == {"general"}


# Refusals ----------------------------------------------------------------------------------------


def test_a_folder_without_a_data_set_is_refused_by_name(tmp_path):
  with pytest.raises(ValueError, match=rf"data={tmp_path} holds no dataset\.json"):
    dataset.read(str(tmp_path))


def test_the_data_set_of_a_stage_that_is_not_finished_is_refused(tmp_path):
  publish(tmp_path)
  (tmp_path / "run.json").write_text('{"stage": "harvest", "config": {}}')
  with pytest.raises(ValueError, match="this run of harvest is not finished"):
    dataset.read(str(tmp_path))
  dataset.finish(tmp_path)
  assert len(dataset.read(str(tmp_path))) == 3


def test_conversations_that_are_not_those_written_are_refused(tmp_path):
  publish(tmp_path)
  file = tmp_path / "harvest.jsonl"
  file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
  with pytest.raises(ValueError, match="is not what its stage wrote: 2 conversations there, 3 in"):
    dataset.read(str(tmp_path))


def test_another_template_or_tokenizer_is_refused_naming_both_sides(published):
  same, other = tiny.tokenizer(), pretrain.train_tokenizer(tiny.WORLD, SMALLER)
  dataset.check(str(published), "runs/base", template="short", tokenizer=same)
  with pytest.raises(ValueError, match=r"made with template 'short', but runs/base .* 'chat'"):
    dataset.check(str(published), "runs/base", template="chat", tokenizer=same)
  ours, theirs = (tokenizers.identity(t) for t in (same, other))
  told = f"made with the tokenizer {ours}, but runs/base has {theirs}"
  with pytest.raises(ValueError, match=re.escape(told)):
    dataset.check(str(published), "runs/base", template="short", tokenizer=other)
  dataset.check(str(published), "a student", template="short", tokenizer=None)


def test_an_exported_model_takes_the_data_set_of_the_model_that_it_was(published):
  """Its tokenizer comes with other files, and its ids mean the same."""
  same = tiny.tokenizer()
  exported = dataclasses.replace(same, files=same.files | {"extra.json": b"{}"}, digest="another")
  dataset.check(str(published), "runs/base/hf", template="short", tokenizer=exported)


def test_two_conversations_of_one_id_are_refused(tmp_path):
  with pytest.raises(ValueError, match="1 ids stand for several conversations"):
    publish(tmp_path, rows() + rows()[:1])
  assert dataset.about(tmp_path) is None
