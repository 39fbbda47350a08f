"""Multi-token prediction: by the equations, blind to the future, and ended by its segment."""

import functools

import numpy as np
import pytest

from r1 import spec
from r1.model import mtp, presets, transformer
from tests.model import latent, reference, tiny

CONFIGS = {
  "gqa": tiny.config(mtp=1, tied=False, rope_base=50.0),
  "mla": latent.config("query latent", mtp=1),
}


@functools.partial(tiny.jit, static_argnames="cfg")
def predict(params, token_BL, position_BL, segment_BL, next_BL, more_BL, cfg):
  """(hidden states for the token after the next, statistics); more_BL: is there a next one?"""
  out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg)
  return mtp.hidden(params, out.hidden_BLD, next_BL, position_BL, segment_BL * more_BL, cfg)


def run(params, batch, cfg, **changes):
  """Of packed rows, whose targets are the next tokens of each segment."""
  given = {"next_BL": batch.target_BL, "more_BL": batch.scored_BL.astype(np.int32)} | changes
  return predict(params, batch.token_BL, batch.position_BL, batch.segment_BL, cfg=cfg, **given)


def exactly(params, tokens, cfg):
  """arXiv 2412.19437, eq. 21-23 at depth 1, in float64: predictions from tokens 0 .. n - 2."""
  p = {name: np.asarray(w, np.float64) for name, w in params["mtp"].items() if name != "block"}
  before_LD = reference.norm(
    reference.hidden(params, tokens, cfg)[:-1], p["hidden_norm_D"], cfg.norm_eps
  )
  table_VD = np.asarray(params["embed_VD"], np.float64)
  next_LD = reference.norm(table_VD[tokens[1:]], p["embed_norm_D"], cfg.norm_eps)
  joined = np.concatenate([next_LD, before_LD], axis=1)
  x_LD = joined @ np.concatenate([p["embed_DO"], p["hidden_DO"]])
  layer = reference.slice_of(params["mtp"]["block"], 0)
  return reference.norm(reference.layer(layer, x_LD, cfg), p["norm_D"], cfg.norm_eps)


@pytest.mark.parametrize("kind", CONFIGS)
def test_predictions_equal_the_float64_reference_document_by_document(kind):
  """Packed: no document sees its neighbour, and its own positions start at 0."""
  cfg = CONFIGS[kind]
  params, documents = tiny.params(cfg), tiny.documents([6, 4, 3], cfg)
  hidden_BLD, _ = run(params, tiny.packed(documents, tiny.ROW), cfg)
  start = 0
  for tokens in documents:
    got_LD = hidden_BLD[0, start : start + len(tokens) - 1]
    np.testing.assert_allclose(got_LD, exactly(params, tokens, cfg), rtol=1e-4, atol=2e-5)
    start += len(tokens)


def test_no_prediction_sees_further_than_the_next_token():
  """Token 5 is the next one at 4: predictions 0 .. 3 stay as they are, all others change."""
  cfg = CONFIGS["gqa"]
  params, tokens = tiny.params(cfg), tiny.documents([11], cfg)[0]
  other = tokens.copy()
  other[5] = (tokens[5] + 1) % cfg.ids
  before, after = (
    np.asarray(run(params, tiny.packed([x], tiny.ROW), cfg)[0][0, :10]) for x in (tokens, other)
  )
  np.testing.assert_array_equal((before == after).all(axis=-1), np.arange(10) < 4)


def test_a_segments_last_token_predicts_nothing_and_disturbs_no_other():
  """It has no next token; whatever stands there instead reaches nobody."""
  cfg = CONFIGS["gqa"]
  params, batch = tiny.params(cfg), tiny.packed(tiny.documents([6, 4, 3], cfg), tiny.ROW)
  inside_BL = batch.scored_BL
  assert inside_BL.sum() == 5 + 3 + 2
  odd_BL = np.where(inside_BL, batch.target_BL, 17)
  before, after = (run(params, batch, cfg, next_BL=x)[0] for x in (batch.target_BL, odd_BL))
  np.testing.assert_array_equal(before[inside_BL], after[inside_BL])
  assert np.isfinite(after).all()


