"""The answers of a page: drawn, and drawn again the same."""

import numpy as np

from r1.stages import ask
from r1.train import workdir
from tests.train import tiny


def model():
  cfg = tiny.model(ids=tiny.tokenizer().size)
  return workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg))


def test_a_prompt_is_all_before_the_first_token_that_is_learned():
  scored = np.array([False, False, False, True, True])
  assert ask.prompt(np.array([1, 7, 8, 9, 2]), scored) == (1, 7, 8)


def test_answers_come_with_their_prompts_and_repeat():
  made = model()
  half = made.cfg.context // 2
  ids = [(1, *made.tokenizer.encode(f"{n} + 1 ?")) for n in range(2, 8)]
  asked = [(), (1,) * (half + 1), *ids]
  texts = ask.answers(made, asked, 0)
  assert [prompt for prompt, _ in texts] == ["2 + 1 ?", "3 + 1 ?", "4 + 1 ?", "5 + 1 ?"]
  assert len({answer for _, answer in texts}) == 4
  assert texts == ask.answers(made, asked, 0)
  assert texts != ask.answers(made, asked, 1)
