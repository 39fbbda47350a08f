"""Published parameter counts, counted on our specs without memory."""

import jax.numpy as jnp
import pytest

from r1 import spec
from r1.model import cache, presets, transformer
from tests.model import tiny

RUNTIME = {name: tiny.SETTINGS[name] for name in ("dtype", "attend", "remat", "rules")}
RUNTIME |= {"attention_block": 128, "logit_chunk": 2048}
COUNTS = {
  "deepseek-v3": 671_026_419_200,
  "deepseek-v2": 235_741_434_880,
  "deepseek-v2-lite": 15_706_484_224,
  "qwen2.5-1.5b": 1_543_714_304,
  "qwen2.5-math-1.5b": 1_543_714_304,
  "qwen2.5-3b": 3_085_938_688,
  "qwen2.5-7b": 7_615_616_512,
  "qwen2.5-math-7b": 7_615_616_512,
  "qwen2.5-14b": 14_770_033_664,
  "qwen2.5-32b": 32_763_876_352,
  "qwen2.5-0.5b": 494_032_768,
  "qwen3-0.6b": 596_049_920,
  "qwen3-1.7b": 1_720_574_976,
  "qwen3-4b": 4_022_468_096,
  "qwen3-8b": 8_190_735_360,
  "llama-3.1-8b": 8_030_261_248,
  "llama-3.3-70b": 70_553_706_496,
  "r1-distill-qwen-1.5b": 1_777_088_000,
  "r1-distill-qwen-7b": 7_615_616_512,
  "r1-distill-qwen-14b": 14_770_033_664,
  "r1-distill-qwen-32b": 32_763_876_352,
  "r1-distill-llama-8b": 8_030_261_248,
  "r1-distill-llama-70b": 70_553_706_496,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_published_number_of_parameters(name):
  assert spec.count(transformer.specs(presets.config(name, RUNTIME, mtp=False))) == COUNTS[name]


def test_every_full_size_preset_has_its_count_checked():
  assert {name for name in presets.NAMES if not name.startswith("tiny-")} == COUNTS.keys()


def test_the_layer_of_multi_token_prediction_counted_apart():
  """Its embedding and head are the model's own, so they are not counted again."""
  specs = transformer.specs(presets.config("deepseek-v3", RUNTIME))
  assert spec.count(specs["mtp"]) == 11_610_068_224


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_cache_of_deepseek_v3_takes_61_x_576_numbers_per_token(dtype):
  cfg = presets.config("deepseek-v3", RUNTIME | {"dtype": dtype})
  buffers = cache.specs(cfg, rows=3, slots=5)
  size = sum(s.size * s.dtype.itemsize for stack in buffers.values() for s in stack.values())
  assert size == 3 * 5 * 61 * 576 * jnp.dtype(dtype).itemsize


def test_an_unknown_preset_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match=r"unknown preset 'gpt-2'; there are qwen2\.5-0\.5b, "):
    presets.config("gpt-2", RUNTIME)
