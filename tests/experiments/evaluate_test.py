"""One model on the suite: what is left behind, what is refused, and that it repeats."""

import json

import pytest

from configs import evaluate as recipe
from configs import pretrain
from experiments import evaluate
from experiments import pretrain as pretraining

pytestmark = pytest.mark.usefixtures("cache")


def config(model):
  return recipe.get_config(f"smoke,model={model}")


@pytest.fixture(scope="module")
def base(cache, tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "base"
  pretraining.main(pretrain.get_config("smoke,general"), folder)
  return folder


def test_a_model_is_measured_once_and_the_same_again(base, tmp_path, capsys):
  evaluate.main(config(base), tmp_path / "a")
  numbers = json.loads((tmp_path / "a" / "evaluation.json").read_text())
  assert {"greedy", "accuracy/3", "readable", "helpfulness", "unsafe", "refusals"} <= numbers.keys()
  assert all(len(number) == 2 for number in numbers.values())
  answers = (tmp_path / "a" / "answers.jsonl").read_text().splitlines()
  assert len(answers) == 16
  assert json.loads((tmp_path / "a" / "finished.json").read_text()).keys() == {
    "evaluation.json",
    "answers.jsonl",
  }
  evaluate.main(config(base), tmp_path / "b")
  for name in ("evaluation.json", "answers.jsonl", "finished.json"):
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
  capsys.readouterr()
  evaluate.main(config(base), tmp_path / "a")
  assert "nothing to do" in capsys.readouterr().out


def test_no_model_and_one_that_is_not_there_are_refused(tmp_path):
  with pytest.raises(ValueError, match="nothing to evaluate"):
    evaluate.main(config(""), tmp_path / "none")
  with pytest.raises(ValueError, match="no such file or folder"):
    evaluate.main(config(tmp_path / "gone"), tmp_path / "none")
  assert not (tmp_path / "none").exists()
