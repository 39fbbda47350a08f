"""Rejection sampling from answers to data set: what is kept is right, and the counts add up."""

import json

import pytest

from configs import harvest as recipe
from experiments import harvest, sft
from r1.algorithms import harvest as rules
from r1.data import conversations
from r1.evals import readable
from r1.rewards.maths import extract
from r1.stages import collect, dataset
from r1.train import lineage, models, pretrain
from tests.experiments import planted, runs, tiny_run, tiny_sft
from tests.experiments.sft_test import untrained

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # TFDS warns of itself

BASE = {name: value for name, value in tiny_run.CHANGES.items() if name.startswith("base.")}
CHANGES = BASE | {
  "data.count": 24,
  "data.terms": ((2, 0.5), (3, 0.5)),
  "data.general_count": 12,
  "collect.limit": 24,
  "collect.shard": 10,
  "collect.samples": 5,
  "filter.overlap": 30,
  "evaluation.held": 16,
  "suite.terms": (3,),
  "suite.sums": 8,
}


@pytest.fixture(scope="module")
def base(patch, cache):
  """A workdir to sample from, whose answers are planted."""
  patch.setattr(pretrain, "train", untrained)
  patch.setattr(collect, "draw", planted.draw("boxed"))
  made = tiny_sft.config()
  folder, _ = pretrain.cached_base(*pretrain.settings(made.base), lambda *_: None)
  return str(folder)


def config(base, **changes):
  return runs.changed(recipe.get_config(f"tiny,model={base}"), CHANGES, **changes)


