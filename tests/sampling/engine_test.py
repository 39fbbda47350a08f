"""Requests in, finished answers out, whatever the slots, the order and the neighbours."""

import functools

import numpy as np
import pytest

from r1.algorithms import logp as token_logp
from r1.data import packing
from r1.sampling import engine
from tests.model import tiny
from tests.sampling import settings

CFG = tiny.config(ids=29, tied=False)
PARAMS = tiny.params(CFG)
EOS = (4, 5, 6)
PROMPTS = ((3, 1, 0, 2), (7, 0), (5, 6, 7, 0, 0, 9), (9,), (28, 27, 26))


def asked(limits=(12, 3, 12, 12, 12), samples=2, rollout=0):
  """Two samples of each of five questions, whose prompts hold padding's id 0."""
  return [
    engine.Request(f"q{i}", s, rollout, prompt, limit)
    for i, (prompt, limit) in enumerate(zip(PROMPTS, limits, strict=True))
    for s in range(samples)
  ]


def answer(
  requests, *, params=PARAMS, slots=4, temperature=0.8, eos=EOS, seed=7, bucket=6, **changes
):
  sampler = settings.sampler(slots=slots, prompt_bucket=bucket, **changes)
  return list(
    engine.generate(
      params, iter(requests), cfg=CFG, sampler=sampler, temperature=temperature, eos=eos, seed=seed
    )
  )


@functools.cache
def answered():
  return answer(asked())


def trained_logp(params, finished, temperature):
  """The trainer's log-probabilities of each answer's tokens, from packed rows."""
  sequences = [np.array([*f.request.prompt, *f.tokens], np.int32) for f in finished]
  lengths = [len(tokens) for tokens in sequences]
  placement = packing.place(lengths, 32)
  packed = tiny.packed(sequences, 32, rows=8)
  logp_BL = np.asarray(token_logp.score(params, packed, CFG, temperature))
  found = packing.gather(logp_BL, placement, lengths)
  return [x[len(f.request.prompt) :] for x, f in zip(found, finished, strict=True)]


def same(a, b):
  """Tokens equal, log-probabilities to 1e-5."""
  assert a.request == b.request
  np.testing.assert_array_equal(a.tokens, b.tokens)
  np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)
  assert a.truncated == b.truncated


def test_every_request_is_answered_in_order():
  assert [f.request for f in answered()] == asked()
  assert answer([]) == []


def test_log_probabilities_equal_the_trainers():
  for got, want in zip(answered(), trained_logp(PARAMS, answered(), 0.8), strict=True):
    np.testing.assert_allclose(got.logp, want, atol=1e-5)
  # At another temperature they do not: the sampler's is divided in once (TRL #3029).
  other = trained_logp(PARAMS, answered(), 1.0)
  assert max(np.abs(f.logp - x).max() for f, x in zip(answered(), other, strict=True)) > 0.1


def test_the_end_token_is_kept_once_with_its_log_probability_and_nothing_after():
  """It is an action: cut off, stopping never gets a gradient (TRL #2708)."""
  ended = [f for f in answered() if not f.truncated]
  assert ended
  for f in ended:
    assert f.tokens[-1] in EOS
    assert not np.isin(f.tokens[:-1], EOS).any()
    assert len(f.logp) == len(f.tokens)
    assert f.logp[-1] < 0


def test_a_cut_answer_is_flagged_and_has_no_end_token():
  cut = [f for f in answered() if f.truncated]
  assert cut
  for f in cut:
    assert len(f.tokens) == f.request.limit
    assert not np.isin(f.tokens, EOS).any()


def test_an_end_token_on_the_last_allowed_place_is_no_truncation():
  first = next(f for f in answered() if not f.truncated)
  request = first.request
  limited = engine.Request(
    request.question, request.sample, request.rollout, request.prompt, len(first.tokens)
  )
  found = answer([limited])[0]
  np.testing.assert_array_equal(found.tokens, first.tokens)
  assert not found.truncated


def test_each_request_has_its_own_limit():
  assert all(1 <= len(f.tokens) <= f.request.limit for f in answered())
  assert len({f.request.limit for f in answered() if f.truncated}) > 1


def test_each_of_several_end_tokens_stops():
  """With one of them alone, 97 % counted as truncated (TRL #7039)."""
  many = answer(asked(limits=(12,) * 5, samples=8), temperature=1.5)
  last = {int(f.tokens[-1]) for f in many if not f.truncated}
  assert last == set(EOS)
  one = answer(asked(limits=(12,) * 5, samples=8), temperature=1.5, eos=EOS[:1])
  assert sum(f.truncated for f in one) > sum(f.truncated for f in many)


