"""The recipe of supervised fine-tuning: the paper's numbers, and what the tiny run asks for."""

import pytest

from configs import sft as recipe
from experiments import sft
from r1.model import config as model_config
from r1.train import optimizer, pretrain


def test_the_paper_s_numbers():
  """arXiv 2501.12948v2 section B.4.2; what it leaves open is not here."""
  c = recipe.get_config("paper")
  assert c.sft.epochs == 2
  assert c.sft.conversations == 128
  assert c.sft.row_tokens == 32_768
  assert c.optimizer.learning_rate == 5e-5
  assert c.optimizer.learning_rate * c.optimizer.final == pytest.approx(5e-6)
  # The last update of about 800k conversations stands at the end of the cosine.
  total = 2 * 804_745 // 128
  rate = optimizer.schedule(optimizer.OptimizerConfig(**c.optimizer, steps=total))
  assert float(rate(total)) == pytest.approx(5e-6, rel=1e-3)


def test_settings_after_the_colon_reach_their_place():
  c = recipe.get_config("tiny,seed=3,data=chats.jsonl,model=runs/base")
  assert (c.model, c.data.file) == ("runs/base", "chats.jsonl")
  assert c.base.pretrain.seed == 3
  assert c.sft.seed != recipe.get_config("tiny").sft.seed


@pytest.mark.parametrize("arg", ["tiny", "paper,model=runs/base,data=chats.jsonl"])
def test_a_recipe_is_accepted_by_the_experiment(arg):
  c = recipe.get_config(arg)
  assert sft.read(c).conversations == c.sft.conversations


@pytest.mark.parametrize("changes", list(recipe.sweep()), ids=str)
def test_every_entry_of_the_sweep_is_accepted_by_the_experiment(changes):
  c = recipe.get_config("tiny")
  c.update_from_flattened_dict(changes)
  assert sft.read(c).epochs == c.sft.epochs


@pytest.mark.parametrize("arg", ["", "tiny,paper"])
def test_one_size_is_chosen(arg):
  with pytest.raises(ValueError, match="choose one of configs/sft"):
    recipe.get_config(arg)


def test_a_config_without_a_base_asks_for_a_model_and_a_file():
  for arg in ("paper", "paper,model=runs/base", "paper,data=chats.jsonl"):
    with pytest.raises(ValueError, match="neither base nor conversations: add model="):
      sft.read(recipe.get_config(arg))


def test_the_rows_of_the_tiny_recipe_fit_its_model():
  c = recipe.get_config("tiny")
  model, _, _, cfg = pretrain.settings(c.base)
  context = model_config.ModelConfig(**model, ids=cfg.vocabulary).context
  assert c.sft.row_tokens <= context
