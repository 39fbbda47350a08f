"""Parameters declared once: their shapes, first values, and paths."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1 import spec

CFG = types.SimpleNamespace(D=400, H=2, K=8, V=300)


def tree(cfg=CFG):
  layer = {"attn": spec.matrix("q_DHK", cfg, "D") | spec.gain("norm_D", cfg)}
  layer["attn"] |= spec.matrix("o_HKD", cfg, "HK") | spec.bias("q_bias_HK", cfg)
  return spec.table("embed_VD", cfg) | {"blocks": spec.stack(layer, 3)}


def test_a_name_gives_shape_and_axes():
  assert spec.matrix("o_HKD", CFG, "HK")["o_HKD"].shape == (2, 8, 400)
  assert spec.matrix("o_HKD", CFG, "HK")["o_HKD"].axes == "HKD"


def test_a_stack_puts_the_layers_in_front_and_contracts_them_never():
  s = spec.flatten(tree())["blocks/attn/o_HKD"]
  assert (s.shape, s.axes, s.inputs) == ((3, 2, 8, 400), "ZHKD", "HK")


def test_first_values_have_the_scale_of_what_they_contract():
  params = spec.materialize(jax.random.key(0), tree())
  attn = params["blocks"]["attn"]
  # Variance 1 / 400 for D; 1 / 16 for H and K together, in each of the three layers alike.
  np.testing.assert_allclose(np.std(attn["q_DHK"], axis=(1, 2, 3)), 400**-0.5, rtol=0.05)
  np.testing.assert_allclose(np.std(attn["o_HKD"], axis=(1, 2, 3)), 16**-0.5, rtol=0.05)
  np.testing.assert_allclose(np.std(params["embed_VD"]), 0.02, rtol=0.05)
  assert (attn["norm_D"] == 1).all()
  assert (attn["q_bias_HK"] == 0).all()
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


def test_what_no_gradient_moves_is_marked_and_stays_so_in_a_stack():
  free, fixed = spec.bias("q_bias_HK", CFG), spec.bias("k_bias_HK", CFG, trained=False)
  flat = spec.flatten(spec.stack({"attn": free | fixed | spec.matrix("q_DHK", CFG, "D")}, 3))
  assert [path for path, s in flat.items() if not s.trained] == ["attn/k_bias_HK"]
  assert (spec.materialize(jax.random.key(0), fixed)["k_bias_HK"] == 0).all()


def test_layers_of_a_stack_start_apart():
  q_ZDHK = spec.materialize(jax.random.key(0), tree())["blocks"]["attn"]["q_DHK"]
  assert not np.allclose(q_ZDHK[0], q_ZDHK[1])


def test_adding_an_array_moves_no_other():
  before = spec.materialize(jax.random.key(0), tree())
  after = spec.materialize(jax.random.key(0), tree() | spec.matrix("head_DV", CFG, "D"))
  assert set(after) == {"embed_VD", "blocks", "head_DV"}
  del after["head_DV"]
  jax.tree.map(np.testing.assert_array_equal, before, after)


def test_two_arrays_of_one_shape_start_apart():
  twins = {"a": spec.matrix("q_DHK", CFG, "D"), "b": spec.matrix("q_DHK", CFG, "D")}
  params = spec.materialize(jax.random.key(0), twins)
  assert not np.allclose(params["a"]["q_DHK"], params["b"]["q_DHK"])


def test_a_paths_number_is_the_same_in_every_process():
  assert spec.path_number("") == 5381
  assert spec.path_number("a") == 5381 * 33 + 97
  assert 0 <= spec.path_number("blocks/attn/q_DHK" * 20) < 2**31


def test_flat_paths_are_sorted_and_unflatten_gives_the_tree_back():
  flat = spec.flatten({"b": {"y": 1, "x": 2}, "a": 3})
  assert list(flat.items()) == [("a", 3), ("b/x", 2), ("b/y", 1)]
  assert spec.unflatten(flat) == {"a": 3, "b": {"x": 2, "y": 1}}


def test_count_by_hand_and_abstract_without_memory():
  # 300 * 400 + 3 layers of (400 * 16 + 400 + 16 * 400 + 16)
  assert spec.count(tree()) == 120_000 + 3 * 13_216
  flat = spec.flatten(spec.abstract(tree(), jnp.bfloat16))
  assert flat["embed_VD"] == jax.ShapeDtypeStruct((300, 400), jnp.bfloat16)


def test_a_letter_without_a_size_is_refused():
  with pytest.raises(AttributeError, match="F"):
    spec.matrix("up_DF", CFG, "D")
