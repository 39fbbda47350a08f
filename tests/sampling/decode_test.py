"""The compiled loop: ends, limits, empty slots, and nothing drawn after the end."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.sampling import decode
from tests.model import reference, tiny
from tests.sampling import settings

CFG = tiny.config(ids=29, tied=False)
PARAMS = tiny.params(CFG)
SAMPLER = settings.sampler(slots=6, prompt_bucket=4)
PROMPTS = [[3, 1, 0, 2], [7, 0], [5, 6, 7, 0], [9], [9], [28, 27, 26]]


@functools.cache
def drawn(limits, eos=(1, 2, 3), temperature=1.0, pad=0, flat=False):
  prompt_BL = np.array([p + [pad] * (4 - len(p)) for p in PROMPTS], np.int32)
  length_B = np.array([len(p) for p in PROMPTS], np.int32)
  key_B = jax.random.split(jax.random.key(3), len(PROMPTS))
  out = decode.compiled(
    PARAMS | {"head_DV": 0 * PARAMS["head_DV"]} if flat else PARAMS,
    jnp.asarray(prompt_BL),
    jnp.asarray(length_B),
    jnp.asarray(limits, jnp.int32),
    key_B,
    jnp.float32(temperature),
    cfg=CFG,
    sampler=SAMPLER,
    eos=eos,
    room=12,
  )
  return jax.device_get(out)


FULL = (12,) * 6


def test_a_row_ends_at_its_first_end_token_or_at_its_limit():
  out = drawn(FULL)
  for b in range(6):
    tokens = out.token_BM[b, : out.length_B[b]]
    is_end = np.isin(tokens, (1, 2, 3))
    assert not is_end[:-1].any()
    assert is_end[-1] == out.ended_B[b]
    assert out.ended_B[b] or out.length_B[b] == 12
  assert out.ended_B.any()
  assert not out.ended_B.all()


def test_nothing_is_written_behind_a_rows_end():
  out = drawn(FULL)
  behind_BM = np.arange(12) >= out.length_B[:, None]
  assert behind_BM.any()
  assert not out.token_BM[behind_BM].any()
  assert not out.logp_BM[behind_BM].any()


def test_every_log_probability_is_the_models_own():
  out = drawn(FULL)
  for b, prompt in enumerate(PROMPTS):
    n = out.length_B[b]
    whole = prompt + out.token_BM[b, :n].tolist()
    want = reference.logp(PARAMS, whole, CFG)[len(prompt) :]
    np.testing.assert_allclose(out.logp_BM[b, :n], want, rtol=1e-5, atol=1e-5)


def test_greedy_follows_the_argmax_of_the_full_forward():
  out = drawn(FULL, temperature=0.0)
  for b, prompt in enumerate(PROMPTS):
    whole = list(prompt)
    for token in out.token_BM[b, : out.length_B[b]]:
      hidden_LD = reference.hidden(PARAMS, whole, CFG)
      assert token == np.argmax(reference.log_softmax(PARAMS, hidden_LD, CFG)[-1])
      whole.append(int(token))


def test_limits_are_per_row_and_zero_leaves_a_slot_empty():
  free, cut = drawn(FULL), drawn((0, 1, 2, 3, 12, 5))
  for b, limit in enumerate((0, 1, 2, 3, 12, 5)):
    n = min(limit, int(free.length_B[b]))
    assert cut.length_B[b] == n
    np.testing.assert_array_equal(cut.token_BM[b, :n], free.token_BM[b, :n])
    assert cut.ended_B[b] == (free.ended_B[b] and free.length_B[b] <= limit)


def test_a_rows_key_and_not_its_prompt_makes_its_noise():
  out = drawn(FULL, eos=(30,))  # rows 3 and 4 ask the same
  assert (out.length_B == 12).all()
  assert (out.token_BM[3] != out.token_BM[4]).any()


def test_every_position_has_noise_of_its_own():
  """Where all ids are equally likely, noise that repeats would repeat the token."""
  out = drawn(FULL, eos=(30,), flat=True)
  assert all(len(np.unique(row)) > 5 for row in out.token_BM)
  np.testing.assert_allclose(out.logp_BM, np.full((6, 12), -np.log(29)), rtol=1e-5)


def test_what_stands_behind_a_prompt_is_never_read():
  a, b = drawn(FULL), drawn(FULL, pad=21)
  np.testing.assert_array_equal(a.token_BM, b.token_BM)
  np.testing.assert_array_equal(a.logp_BM, b.logp_BM)


def test_ids_beyond_the_tokenizer_are_never_drawn():
  out = drawn(FULL, eos=(30,), temperature=50.0)  # nearly uniform: 72 draws of 29 in 32 ids
  assert out.token_BM.max() < 29
  assert len(np.unique(out.token_BM)) > 20


def test_another_temperature_compiles_nothing_anew():
  drawn(FULL)
  before = decode.compiled._cache_size()
  drawn(FULL, temperature=0.31)
  assert decode.compiled._cache_size() == before


def test_any_of_several_ids_ends():
  id_B = jnp.array([4, 5, 6, 7])
  np.testing.assert_array_equal(decode.ends(id_B, (5, 7)), [False, True, False, True])
  np.testing.assert_array_equal(decode.ends(id_B, (4,)), [True, False, False, False])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"top_p": 0.0}, r"top_p=0.0 must be in \(0, 1\]"),
    ({"top_p": 1.1}, "top_p=1.1"),
    ({"slots": 0}, "slots=0 must be >= 1"),
    ({"prompt_bucket": 0}, "prompt_bucket=0 must be >= 1"),
    ({"chunk": 0}, "chunk=0 must be >= 1"),
    ({"layout": "flat"}, "layout='flat': choose one of auto, stacked, unrolled"),
    ({"cache_dtype": "int4"}, "cache_dtype='int4': choose one of int8, float8_e4m3fn, or ''"),
    (
      {"cache_dtype": "int8", "draft": "lookup"},
      "cache_dtype='int8' is for the paged cache, draft='lookup' decodes with the dense one",
    ),
    ({"in_flight": 4}, "slots=6 do not divide into in_flight=4 batches"),
    (
      {"cache_tokens": 15, "in_flight": 2},
      "cache_tokens=15 must hold a page of 8 tokens in e",
    ),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  given = decode.PLAIN | {
    "top_p": 1.0,
    "slots": 6,
    "prompt_bucket": 4,
    "chunk": 8,
    "cache_tokens": 64,
    "cache_dtype": "",
  }
  given |= {"layout": "auto", "in_flight": 1} | changes
  with pytest.raises(ValueError, match=message):
    decode.SamplerConfig(**given)
