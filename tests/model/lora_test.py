"""LoRA: by hand, for every letter a matrix can have, and only the adapters are trained."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import dims, sharding, spec
from r1.model import heads, lora, presets, transformer
from r1.train import state
from tests.model import reference, tiny

ALL = r"(dense|moe)/(attn|feed)/.*"
ATTENTION = r"\w+/attn/[qkvo]_[A-Z]+"


def adapters(pattern, rank=3, alpha=6.0):
  return lora.LoraConfig(rank=rank, alpha=alpha, pattern=pattern)


DEEPSEEK = dataclasses.replace(presets.config("tiny-deepseek-v3", tiny.RUNTIME), lora=adapters(ALL))
QWEN = tiny.config(D=32, F=32, V=64, ids=60, tied=False, lora=adapters(ATTENTION))


# The product


def test_a_merge_by_hand():
  # rank 2, scale 3 / 2: a b = [[1, 2], [3, 4]] [[1, 0], [2, 1]] = [[5, 2], [11, 4]].
  p = {"attn": {"q_DHK": jnp.full((2, 1, 2), 10.0), "norm_D": jnp.ones(2)}}
  pair = {"a_DJ": jnp.array([[1.0, 2], [3, 4]]), "b_JHK": jnp.array([[[1.0, 0]], [[2, 1]]])}
  cfg = adapters("", rank=2, alpha=3.0)
  merged = lora.merge(p, {"attn": {"q_DHK": pair}}, cfg.scale)
  np.testing.assert_array_equal(merged["attn"]["q_DHK"], [[[17.5, 13.0]], [[26.5, 16.0]]])
  assert merged["attn"]["norm_D"] is p["attn"]["norm_D"]
  assert lora.merge(p, None, cfg.scale) is p
  assert p["attn"]["q_DHK"][0, 0, 0] == 10  # the given weights are as they were


def by_hand(flat, scale):
  """{path: weight with its product} in float64, stacks alone; flat: with "lora/..." among them."""
  whole = {path: w.astype(np.float64) for path, w in flat.items() if not path.startswith("lora/")}
  for a, b in zip(*[iter(sorted(path for path in flat if path.startswith("lora/")))] * 2):
    path = a.removeprefix("lora/").rpartition("/")[0]
    letters = "Z{},Z{}->Z{}".format(*(dims.suffix(x) for x in (a, b, path)))
    whole[path] += scale * np.einsum(letters, flat[a].astype(np.float64), flat[b])
  return whole


def test_the_product_of_every_matrix_follows_its_letters():
  """Latent attention, experts, the router and the shared experts: stacks and one layer's slices."""
  params, stacks = tiny.params(DEEPSEEK), ("dense", "moe")
  want, weights = by_hand(spec.flatten(params), 2.0), {name: params[name] for name in stacks}
  first = lambda tree: jax.tree.map(lambda w: w[0], tree)
  merge = tiny.jit(lora.merge)
  merged = spec.flatten(merge(weights, params["lora"], 2.0))
  layer = spec.flatten(merge(first(weights), first(params["lora"]), 2.0))
  moved = set()
  for path, w in spec.flatten(weights).items():
    np.testing.assert_allclose(merged[path], want[path], rtol=1e-5, atol=1e-5, err_msg=path)
    np.testing.assert_allclose(layer[path], want[path][0], rtol=1e-5, atol=1e-5, err_msg=path)
    moved |= {path.rpartition("/")[2]} if (merged[path] != w).any() else set()
  latent = {"q_a_DA", "q_nope_AHK", "q_rope_AHP", "kv_a_DC", "k_rope_DP", "k_b_CHK", "v_b_CHW"}
  experts = {"router_DE", "gate_EDX", "up_EDX", "down_EXD"}
  shared = {"shared_gate_DY", "shared_up_DY", "shared_down_YD"}
  dense = {"gate_DF", "up_DF", "down_FD"}
  assert moved == latent | {"o_HWD"} | experts | shared | dense


def test_the_sum_is_rounded_once():
  """1 + (1 + 2^-10) 2^-8 lies above the middle between 1 and the bfloat16 after it, 1 + 2^-7.

  Rounded before the sum the product would be 2^-8, and the tie would go back to 1.
  """
  one = {"q_DHK": jnp.ones((1, 1, 1), jnp.bfloat16)}
  pair = {"a_DJ": jnp.full((1, 1), 1 + 2.0**-10), "b_JHK": jnp.full((1, 1, 1), 2.0**-8)}
  merged = lora.merge(one, {"q_DHK": pair}, 1.0)["q_DHK"]
  assert merged.dtype == jnp.bfloat16
  assert float(merged[0, 0, 0]) == 1 + 2**-7


