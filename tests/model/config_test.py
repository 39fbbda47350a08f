"""A model's settings: refused where they do not fit each other."""

import dataclasses

import pytest

from r1.model import config
from tests.model import tiny


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"H": 5}, "H=5 query heads cannot share N=2"),
    ({"K": 7}, "rotary embedding needs an even width, this is 7"),
    ({"ids": 33}, "ids=33 of the tokenizer do not fit V=32"),
    ({"ids": 0}, "ids=0 of the tokenizer do not fit V=32"),
    ({"attend": "flash"}, r"attend='flash'; there are \('einsum', 'blockwise', 'splash'\)"),
    ({"remat": "full"}, "remat='full'; there are"),
    ({"dtype": "float16"}, "dtype='float16'; there are"),
    ({"attention_block": 0}, "attention_block=0 and logit_chunk=8 must be >= 1"),
    ({"logit_chunk": 0}, "logit_chunk=0 must be >= 1"),
    ({"attention": "mqa"}, r"attention='mqa'; there are"),
    ({"windows": (4,)}, r"windows=\(4,\) of 2 layers: wanted one each"),
    ({"windows": (4, -1)}, r"windows=\(4, -1\) of 2 layers: wanted one each"),
    ({"stacks": (("moe", 2),)}, "experts need both or neither"),
    ({"stacks": (("a", 1), ("a", 1))}, "each needs a name of its own"),
    ({"stacks": (("a", 0),)}, "and a layer at least"),
    ({"mtp": 2}, "mtp=2: wanted 0 or 1"),
    ({"mtp": 1, "windows": (4, 0)}, r"mtp=1: wanted 0 or 1, and 0 beside windows=\(4, 0\)"),
    ({"mtp": 1, "scalar": True}, "mtp=1: a model with a scalar head predicts no tokens"),
    ({"attention": "mla", "P": 4, "C": 8}, "W=0: latent attention needs all of them"),
    ({"attention": "mla", "P": 3}, "rotary embedding needs an even width, this is 3"),
    ({"attention": "mla", "P": 4, "C": 8, "W": 8, "qk_norm": True}, "qk_norm is of grouped-query"),
    ({"rope_pairs": True}, "rope_pairs is of latent attention"),
  ],
)
def test_settings_that_do_not_fit_are_refused_with_their_numbers(changes, message):
  with pytest.raises(ValueError, match=message):
    tiny.config(**changes)


def test_queries_per_key_head_by_hand():
  assert tiny.config(H=4, N=2).R == 2
  assert tiny.config(H=4, N=1).R == 4


def test_a_setting_left_out_is_an_error_and_not_a_default():
  settings = {name: value for name, value in tiny.SETTINGS.items() if name != "rope_base"}
  with pytest.raises(TypeError, match="rope_base"):
    config.ModelConfig(**settings)


def test_a_config_is_a_constant_of_a_compiled_program():
  assert hash(tiny.config()) == hash(tiny.config())
  assert tiny.config() == tiny.config() != tiny.config(tied=False)
  with pytest.raises(dataclasses.FrozenInstanceError):
    tiny.config().D = 8  # pyright: ignore


def test_an_architecture_is_what_a_model_shares_with_those_made_of_it():
  base, own = config.architecture(tiny.config()), {"D", "F", "H", "N", "K", "V", "stacks", "tied"}
  assert own < base.keys()
  for same in (
    {"scalar": True},
    {"context": 32},
    {"dtype": "bfloat16", "attend": "einsum", "remat": "none"},
    {"ids": 30},
    {"W": 8},  # as a reader of config.json fills it in, and nobody reads it
  ):
    assert config.architecture(tiny.config(**same)) == base, same
  for other in ({"F": 32}, {"stacks": (("dense", 3),)}, {"rope_base": 50.0}, {"tied": False}):
    assert config.architecture(tiny.config(**other)) != base, other
