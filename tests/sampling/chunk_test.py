"""The compiled chunk: empty slots, early ends and pages that nobody wants."""

import jax
import numpy as np
import pytest

from r1.model import pages
from r1.sampling import book, chunk
from tests.model import tiny
from tests.sampling import settings

CFG = tiny.config(ids=29)
PARAMS = tiny.params(CFG)
SAMPLER = settings.sampler(
  slots=3, prompt_bucket=4, chunk=4, cache_tokens=24, layout="stacked", in_flight=1
)
BOOK = book.Book(6, 4)


def run(budget_B, page_B=(6, 6, 6), eos=(30,)):
  shared, own = BOOK.entries([])
  rows = chunk.Rows(
    token_B=np.array([1, 2, 3], np.int32),
    position_B=np.zeros(3, np.int32),
    budget_B=np.array(budget_B, np.int32),
    stream_B3=np.arange(9, dtype=np.uint32).reshape(3, 3),
    page_B=np.array(page_B, np.int32),
  )
  given = (
    PARAMS,
    pages.empty(CFG, 6, 4, "cpu", ""),
    rows,
    shared,
    own,
    jax.random.key(0),
    np.float32(1.0),
  )
  return chunk.run(*given, cfg=CFG, sampler=SAMPLER, eos=eos)


@pytest.mark.parametrize(("budget_B", "steps"), [((0, 0, 0), 0), ((2, 0, 1), 2), ((9, 9, 9), 4)])
def test_it_runs_as_long_as_some_row_may_draw(budget_B, steps):
  _, drawn, t = run(budget_B)
  assert int(t) == steps
  np.testing.assert_array_equal(drawn.length_B, np.minimum(budget_B, 4))


def test_only_pages_of_the_pool_are_written():
  before = pages.empty(CFG, 6, 4, "cpu", "")
  pool, _, _ = run((9, 9, 9), page_B=(6, 2, 6))
  for name, buffers in pool.items():
    for key, buffer in buffers.items():
      written = np.flatnonzero([np.any(buffer[:, i] != before[name][key][:, i]) for i in range(6)])
      assert written.tolist() == [2]


def test_a_prompts_pages_hold_what_decoding_would_have_put_there():
  """Prefill of three tokens, and a chunk that reads the same three one by one."""
  pool = pages.empty(CFG, 6, 4, "cpu", "")
  token_BL, page_I = np.array([[1, 2, 3, 0]], np.int32), np.array([[5]], np.int32)
  pool = chunk.prefill(PARAMS, pool, token_BL, np.array([3], np.int32), page_I, cfg=CFG, width=4)
  stepped, drawn, _ = run((9, 0, 0), page_B=(4, 6, 6))
  again = chunk.prefill(
    PARAMS,
    pages.empty(CFG, 6, 4, "cpu", ""),
    np.array([[1, *drawn.token_BM[0, :3]]], np.int32),
    np.array([4], np.int32),
    np.array([[4]], np.int32),
    cfg=CFG,
    width=4,
  )
  for name, buffers in stepped.items():
    for key, buffer in buffers.items():
      np.testing.assert_allclose(buffer[:, 4], again[name][key][:, 4], atol=1e-5)
      assert np.any(pool[name][key][:, 5] != 0)
