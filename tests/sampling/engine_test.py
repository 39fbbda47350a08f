"""Requests in, finished answers out, whatever the slots, the order and the neighbours."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from r1.algorithms import logp as token_logp
from r1.data import packing
from r1.model import lora, pages, presets
from r1.sampling import book as books
from r1.sampling import engine, loop
from r1.sampling import requests as requests_lib
from tests.model import tiny
from tests.sampling import settings

CFG = tiny.config(ids=29, tied=False)
PARAMS = tiny.params(CFG)
EOS = (4, 5, 6)
PROMPTS = ((3, 1, 0, 2), (7, 0), (5, 6, 7, 0, 0, 9), (9,), (28, 27, 26))


def asked(limits=(12, 3, 12, 12, 12), samples=2, rollout=0):
  """Two samples of each of five questions, whose prompts hold padding's id 0."""
  return [
    requests_lib.Request(f"q{i}", s, rollout, prompt, limit)
    for i, (prompt, limit) in enumerate(zip(PROMPTS, limits, strict=True))
    for s in range(samples)
  ]


def configured(*, bucket=6, **changes):
  small = {"slots": 4, "chunk": 4, "cache_tokens": 512, "layout": "unrolled", "in_flight": 1}
  return settings.sampler(prompt_bucket=bucket, **small | changes)


def answer(
  requests, *, params=PARAMS, cfg=CFG, temperature=0.8, eos=EOS, seed=7, by=engine, **changes
):
  """The answers in the order of the requests."""
  sampler = configured(**changes)
  requests = [dataclasses.replace(r, index=i) for i, r in enumerate(requests)]
  found = by.generate(
    params, iter(requests), cfg=cfg, sampler=sampler, temperature=temperature, eos=eos, seed=seed
  )
  return [
    dataclasses.replace(f, request=dataclasses.replace(f.request, index=0))
    for f in sorted(found, key=lambda f: f.request.index)
  ]


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
  limited = requests_lib.Request(
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


def compare(found, wanted):
  for a, b in zip(found, wanted, strict=True):
    same(a, b)


@pytest.mark.parametrize(
  "changes",
  [
    {"slots": 1},
    {"slots": 3, "chunk": 1},
    {"slots": 16, "bucket": 8, "chunk": 5},
    {"slots": 6, "chunk": 12, "layout": "stacked"},
    {"slots": 4, "chunk": 2, "in_flight": 2},
  ],
)
def test_slots_chunks_layout_and_batches_in_flight_change_nothing(changes):
  compare(answer(asked(), **changes), plainly())


def test_a_tpus_pages_hold_keys_otherwise_and_change_nothing(monkeypatch):
  empty, held = pages.empty, []

  def on_tpu(cfg, count, width, platform, codes):
    held.append(empty(cfg, count, width, "tpu", codes))
    return held[-1]

  monkeypatch.setattr(pages, "empty", on_tpu)
  compare(answer(asked(), layout="stacked"), plainly())
  assert "key_ZBNMK" in held[0]["dense"]


@functools.cache
def plainly():
  return answer(asked(), by=loop)


def test_greedy_answers_are_the_plain_loops():
  compare(answer(asked(), temperature=0.0), answer(asked(), temperature=0.0, by=loop))


@pytest.mark.parametrize("name", ["tiny-deepseek-v3", "tiny-deepseek-v2", "tiny-llama", "windows"])
def test_every_kind_of_attention_reads_its_pages(name):
  """Prompts of several pages, shared by more samples than an entry has readers."""
  cfg = tiny.config(windows=(0, 5)) if name == "windows" else presets.config(name, tiny.RUNTIME)
  params = tiny.params(cfg)
  prompts = tuple(range(1, 12)), (3, 1), (2,)
  wanted = [
    requests_lib.Request(f"q{i}", s, 0, p, 9) for i, p in enumerate(prompts) for s in range(9)
  ]
  given = {"params": params, "cfg": cfg, "eos": (0,)}
  for layout in ("stacked", "unrolled"):
    compare(
      answer(wanted, **given, slots=27, layout=layout), answer(wanted, **given, slots=27, by=loop)
    )


def test_adapters_are_merged_before_the_first_step():
  cfg = tiny.config(
    ids=29, tied=False, lora=lora.LoraConfig(rank=2, alpha=4.0, pattern=r"\w+/attn/\w+")
  )
  params = jax.tree.map(lambda x: x + 0.05, tiny.params(cfg))
  given = {"params": params, "cfg": cfg}
  compare(answer(asked(), **given), answer(asked(), **given, by=loop))
  assert (
    answer(asked(), **given)[0].logp[0]
    != answer(asked(), params={k: v for k, v in params.items() if k != "lora"})[0].logp[0]
  )


def test_too_small_a_cache_puts_rows_back_and_changes_nothing():
  stats = engine.Stats()
  requests = [dataclasses.replace(r, index=i) for i, r in enumerate(asked())]
  found = engine.generate(
    PARAMS,
    requests,
    cfg=CFG,
    sampler=configured(slots=4, chunk=2, cache_tokens=20),
    temperature=0.8,
    eos=EOS,
    seed=7,
    stats=stats,
  )
  found = sorted(found, key=lambda f: f.request.index)
  assert stats.put_back > 0
  assert [f.request for f in found] == requests  # as the caller gave them, without what was drawn
  for a, b in zip(found, plainly(), strict=True):
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)


