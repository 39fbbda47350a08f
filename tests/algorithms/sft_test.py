"""Cross-entropy on answers: weights over the whole step, packing that changes nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1.algorithms import experts, sft
from r1.data import conversations
from r1.model import heads, mtp, presets, transformer
from r1.train import step
from tests.model import tiny as model_tiny
from tests.train import tiny

CFG = tiny.model(stacks=(("dense", 2),))


@functools.cache
def params():
  return tiny.params(CFG)


def flags(text):
  """ "..xx" to [False, False, True, True]."""
  return np.array([c == "x" for c in text])


def sequences(count=8, seed=0):
  """Random conversations of 3 to 40 tokens, some of two turns, as `conversations.encode` gives."""
  rng = np.random.default_rng(seed)
  made = []
  for i in range(count):
    lengths = [rng.integers(2, 12), rng.integers(1, 10), rng.integers(2, 9), rng.integers(1, 9)]
    lengths = lengths[: 2 + 2 * (i % 2)]
    scored = np.concatenate([np.full(n, bool(k % 2)) for k, n in enumerate(lengths)])
    made.append((rng.integers(4, 300, len(scored)).astype(np.int32), scored))
  return made


def assembled(given, row_tokens=64, rows=1, normalise="token", microbatches=8):
  cfg = tiny.batch_config(row_tokens, rows)
  return sft.assemble(given, normalise=normalise, cfg=cfg, microbatches=microbatches)


added = jax.jit(functools.partial(step.accumulate, sft.make_loss(CFG, experts.OFF, 0.0)))


def accumulated(batch, used):
  """(gradient, loss, metrics) of a step."""
  return added(params(), batch, used)


def size(tree):
  return np.sqrt(
    sum(float(np.sum(np.square(np.asarray(x, np.float64)))) for x in jax.tree.leaves(tree))
  )


def apart(a, b):
  """Distance of two gradients over the size of the second."""
  return size(jax.tree.map(lambda x, y: np.asarray(x, np.float64) - y, a, b)) / size(b)


# Weights -----------------------------------------------------------------------------------------


def test_every_token_of_a_step_weighs_the_same_by_hand():
  one, two = sft.token_weights([flags("..xx"), flags(".x..xxx")], "token")
  np.testing.assert_allclose(one, np.array([0, 0, 1, 1]) / 6, rtol=1e-6)
  np.testing.assert_allclose(two, np.array([0, 1, 0, 0, 1, 1, 1]) / 6, rtol=1e-6)
  assert one.dtype == np.float32


def test_every_response_of_a_step_weighs_the_same_by_hand():
  """Three responses, of 2, 1 and 3 tokens: a third each."""
  one, two = sft.token_weights([flags("..xx"), flags(".x..xxx")], "response")
  np.testing.assert_allclose(one, np.array([0, 0, 1, 1]) / 6, rtol=1e-6)
  np.testing.assert_allclose(two, np.array([0, 3, 0, 0, 1, 1, 1]) / 9, rtol=1e-6)


@pytest.mark.parametrize("normalise", sft.NORMALISE)
def test_the_first_token_is_nobody_s_target_and_the_weights_still_add_to_one(normalise):
  weights = sft.token_weights([flags("xxx"), flags("x"), flags(".xx.x")], normalise)
  assert [w[0] for w in weights] == [0, 0, 0]
  assert sum(w.sum() for w in weights) == pytest.approx(1, rel=1e-6)
  batch, _ = assembled(sequences(), normalise=normalise)
  assert batch.weight_BL.sum() == pytest.approx(1, rel=1e-5)


def test_weights_that_cannot_be_made_are_refused():
  with pytest.raises(ValueError, match="normalise='sum': choose one of token, response"):
    sft.token_weights([flags(".x")], "sum")
  with pytest.raises(ValueError, match="none of 2 conversations has a token to learn"):
    sft.token_weights([flags("x."), flags("...")], "token")


def test_losses_of_uneven_micro_batches_are_no_mean_of_means():
  """TRL #3021, SkyRL #1504: 2.0 over 100 tokens and 0.5 over 900 make .2 + .45 = .65, not 1.25."""
  given = [(np.arange(1 + n), np.arange(1 + n) > 0) for n in (100, 900)]
  batch, used = assembled(given, row_tokens=1024, rows=1, microbatches=2)
  # Both fit into one row; apart, they are the same sum.
  assert used == 1
  batch, used = assembled(given, row_tokens=901, rows=1, microbatches=2)
  assert used == 2
  loss_BL = np.where((batch.weight_BL > 0).sum(axis=-1, keepdims=True) == 100, 2.0, 0.5)
  assert (loss_BL * batch.weight_BL).sum() == pytest.approx(0.65, rel=1e-5)