@pytest.fixture(scope="module")
def harvested(base, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "harvest"
  harvest.main(config(base), folder)
  return folder


def lines(folder):
  return [json.loads(line) for line in (folder / "harvest.jsonl").read_text().splitlines()]


def test_every_kept_answer_is_right_and_readable_by_an_independent_check(harvested):
  """Python's own arithmetic on the prompt, not the verifier that chose them."""
  kept = [line for line in lines(harvested) if line["meta"]["domain"] == "math"]
  assert len(kept) > 20
  for line in kept:
    asked, said = (m["content"] for m in line["messages"])
    assert int(extract.extract(said, "boxed")) == planted.value(asked)
    question = planted.question(asked, line["meta"]["language"])
    assert readable.readable(question, said)


def test_the_reasons_add_up_to_what_was_sampled(harvested):
  counts = lineage.read(harvested)["counts"]
  reasoning, general = counts["reasoning"], counts["general"]
  assert reasoning["kept"] + sum(reasoning["dropped"].values()) == 24 * 5
  assert general["kept"] + sum(general["dropped"].values()) == 12
  wanted = {"wrong", "mixed", "foreign", "truncated", "unparsed", "code", "duplicate"}
  assert wanted <= reasoning["dropped"].keys(), "each was planted"
  domains = [line["meta"]["domain"] for line in lines(harvested)]
  assert domains.count("math") == reasoning["kept"]
  assert domains.count("general") == general["kept"] > 0
  assert dataset.about(harvested).counts == counts


def test_a_question_has_several_answers_and_no_more_than_wanted(harvested):
  asked = [line["meta"]["question"] for line in lines(harvested)]
  most = max(asked.count(name) for name in asked)
  assert most == config("x").filter.most == 2


def test_the_workdir_is_finished_and_says_where_all_came_from(harvested, base):
  record = lineage.read(harvested)
  assert list(record["parents"]) == [base]
  assert record["data"].keys() == {"questions", "evaluation"}
  assert lineage.finished(harvested) == {"harvest": dataset.about(harvested).digest}
  assert (harvested / "tfds" / "harvest" / "1.0.0" / "dataset_info.json").exists()
  assert "| total |" in (harvested / "README.md").read_text()


def test_a_second_start_does_nothing_and_says_so(harvested, base, capsys):
  before = (harvested / "harvest.jsonl").stat().st_mtime_ns
  harvest.main(config(base), harvested)
  assert "harvest is finished, there is nothing to do" in capsys.readouterr().out
  assert (harvested / "harvest.jsonl").stat().st_mtime_ns == before


def test_a_killed_harvest_goes_on_and_has_the_same_digest(harvested, base, patch, tmp_path):
  folder, drawn = tmp_path / "killed", []

  def dies(model, asked, *rest):
    drawn.append(len(asked))
    if len(drawn) == 3:
      raise runs.Killed
    return planted.draw("boxed")(model, asked, *rest)

  with patch.context() as context:
    context.setattr(collect, "draw", dies)
    with pytest.raises(runs.Killed):
      harvest.main(config(base), folder)
    assert lineage.finished(folder) is None
    with pytest.raises(ValueError, match="this run of harvest is not finished"):
      lineage.parent(folder)
    harvest.main(config(base), folder)
  assert drawn == [10, 10, 4, 4], "what was whole is not drawn again"
  assert lineage.finished(folder) == lineage.finished(harvested)
  assert lineage.read(folder)["counts"] == lineage.read(harvested)["counts"]


def test_another_seed_is_another_data_set(harvested, base, tmp_path):
  harvest.main(config(base, collect__seed=9), tmp_path / "other")
  assert lineage.finished(tmp_path / "other") != lineage.finished(harvested)


def test_somebody_s_own_pool_stands_beside_the_answers(harvested, base, tmp_path):
  pool = tmp_path / "pool.jsonl"
  row = {"prompt": "say hi", "response": "hi there"}
  other = {"prompt": "say bye", "response": "bye"}
  pool.write_text("".join(json.dumps(r) + "\n" for r in (row, row, other)))
  harvest.main(config(base, pool=str(pool)), tmp_path / "own")
  general = [line for line in lines(tmp_path / "own") if line["meta"]["domain"] == "general"]
  assert [line["messages"][0]["content"] for line in general] == ["say hi", "say bye"]
  record = lineage.read(tmp_path / "own")
  assert record["counts"]["general"]["dropped"] == {"duplicate": 1}
  assert record["data"]["pool"] == conversations.digest(conversations.load(pool))


def test_the_second_sft_learns_from_the_harvest_s_workdir(harvested, tmp_path):
  made = tiny_sft.config(data__file=str(harvested), sft__overlong="drop", sft__eval_every=0)
  folder = tiny_sft.start(made, tmp_path / "dev3")
  parents = lineage.read(folder)["parents"]
  assert parents[str(harvested)] == dataset.about(harvested).digest
  assert len(parents) == 2


def test_a_template_that_the_data_set_was_not_made_with_is_refused(harvested, tmp_path):
  made = tiny_sft.config(data__file=str(harvested), sft__template="chat")
  with pytest.raises(ValueError, match=rf"data={harvested} was made with template 'short'"):
    sft.main(made, tmp_path / "run")


# Refusals ----------------------------------------------------------------------------------------


def test_nothing_kept_is_refused_with_the_table_of_reasons(base, patch, tmp_path):
  with patch.context() as context:
    context.setattr(planted, "KINDS", ("wrong", "wrong", "mixed"))
    with pytest.raises(ValueError, match=r"of 120 answers none is kept:") as told:
      harvest.main(config(base), tmp_path / "none")
  assert "the answer is wrong" in str(told.value)
  assert "the thought mixes languages" in str(told.value)
  assert dataset.about(tmp_path / "none") is None
  assert lineage.finished(tmp_path / "none") is None


def test_a_harvest_needs_a_model_that_is_there(tmp_path, no_compute):
  with pytest.raises(ValueError, match="nothing to sample from: add model=MODEL"):
    harvest.main(recipe.get_config("tiny"), tmp_path / "run")
  with pytest.raises(ValueError, match="parent no/such: no such file or folder"):
    harvest.main(runs.changed(recipe.get_config("tiny,model=no/such"), CHANGES), tmp_path / "run")


def test_a_recipe_of_files_asks_for_questions():
  with pytest.raises(ValueError, match=r"brings no questions: give --config\.data\.questions"):
    harvest.read(recipe.get_config("paper,model=runs/dev2"))


def test_an_unverifiable_answer_goes_to_the_judge_where_there_is_one(base, patch):
  """Rules have no verdict on it; the judge's stands in, and nothing is asked of it otherwise."""
  seen, said = [], []

  def grade(questions, answers, cfg, faults):
    seen.extend(q.id for q in questions)
    faults.extend("abcd")
    return [harvest.reference.SAID["correct"]] * len(questions)

  asked = [
    planted.question("what is 1 + 1 ?", "en"),
    harvest.records.Question(id="why", prompt="why ?", kind="helpful", answer="because"),
    harvest.records.Question(id="hi", prompt="hi", kind="helpful"),
  ]
  answers = [collect.responses.Response(text="x", tokens=1, truncated=False)] * 3
  rule = lambda qs, rs: [harvest.reference.NONE] * len(qs)
  verifier = type("Rules", (), {"grade": staticmethod(rule)})()
  made = config(base, judge__url="http://localhost:1/v1")
  with patch.context() as context:
    context.setattr(harvest.reference, "grade", grade)
    found = harvest.make_judge(verifier, harvest.read(made), said.append)(asked, answers)
    alone = harvest.make_judge(verifier, harvest.read(config(base)), said.append)(asked, answers)
  assert found == ["no_verdict", "right", "no_verdict"]
  assert alone == ["no_verdict"] * 3
  assert seen == ["why"]
  assert said == ["not judged: a", "not judged: b", "not judged: c"]


def test_the_digest_of_a_model_is_that_of_its_arrays(base, harvested):
  assert lineage.read(harvested)["parents"][base] == lineage.digest(models.local(base))
  assert len(conversations.load(harvested / "harvest.jsonl")) == len(lines(harvested))
  assert rules.REASONS.keys() >= lineage.read(harvested)["counts"]["reasoning"]["dropped"].keys()
