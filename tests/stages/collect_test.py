"""Answers in shards: the same whether or not the run was killed, and of one model alone."""

import dataclasses
import json

import pytest

from r1.data import questions
from r1.stages import collect
from r1.train import workdir
from tests.sampling import settings
from tests.train import tiny

CFG = collect.CollectConfig(seed=3, template="short", samples=2, temperature=1.0, limit=6, shard=2)
ASKED = [questions.Question(id=f"q{i}", prompt=f"what is {i} + 1 ?", answer="7") for i in range(5)]
SAMPLER = settings.sampler(
  slots=4, prompt_bucket=32, chunk=4, cache_tokens=4096, layout="auto", in_flight=1
)


def by_length(asked, answers):
  """A judge that needs no processes."""
  return ["right" if len(a.text) % 2 else "wrong" for a in answers]


def run(folder, asked=ASKED, source="abc", judge=by_length, **changes):
  cfg = tiny.model(stacks=(("dense", 1),))
  model = workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg))
  said = []
  given = dataclasses.replace(CFG, **changes)
  found = collect.collect(
    model, asked, given, SAMPLER, judge, folder, source=source, say=said.append
  )
  return found, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp("whole")
  return folder, *run(folder)


def test_every_question_has_its_answers_in_order_with_their_verdicts(whole):
  folder, found, said = whole
  assert [(a.question.id, a.number) for a in found] == [(q.id, n) for q in ASKED for n in (0, 1)]
  assert [a.verdict for a in found] == by_length(None, [a.response for a in found])
  assert all(1 <= a.response.tokens <= 6 for a in found)
  assert len({a.response.text for a in found}) > 5, "each answer is a draw of its own"
  assert [path.name for path in sorted((folder / "shards").glob("*.jsonl"))] == [
    "00000.jsonl",
    "00001.jsonl",
    "00002.jsonl",
  ]
  assert said == [f"sampled {n} of 5 questions" for n in (2, 4, 5)]


def test_a_killed_run_goes_on_with_the_next_shard_and_ends_the_same(whole, tmp_path):
  asked = []

  def dies(questions, answers):
    asked.extend(questions)
    if len(asked) > 4:  # 2 questions x 2 samples are a shard
      raise KeyboardInterrupt
    return by_length(questions, answers)

  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, judge=dies)
  assert [path.name for path in (tmp_path / "shards").glob("*.jsonl")] == ["00000.jsonl"]
  (tmp_path / "shards" / "00001.part").write_text('{"id": "q2", "sam')
  found, said = run(tmp_path)
  assert said == ["sampled 4 of 5 questions", "sampled 5 of 5 questions"]
  assert found == whole[1]


def test_a_whole_set_is_read_and_not_sampled_again(whole):
  def never(questions, answers):
    raise AssertionError("sampled again")

  assert run(whole[0], judge=never) == (whole[1], [])


def test_answers_do_not_depend_on_how_they_are_cut_into_shards(whole, tmp_path):
  found, _ = run(tmp_path, shard=5)
  assert found == whole[1]


def test_shards_of_another_model_or_of_other_questions_are_refused(whole):
  with pytest.raises(ValueError, match="of another model: digest abc there, abd now"):
    run(whole[0], source="abd")
  other = [dataclasses.replace(q, answer="8") for q in ASKED]
  with pytest.raises(ValueError, match=r"of other questions: digest .*give a new --workdir"):
    run(whole[0], asked=other)


def test_a_shard_that_holds_other_answers_is_refused(whole, tmp_path):
  path = tmp_path / "00000.jsonl"
  lines = (whole[0] / "shards" / "00000.jsonl").read_text().splitlines()
  path.write_text("\n".join(lines[1:]) + "\n")
  with pytest.raises(ValueError, match="holds answers to other questions"):
    collect.read(path, ASKED[:2], 2)
  assert json.loads(lines[0])["id"] == "q0"


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"question 'q0': \d+ tokens, and limit=500 for its answer"):
    run(tmp_path, limit=500)
  assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"samples": 0}, "samples=0 must be >= 1"),
    ({"temperature": 0.0}, r"temperature=0\.0 with samples=2"),
    ({"template": "own"}, "unknown template 'own'"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(CFG, **changes)