def test_a_row_is_let_in_where_the_next_chunk_has_a_page_for_it():
  """Else its prompt would be read into pages and put back at once, before every chunk."""
  book = books.Book(10, 4)
  prompts = [(*range(i, i + 8), 3) for i in range(5)]
  requests = [requests_lib.Request(f"q{i}", 0, 0, p, 16) for i, p in enumerate(prompts)]
  run = engine._Run(PARAMS, CFG, configured(slots=6, cache_tokens=40), (30,), 0.8, None, None)
  batch = engine._Batch(book, pages.empty(CFG, 10, 4, "cpu", ""), [], None)
  waiting = engine._Waiting(requests, run, book)
  engine._admit(run, batch, waiting, engine.Stats(), most=6)
  # Two pages for a prompt and one for the next chunk: three rows take nine of ten.
  assert len(batch.rows) == 3
  engine._make_room(batch, waiting, stats := engine.Stats())
  assert stats.put_back == 0


def test_a_request_that_no_cache_could_hold_is_refused_with_the_size_it_takes():
  with pytest.raises(
    ValueError, match=r"4 tokens and 12 new ones take 4 pages of 4 .* to 16 or more"
  ):
    answer(asked()[:1], cache_tokens=12)


def test_an_answer_goes_on_from_what_was_drawn_earlier():
  """Partial rollouts: the stored log-probabilities stay, the rest is what it would have been."""
  whole = next(f for f in plainly() if len(f.tokens) > 6)
  earlier = whole.tokens[:5].tolist()
  marked = tuple(-float(i) for i in range(5))
  request = dataclasses.replace(whole.request, drawn=tuple(earlier), logp=marked)
  (found,) = answer([request])
  np.testing.assert_array_equal(found.tokens, whole.tokens)
  np.testing.assert_array_equal(found.logp[:5], marked)
  np.testing.assert_allclose(found.logp[5:], whole.logp[5:], atol=1e-5)
  with pytest.raises(ValueError, match="5 tokens drawn earlier come with 0 log-prob"):
    dataclasses.replace(whole.request, drawn=tuple(earlier))


def test_a_stop_cuts_the_answer_and_is_no_truncation():
  target = next(f for f in plainly() if len(f.tokens) > 6)
  third = target.tokens[2]

  def stop(tokens):
    return tokens.index(third) + 1 if third in tokens else None

  found = engine.generate(
    PARAMS,
    [target.request],
    cfg=CFG,
    sampler=configured(),
    temperature=0.8,
    eos=EOS,
    seed=7,
    stop=stop,
  )
  (got,) = found
  kept = target.tokens.tolist().index(third) + 1
  np.testing.assert_array_equal(got.tokens, target.tokens[:kept])
  assert len(got.logp) == kept
  assert not got.truncated