def test_the_end_of_each_turn_is_a_target_that_counts():
  words = tiny.tokenizer()
  given = conversations.Conversation(
    messages=tuple(
      conversations.Message(role, text)
      for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ),
    origin="here:1",
  )
  batch, _ = assembled([conversations.encode(words, "chat", given)])
  counted = batch.target_BL[batch.weight_BL > 0].tolist()
  assert counted == [*words.encode("b"), words.eos[0], *words.encode("d"), words.eos[0]]


def test_a_pad_id_inside_of_an_answer_is_learned_like_any_other():
  """TRL #4970: the mask comes from lengths, never from `id == pad`."""
  batch, _ = assembled([(np.array([1, 50, 0, 0, 2]), flags("..xxx"))], row_tokens=8)
  assert batch.target_BL[batch.weight_BL > 0].tolist() == [0, 0, 2]


# The loss of a small transformer -----------------------------------------------------------------


@jax.jit
def logits_alone(weights, tokens_BL, segment_BL):
  position_BL = jnp.arange(tokens_BL.shape[1])[None]
  out = transformer.forward(weights, tokens_BL, position_BL, segment_BL, CFG)
  return heads.logits(heads.matrix(weights, CFG), out.hidden_BLD, CFG)


def by_hand(given, normalise):
  """Each conversation alone in its row, log-softmax in float64, weighed as the words say."""
  losses = []
  for tokens, scored in given:
    padded, real = np.zeros((1, 64), np.int32), (np.arange(64) < len(tokens))[None]
    padded[real] = tokens
    logits = np.asarray(logits_alone(params(), padded, real.astype(np.int32)), np.float64)[0]
    logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    nll = -logp[np.arange(len(tokens) - 1), tokens[1:]]
    edges = np.flatnonzero(np.diff(scored[1:])) + 1
    turns = zip(np.split(nll, edges), np.split(scored[1:], edges))
    losses += [turn for turn, own in turns if own[0]]
  if normalise == "token":
    return np.concatenate(losses).mean()
  return np.mean([turn.mean() for turn in losses])


@pytest.mark.parametrize("normalise", sft.NORMALISE)
def test_the_loss_is_the_mean_of_the_conversations_alone_in_their_rows(normalise):
  given = sequences()
  batch, used = assembled(given, normalise=normalise)
  _, value, total = accumulated(batch, used)
  assert float(value) == pytest.approx(by_hand(given, normalise), rel=1e-5)
  assert float(total["count"]) == sum(scored[1:].sum() for _, scored in given)


@pytest.mark.parametrize("normalise", sft.NORMALISE)
@pytest.mark.parametrize(
  ("row_tokens", "rows"),
  [(64, 1), *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ((64, 3), (128, 1)))],
)
def test_packed_and_unpacked_rows_have_one_loss_and_one_gradient(normalise, row_tokens, rows):
  """Block-diagonal attention and positions that restart: TRL #3067, LLaMA-Factory #7318.

  Unpacked: one conversation a row, one row a micro-batch. The packed steps have fewer, and the last
  of them is not full.
  """
  given = sequences()
  single = [assembled([one], normalise=normalise, microbatches=1)[0] for one in given]
  weights = sft.token_weights([scored for _, scored in given], normalise)
  alone = jax.tree.map(lambda *x: np.concatenate(x), *single)
  alone = alone.replace(
    weight_BL=np.stack([np.pad(w[1:], (0, 64 - len(w) + 1))[None] for w in weights])
  )
  wanted = accumulated(alone, len(given))
  batch, used = assembled(given, row_tokens, rows, normalise)
  assert used < len(given)
  grads, value, total = accumulated(batch, used)
  assert float(value) == pytest.approx(float(wanted[1]), rel=1e-5)
  assert apart(grads, wanted[0]) < 1e-5
  assert float(total["count"]) == float(wanted[2]["count"])
  for name, x in total["sum"].items():
    assert float(x) == pytest.approx(float(wanted[2]["sum"][name]), rel=1e-5), name


def test_positions_restart_with_each_conversation():
  """Rotary attention sees differences alone and would hide it (TRL #6800): look at the numbers."""
  batch, used = assembled(sequences())
  seen = 0
  for segment_L, position_L in zip(batch.segment_BL[:used, 0], batch.position_BL[:used, 0]):
    for number in range(1, segment_L.max() + 1):
      where = np.flatnonzero(segment_L == number)
      np.testing.assert_array_equal(position_L[where], np.arange(len(where)))
      np.testing.assert_array_equal(np.diff(where), 1)
      seen += 1
  assert seen == len(sequences()) > used