@pytest.mark.parametrize(
  ("slots", "bucket"), [pytest.param(1, 6, marks=pytest.mark.slow), (3, 6), (16, 8)]
)
def test_slots_and_padding_change_nothing(slots, bucket):
  for a, b in zip(answered(), answer(asked(), slots=slots, bucket=bucket), strict=True):
    same(a, b)


def test_a_drafter_changes_nothing_but_how_many_forwards_it_takes():
  drafted = answer(asked(), draft="lookup", draft_tokens=2, ngram=1)
  for a, b in zip(answered(), drafted, strict=True):
    same(a, b)
    assert (a.drafted, a.accepted) == (0, 0)
    assert 0 <= b.accepted <= min(b.drafted, len(b.tokens))
  assert sum(f.accepted for f in drafted) > 0


def test_the_order_of_requests_changes_nothing():
  order = np.random.default_rng(0).permutation(10)
  assert order.tolist() != list(range(10))
  shuffled = answer([asked()[i] for i in order])
  for i, finished in zip(order, shuffled, strict=True):
    same(answered()[i], finished)


def test_the_same_request_repeats_exactly():
  for a, b in zip(answered(), answer(asked()), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.logp, b.logp)


def test_samples_rollouts_questions_and_seeds_each_have_noise_of_their_own():
  """Duplicates in a group (ms-swift #3143); a key that restarts with every rollout repeats its
  answers where the weights stand still (google/tunix, vanilla rollout)."""
  prompt = (3, 1, 0, 2)
  group = [engine.Request("a", s, 0, prompt, 12) for s in range(4)]
  later = [engine.Request("a", s, 1, prompt, 12) for s in range(4)]
  other = [engine.Request("b", s, 0, prompt, 12) for s in range(4)]
  found = answer(group + later + other, eos=(30,)) + answer(group, eos=(30,), seed=8)
  assert len({tuple(f.tokens.tolist()) for f in found}) == 16


def test_new_weights_change_the_answer_at_once():
  """A cache or a copy of the weights that goes stale: TRL #3024, verl #7495."""
  new = tiny.params(CFG, seed=1)
  requests = asked()[:4]
  before, after, again = (answer(requests, params=p) for p in (PARAMS, new, PARAMS))
  for got, want in zip(after, trained_logp(new, after, 0.8), strict=True):
    np.testing.assert_allclose(got.logp, want, atol=1e-5)
  stale = trained_logp(PARAMS, after, 0.8)
  assert max(np.abs(f.logp - x).max() for f, x in zip(after, stale, strict=True)) > 0.1
  for a, b in zip(before, again, strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)


def test_the_id_of_padding_is_a_token_like_any_other():
  """The mask comes from lengths and never from id == pad (TRL #4970)."""
  requests = [engine.Request("zero", s, 0, (0, 0, 5, 0), 12) for s in range(16)]
  found = answer(requests, temperature=3.0)
  inside = [f for f in found if (f.tokens[:-1] == 0).any()]
  assert inside  # drawn, and the answer went on
  for got, want in zip(found, trained_logp(PARAMS, found, 3.0), strict=True):
    np.testing.assert_allclose(got.logp, want, atol=1e-5)
  shorter = answer([engine.Request("zero", 0, 0, (5,), 12)], temperature=0.0)[0]
  longer = answer([engine.Request("zero", 0, 0, (0, 0, 5), 12)], temperature=0.0)[0]
  assert abs(shorter.logp[0] - longer.logp[0]) > 1e-3  # leading zeros were read


def test_greedy_ignores_the_seed():
  a, b = (answer(asked()[:4], temperature=0.0, seed=seed) for seed in (1, 2))
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x.tokens, y.tokens)


def test_what_does_not_fit_is_refused_with_its_numbers():
  long = engine.Request("sum-7", 0, 0, tuple(range(20)) * 3, 12)
  with pytest.raises(
    ValueError, match=r"question 'sum-7': a prompt of 60 tokens and 12 new .* the context of 64"
  ):
    answer([long])
  with pytest.raises(ValueError, match="a prompt of 0 tokens"):
    answer([engine.Request("none", 0, 0, (), 12)])
  with pytest.raises(ValueError, match="temperature=-1 must be >= 0; 0 is greedy"):
    answer(asked(), temperature=-1)
