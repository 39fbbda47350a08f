"""The one forward: against a float64 reference, packed, padded, cached, and differentiated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import spec
from r1.model import heads, mtp, presets, transformer
from tests.model import cached, reference, tiny

BODIES = ("einsum", "blockwise")
VARIANTS = {
  "qwen2": {"qkv_bias": True, "qk_norm": False, "tied": True},
  "qwen3": {"qkv_bias": False, "qk_norm": True, "tied": True},
  "llama": {"qkv_bias": False, "qk_norm": False, "tied": False},
  "one key head": {"qkv_bias": True, "qk_norm": True, "N": 1},
  "windows": {"stacks": (("first", 1), ("rest", 2)), "windows": (3, 0, 2), "o_bias": True},
}


def run(params, packed, cfg):
  out = tiny.forward(params, packed.token_BL, packed.position_BL, packed.segment_BL, cfg)
  return np.asarray(out.hidden_BLD)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forward_equals_the_float64_reference(variant):
  cfg = tiny.config(**VARIANTS[variant])
  params, tokens = tiny.params(cfg), tiny.documents([9], cfg)[0]
  want_LD = reference.hidden(params, tokens, cfg)
  np.testing.assert_allclose(tiny.alone(tokens, cfg, params), want_LD, rtol=1e-4, atol=2e-5)


def test_the_parameters_of_each_variant_are_those_of_its_family():
  names = {v: set(spec.flatten(transformer.specs(tiny.config(**VARIANTS[v])))) for v in VARIANTS}
  biases = {f"dense/attn/{name}" for name in ("q_bias_HK", "k_bias_NK", "v_bias_NK")}
  norms = {"dense/attn/q_norm_K", "dense/attn/k_norm_K"}
  common = names["qwen2"] - biases
  assert names["qwen2"] == common | biases
  assert names["qwen3"] == common | norms
  assert names["llama"] == common | {"head_DV"}


@pytest.mark.parametrize("tied", [True, False])
def test_a_scalar_head_of_zeros_takes_the_place_of_the_head(tied):
  specs = transformer.specs(tiny.config(tied=tied, scalar=True))
  common = set(transformer.specs(tiny.config(tied=True)))
  assert set(specs) == common | {"scalar_D"}
  drawn = spec.materialize(jax.random.key(0), {"scalar_D": specs["scalar_D"]})["scalar_D"]
  assert drawn.shape == (16,)
  assert not drawn.any()


def test_the_number_of_parameters_by_hand():
  # Per layer: norms 16 + 16, q 16*4*8, k and v 16*2*8 each, o 4*8*16, biases 32 + 16 + 16,
  # MLP 3 * 16 * 24; two layers, the table 32 * 16 and the last norm 16.
  layer = 32 + 512 + 256 + 256 + 512 + 64 + 1152
  assert spec.count(transformer.specs(tiny.config())) == 2 * layer + 512 + 16


@pytest.mark.parametrize("attend", BODIES)
def test_packed_rows_equal_separate_rows(attend):
  """Wrapped packing contaminates (TRL #3067), and so do positions that run on
  (LLaMA-Factory #7318)."""
  cfg = tiny.config(attend=attend)
  params, sequences = tiny.params(cfg), tiny.documents([7, 5, 3], cfg)
  hidden_BLD = run(params, tiny.packed(sequences, 16), cfg)
  start = 0
  for tokens in sequences:
    alone_LD = tiny.alone(tokens, cfg, params)
    got_LD = hidden_BLD[0, start : start + len(tokens)]
    np.testing.assert_allclose(got_LD, alone_LD, rtol=1e-5, atol=1e-5)
    start += len(tokens)


@pytest.mark.parametrize("attend", BODIES)
def test_a_document_never_sees_its_neighbours(attend):
  cfg = tiny.config(attend=attend)
  params, packed = tiny.params(cfg), tiny.packed(tiny.documents([7, 5, 3], cfg), 16)
  other = packed.replace(token_BL=np.where(packed.segment_BL == 2, 31, packed.token_BL))
  before, after = run(params, packed, cfg), run(params, other, cfg)
  same_BL = (before == after).all(axis=-1)
  np.testing.assert_array_equal(same_BL, packed.segment_BL != 2)


@pytest.mark.parametrize("attend", BODIES)
def test_a_token_changes_nothing_before_it_and_everything_from_it_on(attend):
  cfg = tiny.config(attend=attend)
  params, tokens = tiny.params(cfg), tiny.documents([11], cfg)[0]
  before = tiny.alone(tokens, cfg, params)
  for changed in (0, 5, 10):
    other = tokens.copy()
    other[changed] = (tokens[changed] + 1) % cfg.V
    same = (before == tiny.alone(other, cfg, params)).all(axis=-1)
    np.testing.assert_array_equal(same, np.arange(11) < changed)


@pytest.mark.parametrize("attend", BODIES)
def test_padding_changes_nothing(attend):
  """Whatever tokens and positions padding holds (maxtext #4015: padding was attended to)."""
  cfg = tiny.config(attend=attend)
  params, packed = tiny.params(cfg), tiny.packed(tiny.documents([7, 4], cfg), 16)
  pad_BL = packed.segment_BL == 0
  poisoned = packed.replace(
    token_BL=np.where(pad_BL, 17, packed.token_BL),
    position_BL=np.where(pad_BL, 3, packed.position_BL),
  )
  before, after = (run(params, p, cfg)[~pad_BL] for p in (packed, poisoned))
  np.testing.assert_array_equal(before, after)
  longer = tiny.packed(tiny.documents([7, 4], cfg), 23, rows=2)
  np.testing.assert_allclose(run(params, longer, cfg)[0, :11], before, rtol=1e-5, atol=1e-5)


def test_only_the_distance_of_positions_matters():
  cfg = tiny.config()
  params, packed = tiny.params(cfg), tiny.packed(tiny.documents([tiny.ROW], cfg), tiny.ROW)
  first = run(params, packed, cfg)
  moved = run(params, packed.replace(position_BL=packed.position_BL + 20), cfg)
  spread = run(params, packed.replace(position_BL=2 * packed.position_BL), cfg)
  np.testing.assert_allclose(first, moved, rtol=1e-4, atol=1e-4)
  assert np.abs(first - spread).max() > 0.1


def test_scanning_a_stack_equals_one_stack_per_layer():
  whole, apart = tiny.config(), tiny.config(stacks=(("first", 1), ("second", 1)))
  params, tokens = tiny.params(whole), np.arange(6)
  split = {name: leaf for name, leaf in params.items() if name != "dense"}
  for z, name in enumerate(("first", "second")):
    split[name] = jax.tree.map(lambda w, z=z: w[z : z + 1], params["dense"])
  swapped = split | {"first": split["second"], "second": split["first"]}
  want_LD = tiny.alone(tokens, whole, params)
  np.testing.assert_allclose(tiny.alone(tokens, apart, split), want_LD, rtol=1e-5, atol=1e-6)
  assert not np.allclose(tiny.alone(tokens, apart, swapped), want_LD, atol=1e-2)


# The cache


@pytest.mark.parametrize("widths", [[1] * 9, [6, 1, 1, 1]])
def test_prefill_and_decoding_equal_the_full_forward(widths):
  """Rows of different lengths; some finish long before the others. Two of three layers see 4 and
  2 positions back."""
  cfg = tiny.config(stacks=(("first", 1), ("rest", 2)), windows=(4, 0, 2), qk_norm=True)
  params, sequences = tiny.params(cfg), tiny.documents([10, 6, 12, 2], cfg)
  found = cached.decode(params, sequences, [6, 1, 3, 2], cfg, widths)
  for tokens, hidden_LD in zip(sequences, found, strict=True):
    want_LD = reference.hidden(params, tokens, cfg)
    np.testing.assert_allclose(hidden_LD, want_LD, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("name", [name for name in presets.NAMES if name.startswith("tiny-")])
def test_greedy_decoding_of_every_family_equals_its_full_forward(name):
  """Prompts of three lengths are prefilled in pieces of 4, then 6 tokens follow one by one."""
  cached.check(presets.config(name, tiny.RUNTIME))


# Windows


@pytest.mark.parametrize("attend", BODIES)
def test_windows_add_up_over_the_layers(attend):
  """Windows of 4, 1 and 3 reach 3, 0 and 2 positions back, and 5 in all."""
  stacks = (("first", 1), ("rest", 2))
  cfg = tiny.config(attend=attend, stacks=stacks, windows=(4, 1, 3))
  tokens = tiny.documents([11], cfg)[0]
  other = np.concatenate([[(tokens[0] + 1) % cfg.V], tokens[1:]])
  before, after = (tiny.alone(x, cfg, tiny.params(cfg)) for x in (tokens, other))
  np.testing.assert_array_equal((before == after).all(axis=-1), np.arange(11) > 5)


def test_without_windows_no_layer_is_given_one():
  assert transformer.windows(tiny.config()) == {"dense": None}
  cfg = tiny.config(stacks=(("first", 1), ("rest", 2)), windows=(0, 5, 0))
  got = {name: w.tolist() for name, w in transformer.windows(cfg).items()}
  assert got == {"first": [transformer.FOREVER], "rest": [5, transformer.FOREVER]}


# Gradients and precision


LENGTHS = (7, 5, 3)


@functools.cache
def gradients(**changes):
  """(sum of the scored tokens' negative log-probabilities, gradients) over LENGTHS, packed."""
  cfg = tiny.config(tied=False, qk_norm=True, **changes)
  packed = tiny.packed(tiny.documents(LENGTHS, cfg), tiny.ROW, rows=2)

  def loss(params):
    out = transformer.forward(params, packed.token_BL, packed.position_BL, packed.segment_BL, cfg)
    logp_BL, _ = heads.logp(params, out.hidden_BLD, packed.target_BL, cfg, 1.0)
    return -jnp.sum(jnp.where(packed.scored_BL, logp_BL, 0.0))

  return tiny.jit(jax.value_and_grad(loss))(tiny.params(cfg))


@pytest.mark.parametrize("changes", [{"remat": "layer"}, {"remat": "dots"}, {"attend": "einsum"}])
def test_rematerialised_layers_and_the_other_body_have_the_same_gradients(changes):
  near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
  jax.tree.map(near, gradients(), gradients(**changes))


@pytest.mark.parametrize(("remat", "times"), [("none", 0), ("layer", 3), ("dots", 3)])
def test_layers_are_recomputed_where_it_is_asked(remat, times):
  """Two stacks and the layer of multi-token prediction; equal numbers alone would not tell."""
  cfg = tiny.config(remat=remat, stacks=(("first", 1), ("rest", 2)), mtp=1)
  params, row_BL = tiny.params(cfg), jnp.ones((1, 4), jnp.int32)

  def both(params):
    hidden_BLD = transformer.forward(params, row_BL, row_BL, row_BL, cfg).hidden_BLD
    return mtp.hidden(params, hidden_BLD, row_BL, row_BL, row_BL, cfg)[0]

  assert str(jax.make_jaxpr(both)(params)).count("prevent_cse") == times


def test_every_weight_has_a_finite_gradient_that_is_not_zero():
  """An empty row of padding among the rows makes no NaN."""
  for path, gradient in spec.flatten(gradients()[1]).items():
    assert np.isfinite(gradient).all(), path
    assert np.abs(gradient).max() > 0, path


def test_the_loss_is_that_of_the_float64_reference():
  cfg = tiny.config(tied=False, qk_norm=True)
  params = tiny.params(cfg)
  want = -sum(reference.logp(params, x, cfg).sum() for x in tiny.documents(LENGTHS, cfg))
  np.testing.assert_allclose(gradients()[0], want, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
  """One number of each weight, moved by .01 either way in float64."""
  cfg = tiny.config(tied=False, qk_norm=True)
  documents, rng = tiny.documents(LENGTHS, cfg), np.random.default_rng(0)
  for path, gradient in spec.flatten(gradients()[1]).items():
    at, losses = tuple(rng.integers(0, gradient.shape)), []
    for step in (-0.01, 0.01):
      flat = {name: w.astype(np.float64) for name, w in spec.flatten(tiny.params(cfg)).items()}
      flat[path][at] += step
      params = spec.unflatten(flat)
      losses.append(-sum(reference.logp(params, x, cfg).sum() for x in documents))
    want = (losses[1] - losses[0]) / 0.02
    np.testing.assert_allclose(gradient[at], want, rtol=0.02, atol=2e-3, err_msg=path)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights():
  cfg = tiny.config(dtype="bfloat16", tied=False)
  params, packed = tiny.params(cfg), tiny.packed(tiny.documents([7, 5], cfg), 16)
  out = tiny.forward(params, packed.token_BL, packed.position_BL, packed.segment_BL, cfg)
  assert out.hidden_BLD.dtype == jnp.bfloat16
  exact = run(params, packed, tiny.config(tied=False))
  error = np.abs(np.asarray(out.hidden_BLD, np.float32) - exact)[packed.segment_BL > 0]
  assert 0 < error.mean() < 0.03
  value, grads = gradients(dtype="bfloat16")
  np.testing.assert_allclose(value, gradients()[0], rtol=0.02)
  assert all(g.dtype == jnp.float32 and np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_bfloat16_decodes():
  cfg = tiny.config(dtype="bfloat16")
  params, sequences = tiny.params(cfg), tiny.documents([8, 5], cfg)
  found = cached.decode(params, sequences, [4, 5], cfg, [1] * 4)
  for tokens, hidden_LD in zip(sequences, found, strict=True):
    error = np.abs(hidden_LD.astype(np.float32) - reference.hidden(params, tokens, cfg))
    assert error.mean() < 0.03


def test_rows_of_different_shapes_are_refused():
  cfg = tiny.config()
  row, short = np.zeros((1, 6), np.int32), np.zeros((1, 5), np.int32)
  with pytest.raises(ValueError, match=r"position_BL has shape \(1, 5\): L is 5 here and 6"):
    transformer.forward(tiny.params(cfg), row, short, row, cfg)