def test_a_neighbour_s_tokens_change_nothing_in_a_conversation_s_loss_and_gradient():
  """The neighbour's own targets weigh 0, so all that is left of it is what leaks: nothing."""
  given = sequences(3)
  batch, used = assembled(given)
  assert used == 1
  own = np.asarray(batch.segment_BL) == 2
  assert own.any()
  assert (batch.segment_BL > 2).any(), "neighbours on both sides"
  only = batch.replace(weight_BL=np.where(own, batch.weight_BL, 0))
  other = np.random.default_rng(9).integers(4, 300, batch.token_BL.shape)
  poisoned = only.replace(
    token_BL=np.where(own, batch.token_BL, other).astype(np.int32),
    target_BL=np.where(own, batch.target_BL, other[..., ::-1]).astype(np.int32),
  )
  first, second = accumulated(only, used), accumulated(poisoned, used)
  assert float(first[1]) > 0
  assert float(first[1]) == float(second[1])
  jax.tree.map(np.testing.assert_array_equal, first[0], second[0])
  # And the test can fail: the same poison inside of the conversation moves both.
  inside = only.replace(token_BL=np.where(own, other, batch.token_BL).astype(np.int32))
  assert float(accumulated(inside, used)[1]) != float(first[1])


def test_slots_that_weigh_nothing_may_hold_anything():
  """NaN x 0 is NaN: scored slots are chosen before the product (OpenRLHF #1240)."""
  batch, _ = assembled(sequences(3))
  batch = jax.tree.map(lambda x: x[0], batch)
  live = batch.weight_BL > 0
  fine = np.random.default_rng(0).normal(-3, 1, live.shape).astype(np.float32)
  broken = jnp.asarray(np.where(live, fine, np.nan))

  def value(logp_BL):
    return sft.loss(logp_BL, broken, broken, batch)

  (loss, metrics), grads = jax.value_and_grad(value, has_aux=True)(broken)
  assert float(loss) == pytest.approx(-(batch.weight_BL * np.where(live, fine, 0)).sum(), rel=1e-5)
  np.testing.assert_allclose(grads, -batch.weight_BL)
  assert all(np.isfinite(x) for x in jax.tree.leaves(metrics))


def test_accuracy_counts_the_targets_that_greedy_decoding_would_have_said():
  cfg = dataclasses.replace(CFG, logit_chunk=24)  # several chunks, and a last one that is not full
  batch = jax.tree.map(lambda x: x[0], assembled(sequences(3))[0])
  out = transformer.forward(params(), batch.token_BL, batch.position_BL, batch.segment_BL, cfg)
  best_BL = np.argmax(heads.logits(heads.matrix(params(), cfg), out.hidden_BLD, cfg), axis=-1)
  live = batch.weight_BL > 0
  target_BL = np.where(np.cumsum(live, axis=1) % 2 == 0, best_BL, batch.target_BL)
  hit_BL = sft.hits(params(), out.hidden_BLD, target_BL, cfg)
  np.testing.assert_array_equal(hit_BL, best_BL == target_BL)
  logp_BL, entropy_BL = heads.logp(params(), out.hidden_BLD, target_BL, cfg, 1.0)
  _, metrics = sft.loss(logp_BL, entropy_BL, hit_BL, batch)
  hits, count = (best_BL == target_BL)[live].sum(), live.sum()
  assert 0 < hits < count
  assert float(metrics["sum"]["sft/accuracy"]) == hits
  assert float(metrics["count"]) == count


# Multi-token prediction --------------------------------------------------------------------------


def test_the_loss_of_the_token_after_the_next_is_that_of_each_conversation_alone():
  """Packed, against the layer run on one conversation at a time; nothing crosses a border."""
  runtime = {"dtype": "float32", "attend": "einsum", "remat": "none", "rules": None}
  runtime |= {"attention_block": 16, "logit_chunk": 64}
  cfg = presets.config("tiny-deepseek-v3", runtime)
  weights, given = model_tiny.params(cfg), sequences(2)
  both, plain = (sft.make_loss(cfg, experts.OFF, weight) for weight in (0.3, 0.0))
  batch, _ = assembled(given, rows=4, microbatches=1)
  batch = jax.tree.map(lambda x: jnp.asarray(x[0]), batch)
  got = jax.jit(both)(weights, batch)[0] - jax.jit(plain)(weights, batch)[0]
  ahead = jax.jit(mtp.hidden, static_argnames="cfg")
  shares, want = sft.token_weights([scored for _, scored in given], "token"), 0.0
  for (tokens, _), share_L in zip(given, shares, strict=True):
    token_BL = jnp.asarray(tokens)[None]
    position_BL, one_BL = jnp.arange(len(tokens))[None], jnp.ones_like(token_BL)
    out = model_tiny.forward(weights, token_BL, position_BL, one_BL, cfg)
    cut = slice(None, -1)  # the last token has no next
    hidden_BLD, _ = ahead(
      weights, out.hidden_BLD[:, cut], token_BL[:, 1:], position_BL[:, cut], one_BL[:, cut], cfg
    )
    logits_BLV = heads.logits(heads.matrix(weights, cfg), hidden_BLD, cfg)
    logp_LV = jax.nn.log_softmax(logits_BLV)[0]
    want -= sum(share_L[l + 2] * logp_LV[l, tokens[l + 2]] for l in range(len(tokens) - 2))
  np.testing.assert_allclose(got, 0.3 * want, rtol=2e-4)
  assert want > 1
