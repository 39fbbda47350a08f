"""Speculative decoding draws what the plain loop draws, whoever guesses and however well."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.model import presets
from r1.sampling import decode, lookup, speculate
from tests.model import reference, tiny
from tests.sampling import planted, settings

IDS = 6  # so few that guesses are right by chance
PROMPTS = ([3, 1, 0, 2], [2, 0], [1, 4, 1, 0], [3], [3], [0, 1, 0, 1])
ROOM = 16


def draw(params, cfg, prompts, *, limits=None, temperature=1.0, eos=(5,), room=ROOM, **changes):
  width = max(map(len, prompts))
  prompt_BL = np.array([[*p, *[0] * (width - len(p))] for p in prompts], np.int32)
  sampler = settings.sampler(**changes)
  compiled = decode.compiled if sampler.draft == "none" else speculate.compiled
  out = compiled(
    params,
    jnp.asarray(prompt_BL),
    jnp.asarray([len(p) for p in prompts], jnp.int32),
    jnp.asarray(limits or [room] * len(prompts), jnp.int32),
    jax.random.split(jax.random.key(3), len(prompts)),
    jnp.float32(temperature),
    cfg=cfg,
    sampler=sampler,
    eos=eos,
    room=room,
  )
  return jax.device_get(out)


@functools.cache
def model(name):
  cfg = presets.config(name, tiny.RUNTIME | {"ids": IDS})
  return tiny.params(cfg), cfg


def same(got, want):
  """Tokens, lengths and ends equal, log-probabilities to 1e-5."""
  for field in ("token_BM", "length_B", "ended_B"):
    np.testing.assert_array_equal(getattr(got, field), getattr(want, field))
  np.testing.assert_allclose(got.logp_BM, want.logp_BM, atol=1e-5)


# The same tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("name", "draft"),
  [
    ("tiny-qwen2", "lookup"),
    ("tiny-llama", "lookup"),
    ("tiny-deepseek-v3", "lookup"),
    ("tiny-deepseek-v3", "mtp"),
  ],
)
def test_greedy_and_sampled_tokens_are_those_of_the_plain_loop(name, draft):
  """Also with limits and empty slots, and in rows that accept much, little and nothing."""
  for temperature, limits in ((0.0, None), (1.0, None), (1.5, [16, 0, 1, 2, 9, 16])):
    given = {"limits": limits, "temperature": temperature}
    want = draw(*model(name), PROMPTS, **given)
    got = draw(*model(name), PROMPTS, **given, draft=draft, draft_tokens=3, ngram=1)
    same(got, want)
    assert 0 < got.accepted_B.sum() < got.drafted_B.sum()
    assert len(set(got.accepted_B.tolist())) > 1
    assert not want.drafted_B.any()


@pytest.mark.parametrize("draft_tokens", [1, 5])
def test_the_number_of_drafts_changes_nothing(draft_tokens):
  want = draw(*model("tiny-qwen2"), PROMPTS)
  changes = {"draft": "lookup", "draft_tokens": draft_tokens, "ngram": 2}
  same(draw(*model("tiny-qwen2"), PROMPTS, **changes), want)


def test_filters_reach_drafts_and_target_alike():
  changes = {"top_k": 3, "top_p": 0.9, "min_p": 0.05, "temperature": 1.5}
  want = draw(*model("tiny-qwen2"), PROMPTS, **changes)
  got = draw(*model("tiny-qwen2"), PROMPTS, **changes, draft="lookup", draft_tokens=3)
  same(got, want)


def test_a_drafter_that_guesses_at_random_changes_nothing(monkeypatch):
  def draft(params, memory, *told, pick, cfg, sampler):
    row_1L = (jnp.arange(3) * 7 + memory) % IDS
    return (
      jnp.broadcast_to(row_1L, (len(PROMPTS), 3)),
      jnp.ones((len(PROMPTS), 3), bool),
      memory + 5,
    )

  noise = types.SimpleNamespace(start=lambda *_: jnp.int32(1), draft=draft)
  monkeypatch.setitem(speculate.DRAFTERS, "lookup", noise)
  got = draw(*model("tiny-qwen2"), PROMPTS, draft="lookup", draft_tokens=3, slots=9)
  same(got, draw(*model("tiny-qwen2"), PROMPTS))
  assert 0 < got.accepted_B.sum() < got.drafted_B.sum() / 3


# The same distribution -----------------------------------------------------------------------


@functools.cache
def four_ids():
  cfg = tiny.config(ids=4, tied=False, mtp=1)
  return tiny.params(cfg), cfg


def exact(params, cfg, prompt, temperature):
  """Probability of each of the 64 continuations of three tokens, in float64."""
  found = []
  for tokens in itertools.product(range(4), repeat=3):
    hidden_LD = reference.hidden(params, [*prompt, *tokens], cfg)
    head_DV = np.asarray(params["head_DV"], np.float64)[:, :4]
    logits_LV = (hidden_LD @ head_DV)[len(prompt) - 1 : -1] / temperature
    prob_LV = np.exp(logits_LV) / np.exp(logits_LV).sum(axis=1, keepdims=True)
    found.append(np.prod(prob_LV[np.arange(3), tokens]))
  return np.array(found)


@pytest.mark.parametrize("draft", ["lookup", "mtp"])
def test_sampled_continuations_follow_the_exact_softmax(draft):
  """chi^2 with 63 degrees of freedom; 103.4 is passed once in a thousand."""
  (params, cfg), prompt, rows = four_ids(), [3, 1, 0, 2], 4000
  changes = {"draft": draft, "draft_tokens": 2, "ngram": 1, "temperature": 3.0}
  got = draw(params, cfg, [prompt] * rows, eos=(9,), room=3, **changes)
  want = exact(params, cfg, prompt, 3.0) * rows
  assert want.min() > 5
  found = np.bincount(got.token_BM @ [16, 4, 1], minlength=64)
  assert np.sum((found - want) ** 2 / want) < 103.4
  assert got.accepted_B.sum() > rows / 8
  even = np.full(64, rows / 64)  # the test tells the softmax from another distribution
  assert np.sum((found - even) ** 2 / even) > 500


# Ends and limits inside a run of accepted drafts -----------------------------------------------


def guessed(prompts, draft, **changes):
  """Of the model that knows every successor for sure, so that every draft is right.

  In a batch of ten prompts of fifteen tokens, the rest empty, so that XLA compiles one program.
  """
  given = {"temperature": 0.0, "draft_tokens": 3, "ngram": 2, "eos": (15,), "room": 13} | changes
  limits = given.pop("limits", [given["room"]] * len(prompts))
  spare = 10 - len(prompts)
  whole, limits = [*prompts, *[[0] * 15] * spare], [*limits, *[0] * spare]
  return draw(planted.params(40.0), planted.CFG, whole, limits=limits, draft=draft, **given)


@pytest.mark.parametrize("draft", ["lookup", "mtp"])
def test_a_planted_repetition_is_accepted_four_tokens_a_forward(draft):
  out = guessed([planted.run(0, 6)], draft)
  assert out.token_BM[0].tolist() == planted.run(2, 13)
  # The prefill draws 1 token, and each of 3 forwards its own and 3 drafts.
  assert (out.length_B[0], out.drafted_B[0], out.accepted_B[0]) == (13, 9, 9)


@pytest.mark.parametrize("draft", ["lookup", "mtp"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_limits_inside_a_run_of_drafts_are_exact(draft, temperature):
  limits = [0, 1, 2, 3, 4, 5, 6, 7, 8, 13]
  prompts = [planted.run(0, 15)] * len(limits)
  out = guessed(prompts, draft, limits=limits, temperature=temperature)
  assert out.length_B.tolist() == limits
  assert not out.ended_B.any()
  for row, logp, limit in zip(out.token_BM, out.logp_BM, limits, strict=True):
    assert row[:limit].tolist() == planted.run(3, 13)[:limit]
    assert not row[limit:].any()
    assert not logp[limit:].any()


@pytest.mark.parametrize("draft", ["lookup", "mtp"])
def test_nothing_is_drawn_behind_an_end_token_inside_a_run_of_drafts(draft):
  """The prefill's own token, and the first, third and last of the next forward."""
  lengths = [1, 2, 4, 5]
  prompts = [planted.run(15 - n, 15) for n in lengths]  # the n-th token behind it is 15
  out = guessed([*prompts, planted.run(0, 9)], draft)
  assert out.length_B.tolist() == [*lengths, 13, *[0] * 5]
  assert out.ended_B[:5].tolist() == [True] * 4 + [False]
  for prompt, n, row, logp in zip(prompts, lengths, out.token_BM, out.logp_BM):
    want = planted.run(int(planted.NEXT[prompt[-1]]), n)
    assert want[-1] == 15
    assert 15 not in want[:-1]
    assert row.tolist() == want + [0] * (13 - n)
    assert (logp != 0).sum() <= n
  assert out.token_BM[4].tolist() == planted.run(1, 13)  # their neighbour goes on


