"""The plain loop: what the engine is held against."""

import pytest

from r1.sampling import loop
from r1.sampling import requests as requests_lib
from tests.model import tiny
from tests.sampling import settings

CFG = tiny.config(ids=29)
PARAMS = tiny.params(CFG)
ASKED = [requests_lib.Request(f"q{i}", 0, 0, (i, 3), 4 + i) for i in range(5)]


def generate(asked, temperature=0.8, eos=(4,), **changes):
  sampler = settings.sampler(slots=2, prompt_bucket=4, **changes)
  given = {"cfg": CFG, "sampler": sampler, "temperature": temperature, "eos": eos, "seed": 0}
  return list(loop.generate(PARAMS, iter(asked), **given))


def test_answers_come_in_order_and_within_their_limits():
  found = generate(ASKED)
  assert [f.request for f in found] == ASKED
  assert all(0 < len(f.tokens) == len(f.logp) <= f.request.limit for f in found)
  assert all(f.truncated == (f.tokens[-1] != 4) for f in found)


def test_it_continues_no_answer():
  with pytest.raises(ValueError, match="the plain loop continues no answer"):
    generate([requests_lib.Request("q", 0, 0, (1,), 4, drawn=(2,), logp=(-1.0,))])
  with pytest.raises(ValueError, match="temperature=-1 must be >= 0"):
    generate(ASKED, temperature=-1)
  with pytest.raises(ValueError, match=r"eos=\(\): wanted one end token at least"):
    generate(ASKED, eos=())


def test_it_keeps_no_8_bit_cache():
  with pytest.raises(
    ValueError, match="cache_dtype='int8': the plain loop keeps keys and values in"
  ):
    generate(ASKED, cache_dtype="int8")