def test_answers_come_as_they_finish_and_slots_are_filled_again():
  limits = [40] + [3] * 9
  requests = [requests_lib.Request(f"q{i}", 0, 0, (3, 1), n, index=i) for i, n in enumerate(limits)]
  stats = engine.Stats()
  given = {"cfg": CFG, "temperature": 0.8, "eos": (30,), "seed": 7, "stats": stats}
  found = engine.generate(PARAMS, requests, sampler=configured(slots=2, chunk=3), **given)
  assert [f.request.index for f in found] == [*range(1, 10), 0]
  assert stats.tokens == sum(limits)
  # Nine short answers pass through the second slot while the first one is busy; then it is alone.
  assert stats.slot_steps <= 2 * 27 + 13 + 2
  assert stats.prefilled == 1  # the prompt's first token, shared by all


@pytest.mark.parametrize(("count", "chunks"), [(4, 2), (5, 2), (1, 1)])
def test_few_requests_are_divided_among_the_batches_in_flight(count, chunks):
  sampler, stats = configured(slots=16, in_flight=2), engine.Stats()
  requests = [requests_lib.Request("q", s, 0, (3, 1), 4) for s in range(count)]
  given = {"cfg": CFG, "temperature": 0.8, "eos": (30,), "seed": 7, "stats": stats}
  assert len(list(engine.generate(PARAMS, requests, sampler=sampler, **given))) == count
  assert stats.chunks == chunks


def test_a_prompt_is_computed_once_for_its_group():
  stats = engine.Stats()
  requests = [requests_lib.Request("q", s, 0, tuple(range(1, 10)), 4) for s in range(8)]
  given = {"cfg": CFG, "temperature": 0.8, "eos": (30,), "seed": 7, "stats": stats}
  assert len(list(engine.generate(PARAMS, requests, sampler=configured(slots=8), **given))) == 8
  assert stats.prefilled == 8


def test_a_drafter_changes_nothing_but_how_many_forwards_it_takes():
  drafted = answer(asked(), draft="lookup", draft_tokens=2, ngram=1)
  for a, b in zip(answered(), drafted, strict=True):
    same(a, b)
    assert (a.drafted, a.accepted) == (0, 0)
    assert 0 <= b.accepted <= min(b.drafted, len(b.tokens))
  assert sum(f.accepted for f in drafted) > 0
  given = {"cfg": CFG, "temperature": 0.8, "eos": EOS, "seed": 7, "stop": lambda tokens: None}
  with pytest.raises(ValueError, match="draft='lookup' has no stop strings"):
    list(engine.generate(PARAMS, asked(), sampler=configured(draft="lookup"), **given))


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
  group = [requests_lib.Request("a", s, 0, prompt, 12) for s in range(4)]
  later = [requests_lib.Request("a", s, 1, prompt, 12) for s in range(4)]
  other = [requests_lib.Request("b", s, 0, prompt, 12) for s in range(4)]
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
  requests = [requests_lib.Request("zero", s, 0, (0, 0, 5, 0), 12) for s in range(16)]
  found = answer(requests, temperature=3.0)
  inside = [f for f in found if (f.tokens[:-1] == 0).any()]
  assert inside  # drawn, and the answer went on
  for got, want in zip(found, trained_logp(PARAMS, found, 3.0), strict=True):
    np.testing.assert_allclose(got.logp, want, atol=1e-5)
  shorter = answer([requests_lib.Request("zero", 0, 0, (5,), 12)], temperature=0.0)[0]
  longer = answer([requests_lib.Request("zero", 0, 0, (0, 0, 5), 12)], temperature=0.0)[0]
  assert abs(shorter.logp[0] - longer.logp[0]) > 1e-3  # leading zeros were read


def test_greedy_ignores_the_seed():
  a, b = (answer(asked()[:4], temperature=0.0, seed=seed) for seed in (1, 2))
  for x, y in zip(a, b, strict=True):
    np.testing.assert_array_equal(x.tokens, y.tokens)


def test_what_does_not_fit_is_refused_with_its_numbers():
  long = requests_lib.Request("sum-7", 0, 0, tuple(range(20)) * 3, 12)
  with pytest.raises(
    ValueError, match=r"question 'sum-7': a prompt of 60 tokens and 12 new .* the context of 64"
  ):
    answer([long])
  with pytest.raises(ValueError, match="a prompt of 0 tokens"):
    answer([requests_lib.Request("none", 0, 0, (), 12)])
  for wrong in ({"temperature": -1}, {"eos": ()}):
    with pytest.raises(ValueError, match=r"=-1 must be >= 0; 0 is|wanted one end token"):
      answer(asked(), **wrong)
