"""The formulas of the floor and of MFU, by hand on a model whose sizes are small numbers."""

import dataclasses

import pytest

from r1.model import presets
from r1.train import floor
from tests.train import tiny

RUNTIME = {name: tiny.MODEL[name] for name in ("attend", "attention_block", "logit_chunk", "remat")}
RUNTIME |= {"rules": None}
# The tiny model without its table of 384 x 16: three norms, q and o, k and v, biases, the MLP.
BODY = 3 * 16 + 2 * 16 * 4 * 8 + 2 * 16 * 2 * 8 + 8 * 8 + 3 * 16 * 32
N = BODY + 384 * 16
PER_KEY = 2 * 4 * 2 * 8  # scores and values: a multiply and an add, 4 heads of 8


def preset(name, **runtime):
  return presets.config(name, RUNTIME | {"dtype": "float32"} | runtime, mtp=False)


def test_a_tied_table_counts_once_and_a_looked_up_one_not_at_all():
  assert floor.active(tiny.model()) == N
  assert floor.active(tiny.model(tied=False)) == N


def test_of_the_experts_a_token_meets_the_chosen_ones():
  cfg = preset("tiny-deepseek-v3")
  one, all_of_them = floor.active(cfg), floor.active(cfg, tokens=1e9)
  # One mixture layer, 8 experts of three 64 x 24 matrices, 2 of them chosen.
  assert all_of_them - one == 6 * 3 * 64 * 24
  assert floor.active(cfg, tokens=2) - one == 2 * 3 * 64 * 24


def test_reading_a_sequence_costs_2n_a_token_and_attention_over_what_it_sees():
  # Three tokens see 1, 2 and 3 keys in the one layer.
  assert floor.forward(tiny.model(), [3]) == 2 * N * 3 + PER_KEY * 6
  assert floor.forward(tiny.model(), [3, 1]) == 2 * N * 4 + PER_KEY * 7
  assert floor.training(floor.forward(tiny.model(), [3])) == 6 * N * 3 + 3 * PER_KEY * 6


def test_a_window_bounds_what_a_token_sees():
  cfg = tiny.model(stacks=(("dense", 2),), windows=(2, 0))
  assert floor.attention(cfg, 0, 3, decoding=False) == PER_KEY * ((1 + 2 + 2) + (1 + 2 + 3))


def test_decoding_costs_the_answer_s_tokens_alone():
  # Two tokens behind a prompt of 10: they see 11 and 12 keys.
  assert floor.decoding(tiny.model(), 10, [2]) == 2 * N * 2 + PER_KEY * 23


def test_absorbed_queries_work_on_latents():
  cfg = preset("tiny-deepseek-v3")
  absorbed = floor.attention(cfg, 0, 1, decoding=True)
  # 2 layers, 4 heads; ranks 16 and rotary 8 against heads of 16 + 8 and values of 12.
  assert absorbed == 2 * 2 * 4 * (16 + 8 + 16)
  assert floor.attention(cfg, 0, 1, decoding=False) == 2 * 2 * 4 * (16 + 8 + 12)
  spread = dataclasses.replace(cfg, absorb=False)
  assert floor.attention(spread, 0, 1, decoding=True) == 2 * 2 * 4 * (16 + 8 + 12)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_a_token_s_keys_and_values_in_bytes(dtype, size):
  assert floor.token_bytes(tiny.model(dtype=dtype), "") == 2 * 2 * 8 * size
  latent = preset("tiny-deepseek-v3", dtype=dtype)
  assert floor.token_bytes(latent, "") == 2 * (16 + 8) * size
  # In 8 bits a byte a number, and four for the scale of each head, latent and rotary part.
  assert floor.token_bytes(tiny.model(dtype=dtype), "int8") == 2 * 2 * (8 + 4)
  assert floor.token_bytes(latent, "float8_e4m3fn") == 2 * (16 + 4 + 8 + 4)


def decode(*, slots, lengths, matmul=1e30, bandwidth=1e30, cache_dtype=""):
  given = {"rates": floor.Rates(matmul=matmul, bandwidth=bandwidth), "cache_dtype": cache_dtype}
  return floor.decode(tiny.model(), prompt=10, lengths=lengths, slots=slots, **given)


def test_a_step_is_bound_by_bytes_or_by_flops():
  # One row of 3 tokens, drawn with 10, 11 and 12 held: 11 in the mean, of 128 bytes each.
  slow_memory = decode(slots=1, lengths=[3], bandwidth=1.0)
  assert slow_memory.steps == 3
  assert slow_memory.held == 11
  assert slow_memory.seconds == slow_memory.bytes == 4 * N + 11 * 128
  assert slow_memory.total == 3 * slow_memory.seconds
  small = decode(slots=1, lengths=[3], bandwidth=1.0, cache_dtype="int8")
  assert small.seconds == 4 * N + 11 * 2 * 2 * (8 + 4)
  slow_matmul = decode(slots=1, lengths=[3], matmul=1.0)
  assert slow_matmul.seconds == slow_matmul.flops == 2 * N + PER_KEY * 12


def test_full_slots_share_the_weights():
  # 8 tokens on 4 slots are two steps of four rows; held 10 and 11.
  step = decode(slots=4, lengths=[2, 2, 2, 2], bandwidth=1.0)
  assert step.steps == 2
  assert step.bytes == 4 * N + 4 * 10.5 * 128


def test_no_fewer_steps_than_the_longest_answer_has_tokens():
  assert decode(slots=4, lengths=[9, 1, 1, 1]).steps == 9
  assert decode(slots=2, lengths=[3, 3, 3, 3]).steps == 6