# The adapters


def test_an_adapter_has_the_letters_of_its_matrix():
  """The contracted letters in front, the others behind; layers and experts lead in both."""
  flat = spec.flatten(lora.specs(transformer.specs(DEEPSEEK), adapters(ALL)))
  shapes = {path.partition("/feed/")[2] or path: s.shape for path, s in flat.items()}
  assert shapes["gate_EDX/a_EDJ"] == (1, 8, 64, 3)
  assert shapes["gate_EDX/b_EJX"] == (1, 8, 3, 24)
  assert shapes["router_DE/a_DJ"] == (1, 64, 3)
  assert shapes["router_DE/b_JE"] == (1, 3, 8)
  assert shapes["dense/attn/o_HWD/a_HWJ"] == (1, 4, 12, 3)
  assert shapes["dense/attn/o_HWD/b_JD"] == (1, 3, 64)
  for path, s in flat.items():
    assert s.axes.lstrip("Z") == dims.suffix(path), path
    assert s.trained
    assert s.inputs in s.axes


def test_their_number_by_hand():
  # Per layer: q 32*3 + 3*4*8, k and v 32*3 + 3*2*8 each, o 4*8*3 + 3*32; two layers.
  assert spec.count(transformer.specs(QWEN)["lora"]) == 2 * (192 + 144 + 144 + 192)


def test_fresh_adapters_change_nothing():
  params = tiny.params(QWEN)
  specs = {"lora": transformer.specs(QWEN)["lora"]}
  fresh = state.initial_params(jax.random.key(0), specs, None, None)
  for path, w in spec.flatten(fresh).items():
    name = path.rpartition("/")[2]
    assert (np.abs(w).max() > 0) == name.startswith("a_"), path
  a_ZDJ = fresh["lora"]["dense"]["attn"]["q_DHK"]["a_DJ"]
  assert 0.7 < float(jnp.std(a_ZDJ)) * 32**0.5 < 1.3
  assert (a_ZDJ[0] != a_ZDJ[1]).all()
  tokens = tiny.documents([9], QWEN)[0]
  plain = dataclasses.replace(QWEN, lora=None)
  base = {name: w for name, w in params.items() if name != "lora"}
  want_LD = tiny.alone(tokens, plain, base)
  np.testing.assert_array_equal(tiny.alone(tokens, QWEN, base | fresh), want_LD)
  assert np.abs(tiny.alone(tokens, QWEN, params) - want_LD).max() > 0.1


def test_merged_for_good_the_model_computes_the_same():
  """Every matrix of latent attention and of the experts has an adapter."""
  params, tokens = tiny.params(DEEPSEEK), tiny.documents([9], DEEPSEEK)[0]
  merged = lora.merge_all(params, adapters(ALL))
  assert "lora" not in merged
  jax.tree.map(np.testing.assert_array_equal, merged["mtp"], params["mtp"])
  plain = dataclasses.replace(DEEPSEEK, lora=None)
  want_LD = tiny.alone(tokens, DEEPSEEK, params)
  np.testing.assert_allclose(tiny.alone(tokens, plain, merged), want_LD, rtol=1e-5, atol=1e-5)
  assert np.abs(tiny.alone(tokens, plain, params) - want_LD).max() > 0.1


def test_split_trains_a_new_scalar_head_beside_the_adapters():
  tree = {"lora": {"a": 1}, "scalar_D": 2, "norm_D": 3}
  assert lora.split(tree) == ({"lora": {"a": 1}, "scalar_D": 2}, {"norm_D": 3})


def test_split_trains_the_adapters_alone_where_there_are_any():
  for tree in (tiny.params(QWEN), transformer.specs(QWEN)):
    trained, frozen = lora.split(tree)
    assert trained.keys() == {"lora"}
    assert trained | frozen == tree
    assert lora.split(frozen) == (frozen, {})


# Gradients

ROWS = tiny.packed(tiny.documents([11, 5] * 8, QWEN), tiny.ROW, rows=8)
SIZES = {"fsdp": 4, "tensor": 2}