def test_a_row_without_a_draft_goes_on_beside_one_that_has_them():
  out = guessed([planted.run(0, 9), [9, 2, 4, 7, 1, 15]], "lookup", limits=[6, 6])
  assert out.token_BM[:2, :6].tolist() == [planted.run(1, 6), planted.run(9, 6)]
  assert out.accepted_B[0] > 0
  assert (out.drafted_B[1], out.accepted_B[1]) == (0, 0)


# The parts -----------------------------------------------------------------------------------


def test_drafts_agree_up_to_the_first_that_the_row_does_not_draw():
  draft_BL = jnp.array([[1, 2, 3], [1, 9, 3], [9, 2, 3], [1, 2, 3], [1, 2, 3]])
  real_BL = jnp.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]], bool)
  id_BL = jnp.broadcast_to(jnp.array([1, 2, 3, 4]), (5, 4))
  agreed_B = speculate.agreement(draft_BL, real_BL, id_BL)
  assert agreed_B.tolist() == [3, 1, 0, 0, 2]


def test_a_row_keeps_its_agreed_drafts_and_its_own_token_behind_them():
  drawn = decode.nothing(4, 6).replace(length_B=jnp.array([0, 1, 4, 2]))
  id_BL = jnp.array([[7, 8, 9], [7, 5, 9], [7, 8, 9], [7, 8, 9]])
  drawn = drawn.replace(ended_B=jnp.array([False, False, False, True]))
  limit_B = jnp.array([6, 6, 5, 6])
  drawn, kept_BL = speculate.commit(
    drawn, id_BL, -id_BL.astype(jnp.float32), jnp.array([1, 2, 2, 2]), limit_B, (5,)
  )
  # Agreed; cut by an end token; cut by the limit; ended before.
  assert kept_BL.tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]]
  assert drawn.length_B.tolist() == [2, 3, 5, 2]
  assert drawn.ended_B.tolist() == [False, True, False, True]
  assert drawn.token_BM.tolist() == [
    [7, 8, 0, 0, 0, 0],
    [0, 7, 5, 0, 0, 0],
    [0, 0, 0, 0, 7, 0],
    [0, 0, 0, 0, 0, 0],
  ]
  np.testing.assert_array_equal(drawn.logp_BM, -drawn.token_BM)


def test_every_drafter_can_be_chosen_and_no_other():
  for name in speculate.DRAFTERS:
    assert settings.sampler(draft=name).draft == name
  assert speculate.DRAFTERS["lookup"] is lookup
  with pytest.raises(ValueError, match="draft='eagle': choose one of none, lookup, mtp"):
    settings.sampler(draft="eagle")


def test_a_model_without_the_layer_refuses_its_drafts():
  with pytest.raises(ValueError, match="draft='mtp' needs a layer of multi-token prediction"):
    draw(*model("tiny-qwen2"), PROMPTS, draft="mtp")
  speculate.check(planted.CFG, settings.sampler(draft="mtp"))
  speculate.check(model("tiny-qwen2")[1], settings.sampler(draft="lookup"))