@pytest.mark.parametrize("kind", CONFIGS)
def test_pair_by_pair_with_a_cache_gives_what_a_whole_row_gives(kind):
  """Rows of unlike lengths, in pieces of 3 and 1; what is cut back leaves no trace."""
  cfg = CONFIGS[kind]
  params, documents = tiny.params(cfg), tiny.documents([9, 5], cfg)
  out_BLD = [tiny.alone(tokens, cfg, params) for tokens in documents]
  held, found = mtp.empty(cfg, 2, 12), [[], []]
  for start in (0, 3, 6, 7):
    width = 3 if start < 6 else 1
    given = pieces(documents, out_BLD, start, width)
    held = grow(params, *(17 + 0 * x for x in given[:2]), *given[2:], cfg, held)[1].replace(
      length_B=held.length_B
    )  # another token and another output, taken back
    hidden_BLD, held = grow(params, *given, cfg, held)
    for b, real in enumerate(given[3].sum(axis=1)):
      found[b].append(np.asarray(hidden_BLD[b, :real]))
  assert held.length_B.tolist() == [8, 4]
  for tokens, got in zip(documents, found, strict=True):
    want_LD = exactly(params, tokens, cfg)
    np.testing.assert_allclose(np.concatenate(got), want_LD, rtol=1e-4, atol=2e-5)


@functools.partial(tiny.jit, static_argnames="cfg")
def grow(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg, held):
  return mtp.extend(params, hidden_BLD, next_BL, position_BL, segment_BL, cfg, held)


def pieces(documents, out_BLD, start, width):
  """(hidden_BLD, next_BL, position_BL, segment_BL) of pairs start .. start + width of each."""
  hidden_BLD = np.zeros((len(documents), width, out_BLD[0].shape[1]), np.float32)
  next_BL, segment_BL = (np.zeros((len(documents), width), np.int32) for _ in range(2))
  for b, (tokens, out_LD) in enumerate(zip(documents, out_BLD, strict=True)):
    new = tokens[start + 1 : start + 1 + width]
    hidden_BLD[b, : len(new)] = out_LD[start : start + len(new)]
    next_BL[b, : len(new)], segment_BL[b, : len(new)] = new, 1
  position_BL = np.zeros_like(next_BL) + np.arange(start, start + width, dtype=np.int32)
  return hidden_BLD, next_BL, position_BL, segment_BL


def test_the_layer_has_a_block_of_the_last_stack_and_two_square_matrices():
  cfg = presets.config("tiny-deepseek-v3", tiny.RUNTIME)
  specs = mtp.specs(cfg)
  assert specs.keys() == {
    "embed_norm_D",
    "hidden_norm_D",
    "embed_DO",
    "hidden_DO",
    "norm_D",
    "block",
  }
  assert specs["embed_DO"].shape == specs["hidden_DO"].shape == (64, 64)
  assert specs["block"]["feed"]["gate_EDX"].shape == (1, 8, 64, 24)
  assert "mtp" not in transformer.specs(presets.config("tiny-deepseek-v3", tiny.RUNTIME, mtp=False))


def test_without_the_layer_the_model_computes_the_same():
  """It reads the model's output and gives nothing back."""
  cfg = CONFIGS["gqa"]
  params, tokens = tiny.params(cfg), tiny.documents([9], cfg)[0]
  plain = tiny.config(tied=False, rope_base=50.0)
  left = {name: w for name, w in params.items() if name != "mtp"}
  assert spec.flatten(left).keys() == spec.flatten(transformer.specs(plain)).keys()
  np.testing.assert_array_equal(tiny.alone(tokens, cfg, params), tiny.alone(tokens, plain, left))
