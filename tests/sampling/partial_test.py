"""Answers that go on in the next rollout: the same tokens, each with its own policy's log-prob."""

import dataclasses
import functools

import numpy as np
import pytest

from r1.data import questions as records
from r1.sampling import engine, partial, requests, rollout
from tests.sampling import engine_test as engines
from tests.sampling import settings
from tests.train import tiny as train_tiny

PARAMS, OTHER = engines.PARAMS, engines.tiny.params(engines.CFG, seed=3)
TEMPERATURE = 0.8


def asked():
  """Ten answers to five questions; each counts its question."""
  found = engines.asked()
  return [dataclasses.replace(r, index=i // 2) for i, r in enumerate(found)]


def generate(params):
  return functools.partial(
    engine.generate,
    params,
    cfg=engines.CFG,
    sampler=engines.configured(),
    temperature=TEMPERATURE,
    eos=engines.EOS,
    seed=7,
  )


def name(request):
  return request.index, request.sample


def played(policies, tokens):
  """({name: answer}, its request in the last rollout) after a rollout with each of the policies."""
  held, done, passes = asked(), {}, 0
  for params in policies:
    answers = list(partial.advance(held, generate(params), tokens=tokens, eos=engines.EOS))
    assert sorted(name(a.request) for a in answers) == sorted(map(name, held))
    done = {name(a.request): a for a in answers}
    held = [partial.put_aside(done[name(r)]) for r in held]
    passes += 1
    if not any(partial.goes_on(a) for a in answers):
      break
  return done, passes


@functools.cache
def whole():
  return played([PARAMS], 0)[0]


# Advancing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 4, 5, 11, 12, 99])
def test_with_the_same_weights_a_budget_changes_no_answer(tokens):
  """The rest of an answer is drawn with its own keys, whenever that is."""
  found, passes = played([PARAMS] * 20, tokens)
  assert passes == -(-max(len(a.tokens) for a in whole().values()) // tokens)
  assert passes <= partial.rollouts(12, tokens)
  for key, answer in whole().items():
    np.testing.assert_array_equal(found[key].tokens, answer.tokens)
    np.testing.assert_allclose(found[key].logp, answer.logp, atol=1e-5)
    assert found[key].truncated == answer.truncated
    assert found[key].request.limit == answer.request.limit


def test_a_token_keeps_the_log_probability_of_the_policy_that_drew_it():
  """And the cache of the older policy is not read by the newer one (NeMo #4018)."""
  found, _ = played([PARAMS, OTHER], 5)
  answers = [a for a in found.values() if len(a.tokens) > 5]
  assert len(answers) > 3
  old, new = (engines.trained_logp(p, answers, TEMPERATURE) for p in (PARAMS, OTHER))
  for answer, before, after in zip(answers, old, new, strict=True):
    np.testing.assert_allclose(answer.logp[:5], before[:5], atol=1e-5)
    np.testing.assert_allclose(answer.logp[5:], after[5:], atol=1e-5)
    assert np.abs(before - after)[:5].max() > 1e-2
    assert np.abs(before - after)[5:].max() > 1e-2
    assert len(answer.request.drawn) == 5
  assert any(
    len(a.tokens) != len(whole()[key].tokens) or (a.tokens != whole()[key].tokens).any()
    for key, a in found.items()
  ), "the other policy draws other tokens"


def test_an_answer_that_has_ended_is_asked_of_nobody_and_comes_as_it_was():
  answers = list(whole().values())
  held = [partial.put_aside(a) for a in answers]
  assert {a.truncated for a in answers} == {True, False}

  def nobody(given):
    assert given == []
    return []

  for found, a in zip(partial.advance(held, nobody, tokens=3, eos=engines.EOS), answers):
    np.testing.assert_array_equal(found.tokens, a.tokens)
    np.testing.assert_array_equal(found.logp, a.logp)
    assert (found.truncated, found.logp.dtype) == (a.truncated, np.float32)


def test_what_stops_at_the_budget_goes_on_and_what_ends_there_does_not():
  request = requests.Request("q", 0, 0, (1, 2), limit=6)

  def stopped(count, truncated):
    tokens = np.arange(count)
    return requests.Finished(request, tokens, -tokens.astype(np.float32), truncated)

  assert partial.goes_on(stopped(3, truncated=True))
  assert not partial.goes_on(stopped(3, truncated=False))  # an end token on its last place
  assert not partial.goes_on(stopped(6, truncated=True))  # its own limit
  again = partial.put_aside(stopped(3, truncated=True))
  assert (again.drawn, again.logp, again.limit) == ((0, 1, 2), (0.0, -1.0, -2.0), 6)


def test_the_longest_answer_takes_its_limit_over_the_budget_rollouts():
  found = [partial.rollouts(12, tokens) for tokens in (0, 1, 5, 6, 11, 12, 13)]
  assert found == [1, 12, 3, 2, 2, 1, 1]


# Checkpoints -------------------------------------------------------------------------------------


QUESTIONS = [records.Question(id=f"q{i}", prompt=f"{i} + {i} ?", answer="1") for i in range(3)]


def test_what_is_put_aside_comes_out_of_a_checkpoint_to_the_bit():
  tokenizer, rng = train_tiny.tokenizer(), np.random.default_rng(0)
  given = QUESTIONS, tokenizer, "short"
  held = []
  for q, (begun, count) in enumerate(((3, 1), (3, 4), (4, 7))):
    (r,) = rollout.requests([q], *given, group=1, rollout=begun, limit=9 + q)
    logp = np.float32(-rng.random(count))
    tokens = rng.integers(0, 300, count)
    held.append(partial.put_aside(requests.Finished(r, tokens, logp, True)))
  packed = partial.pack(held)
  assert {x.dtype for x in packed.values()} == {np.dtype("int32"), np.dtype("float32")}
  assert partial.unpack(packed, *given) == held
  assert partial.pack([]) == {}
  assert partial.unpack({}, *given) == []


# Settings and metrics ----------------------------------------------------------------------------


def test_a_cache_that_could_not_hold_an_answer_which_goes_on_is_refused_before_the_run():
  """The first rollout asks for less, so the engine alone would find it later."""
  sampler = settings.sampler(chunk=4, cache_tokens=2 * 4 * 6, in_flight=2, slots=8)
  partial.check(3, sampler, longest=20)  # 5 pages and one
  partial.check(0, sampler, longest=99)
  with pytest.raises(
    ValueError, match=r"may take 21 tokens, 7 pages of 4 .* set sampler.cache_tokens to 56 or more"
  ):
    partial.check(3, sampler, longest=21)


def test_metrics_count_who_goes_on_who_waits_and_how_old_the_tokens_are():
  eos = (9,)
  drawn = ((1, 2), (1, 9), (5,) * 6)  # one goes on; an end and a limit wait
  held = [requests.Request("q", i, 3, (1,), 6, d, (0.0,) * len(d)) for i, d in enumerate(drawn)]
  none = partial.metrics([], held, eos, number=3, updates=4)
  assert none == {"partial/carried": 1, "partial/waiting": 2}
  samples = [train_tiny.sample(None, 0, np.arange(3 + n), 3) for n in (2, 4, 2)]
  changes = [{"rollout": 3, "carried": 0}, {"rollout": 1, "carried": 3}, {"rollout": 2}]
  samples = [dataclasses.replace(s, **c) for s, c in zip(samples, changes)]
  found = partial.metrics(samples, held[:1], eos, number=3, updates=4)
  # Begun in this rollout: age 0; two rollouts ago: 8 updates; one: 4.
  assert (found["partial/age"], found["partial/age_max"]) == (4, 8)
  assert found["partial/older"] == 3 / 8
  assert (found["partial/carried"], found["partial/waiting"]) == (1, 0)
