"""Trying a model: headings for tags, and draws that do not depend on how they are cut."""

import os
import pathlib
import subprocess
import sys
import types

import jax
import pytest

from configs import common
from experiments import sample
from r1 import spec
from r1.data.worlds import arithmetic
from r1.model import config, transformer
from r1.sampling import decode
from r1.text import tokenizer
from r1.train import workdir


def read(*texts: str) -> str:
  return "".join(sample.headed(texts))


def test_tags_become_headings():
  assert read("<think>", "first", "</think>", "<answer>", "8", "</answer>") == (
    "thought: first\nanswer:  8\n"
  )


def test_a_tag_that_comes_in_two_pieces_is_never_shown_in_halves():
  shown = list(sample.headed(["so 8</th", "ink><ans", "wer>8"]))
  assert "".join(shown) == "so 8\nanswer:  8"
  assert not any("<" in text for text in shown)


def test_a_less_than_sign_is_text():
  assert read("3 < 4", " and 5") == "3 < 4 and 5"


def test_text_without_tags_is_left_alone():
  assert read("so 8", ".") == "so 8."


def test_wrong_use_says_what_to_type(tmp_path):
  root = pathlib.Path(__file__).parents[2]
  command = [sys.executable, "-m", "experiments.sample", f"--model={tmp_path}", "what is 3 + 4 ?"]
  done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=os.environ)
  assert done.returncode != 0
  assert f"{tmp_path} is no workdir of r1" in done.stderr


def test_where_a_draw_is_cut_and_who_guesses_ahead_change_no_token(monkeypatch):
  model = tiny_model()
  drawn = []
  for chunk, draft in ((5, "none"), (20, "none"), (20, "lookup")):
    monkeypatch.setattr(sample, "CHUNK", chunk)
    plain = decode.PLAIN | {"draft": draft}
    given = types.SimpleNamespace(**plain, limit=20, temperature=1.0, seed=0, stop=[])
    drawn.append(list(sample.draw(model, "short", "what is 3 + 4 ?", given)))
  assert drawn[0] == drawn[1] == drawn[2]
  assert len(drawn[0]) > 5


@pytest.mark.parametrize("chunk", [3, 20])
def test_a_stop_string_ends_the_answer_wherever_the_draw_is_cut(monkeypatch, chunk):
  model = tiny_model()

  def drawn(stop):
    given = types.SimpleNamespace(**decode.PLAIN, limit=20, temperature=1.0, seed=0, stop=stop)
    return list(sample.draw(model, "short", "what is 3 + 4 ?", given))

  monkeypatch.setattr(sample, "CHUNK", chunk)
  whole = drawn([])
  assert drawn(["this never comes up"]) == whole
  string = model.tokenizer.decode(whole[:8])  # whole at the eighth token, in several draws or one
  assert drawn(["this never comes up", string]) == whole[:8]
  with pytest.raises(ValueError, match="an empty string would end every answer"):
    drawn([""])


def tiny_model():
  lines = ["User: what is 3 + 4 ? Assistant:<think>first 3 + 4 = 7, so 7</think><answer>7</answer>"]
  words = tokenizer.load(tokenizer.train(lines * 9, vocab_size=380, symbols=arithmetic.SYMBOLS))
  sizes = dict(common.tiny_model()) | {"D": 16, "F": 16, "H": 2, "N": 1, "K": 8, "ids": words.size}
  cfg = config.ModelConfig(**sizes | {"stacks": (("dense", 1),), "context": 48, "rules": None})
  params = spec.materialize(jax.random.key(0), transformer.specs(cfg))
  return workdir.Model(cfg, words, params)