@functools.cache
def learned(meshed=False, remat="none"):
  """(loss, gradients of the adapters), on one device or on a mesh of SIZES."""
  mesh, rules = (sharding.make_mesh(SIZES), sharding.FSDP_TENSOR) if meshed else (None, None)
  cfg = dataclasses.replace(QWEN, rules=rules, remat=remat)

  def loss(trained, frozen, token_BL, position_BL, segment_BL):
    params = trained | frozen
    out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg)
    logp_BL, _ = heads.logp(params, out.hidden_BLD, ROWS.target_BL, cfg, 1.0)
    return -jnp.sum(jnp.where(ROWS.scored_BL, logp_BL, 0.0))

  with sharding.on(mesh):
    placed = sharding.placed(transformer.specs(cfg), mesh, rules)
    params = jax.device_put(tiny.params(cfg), jax.tree.map(lambda s: s.sharding, placed))
    at = (ROWS.token_BL, ROWS.position_BL, ROWS.segment_BL)
    if meshed:
      at = jax.device_put(at, jax.NamedSharding(mesh, sharding.pspec("BL", rules.act)))
    return tiny.jit(jax.value_and_grad(loss))(*lora.split(params), *at)


def near(got, want):
  """Each array to 2e-5 of its largest number."""

  def one(a, b):
    a, b = np.asarray(a), np.asarray(b)
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())

  jax.tree.map(one, got, want)


def test_the_gradient_of_the_adapters_is_that_of_finite_differences():
  """One number of each adapter, moved by 1e-4 either way in float64; nothing else has any."""
  params, gradients = tiny.params(QWEN), learned()[1]
  assert spec.flatten(gradients).keys() == spec.flatten(lora.split(params)[0]).keys()
  rng, documents = np.random.default_rng(0), tiny.documents([11, 5] * 8, QWEN)

  def exact(path, at, step):
    flat = {name: w.astype(np.float64) for name, w in spec.flatten(params).items()}
    flat[path][at] += step
    merged = spec.unflatten(by_hand(flat, QWEN.lora.scale))
    return -sum(reference.logp(merged, x, QWEN).sum() for x in documents)

  for path, gradient in spec.flatten(gradients).items():
    assert np.abs(gradient).max() > 1e-2, path
    at = tuple(rng.integers(0, gradient.shape))
    want = (exact(path, at, 1e-4) - exact(path, at, -1e-4)) / 2e-4
    np.testing.assert_allclose(gradient[at], want, rtol=1e-3, atol=1e-3, err_msg=path)


def test_a_mesh_gives_the_numbers_of_one_device_and_holds_shares_of_the_adapters():
  """With layers that are recomputed, against layers that are not."""
  near(learned(meshed=True, remat="layer"), learned())
  specs = spec.flatten(lora.split(transformer.specs(QWEN))[0])
  gradients = spec.flatten(learned(meshed=True, remat="layer")[1])
  for path, s in specs.items():
    cut = int(np.prod([{"D": 4, "H": 2, "N": 2}.get(letter, 1) for letter in s.axes]))
    share = gradients[path].addressable_shards[0].data
    assert share.size * cut == np.prod(s.shape), path
    assert cut > 1, path


# What is refused


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("attn/q_DHK", r"pattern='attn/q_DHK' matches none of the matrices: dense/attn/k_DNK, "),
    (r"\w+/attn/norm_D", r"matches none of the matrices"),
    (r"(dense/.*)?(head_DV)?", r"matches \['head_DV'\]; adapters are of layers alone"),
    (r".*_DO|dense/attn/q_DHK", r"\['mtp/embed_DO', 'mtp/hidden_DO'\]; adapters are of layers"),
  ],
)
def test_a_pattern_that_matches_no_matrix_of_a_layer_is_refused(pattern, message):
  cfg = dataclasses.replace(QWEN, lora=adapters(pattern), mtp=1)
  with pytest.raises(ValueError, match=message):
    transformer.specs(cfg)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"rank": 0}, "rank=0 must be >= 1"),
    ({"alpha": 0.0}, "alpha=0.0 above 0"),
    ({"pattern": "(dense"}, r"pattern='\(dense' is no regular expression: missing \)"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    lora.LoraConfig(**{"rank": 3, "alpha": 6.0, "pattern": ".*"} | changes)
