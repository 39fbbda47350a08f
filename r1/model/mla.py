"""Multi-head latent attention (arXiv 2405.04434, section 2.1): DeepSeek-V2, V3, R1.

Keys and values of all heads come from one latent vector of C numbers per token, and one rotated
key of P numbers is shared by the heads; these C + P numbers are all that a cache holds. The weights
are the paper's matrices one by one: q_nope = W^UQ, q_rope = W^QR, kv_a = W^DKV, k_rope = W^KR,
k_b = W^UK, v_b = W^UV.
"""

import jax.numpy as jnp

from r1 import sharding, spec
from r1.model import attention, blockwise, layers, pages, rope
from r1.model import cache as cache_lib

LATENT_EPS = 1e-6  # of the two latent norms, whatever the model's own is (the released code's)


def specs(cfg) -> dict:
  """The weights of one layer; without a query latent (A = 0) queries come from the input."""
  tree, source = spec.gain("norm_D", cfg), "A" if cfg.A else "D"
  if cfg.A:
    tree |= spec.matrix("q_a_DA", cfg, "D") | spec.gain("q_a_norm_A", cfg)
  tree |= spec.matrix(f"q_nope_{source}HK", cfg, source)
  tree |= spec.matrix(f"q_rope_{source}HP", cfg, source)
  tree |= spec.matrix("kv_a_DC", cfg, "D") | spec.matrix("k_rope_DP", cfg, "D")
  tree |= spec.gain("kv_a_norm_C", cfg)
  tree |= spec.matrix("k_b_CHK", cfg, "C") | spec.matrix("v_b_CHW", cfg, "C")
  tree |= spec.matrix("o_HWD", cfg, "HW")
  if cfg.qkv_bias:
    tree |= spec.bias("q_a_bias_A", cfg) if cfg.A else {}
    tree |= spec.bias("kv_a_bias_C", cfg) | spec.bias("k_rope_bias_P", cfg)
  if cfg.o_bias:
    tree |= spec.bias("o_bias_D", cfg)
  return tree


def rotary(position_BL, cfg):
  """cos and sin for the rotated part."""
  return rope.rotary(position_BL, cfg.P, cfg.rope_base, cfg.rope_scaling)


def queries(p, x_BLD, cos_sin, cfg):
  """(nope_BLHK, rope_BLHP): the part that meets the latent, and the rotated part.

  Both carry the correction of the scores' scale that a stretched context asks for.
  """
  turn = rope.pairs if cfg.rope_pairs else rope.halves
  if cfg.A:
    query_BLA = layers.product("BLD,DA->BLA", x_BLD, p["q_a_DA"])
    if cfg.qkv_bias:
      query_BLA += p["q_a_bias_A"][None, None]
    query_BLA = layers.rms_norm(query_BLA, p["q_a_norm_A"], LATENT_EPS)
    nope_BLHK = layers.product("BLA,AHK->BLHK", query_BLA, p["q_nope_AHK"])
    rope_BLHP = layers.product("BLA,AHP->BLHP", query_BLA, p["q_rope_AHP"])
  else:
    nope_BLHK = layers.product("BLD,DHK->BLHK", x_BLD, p["q_nope_DHK"])
    rope_BLHP = layers.product("BLD,DHP->BLHP", x_BLD, p["q_rope_DHP"])
  size = rope.sharpness(cfg.rope_scaling)
  return nope_BLHK * size, turn(rope_BLHP, cos_sin) * size


def latents(p, x_BLD, cos_sin, cfg):
  """(latent_BLC, rotary_BLP): what a cache holds of each token."""
  turn = rope.pairs if cfg.rope_pairs else rope.halves
  latent_BLC = layers.product("BLD,DC->BLC", x_BLD, p["kv_a_DC"])
  rotary_BLP = layers.product("BLD,DP->BLP", x_BLD, p["k_rope_DP"])
  if cfg.qkv_bias:
    latent_BLC += p["kv_a_bias_C"][None, None]
    rotary_BLP += p["k_rope_bias_P"][None, None]
  latent_BLC = layers.rms_norm(latent_BLC, p["kv_a_norm_C"], LATENT_EPS)
  return latent_BLC, turn(rotary_BLP[:, :, None], cos_sin)[:, :, 0]


def expanded(p, nope_BLHK, rope_BLHP, latent_BMC, rotary_BMP, places, body):
  """out_BLHW with every head's keys and values written out; what training does."""
  key_BMHK = jnp.einsum("BMC,CHK->BMHK", latent_BMC, p["k_b_CHK"])
  value_BMHW = jnp.einsum("BMC,CHW->BMHW", latent_BMC, p["v_b_CHW"])
  B, M, P = rotary_BMP.shape
  rotary_BMHP = jnp.broadcast_to(rotary_BMP[:, :, None], (B, M, nope_BLHK.shape[2], P))
  query = jnp.concatenate([nope_BLHK, rope_BLHP], axis=-1)
  key = jnp.concatenate([key_BMHK, rotary_BMHP], axis=-1)
  return body(query, key, value_BMHW, places)[0]


def absorbed(p, nope_BLHK, rope_BLHP, latent_BMC, rotary_BMP, places):
  """The same number for number, with the queries carried to the latents instead.

  A step reads C + P numbers per cached token for all heads together.
  """
  scale = _scale(nope_BLHK, rope_BLHP)
  query_BLHC = jnp.einsum("BLHK,CHK->BLHC", nope_BLHK, p["k_b_CHK"])
  kind = {"preferred_element_type": jnp.float32}
  score_BHLM = jnp.einsum("BLHC,BMC->BHLM", query_BLHC, latent_BMC, **kind)
  score_BHLM += jnp.einsum("BLHP,BMP->BHLM", rope_BLHP, rotary_BMP, **kind)
  prob_BHLM, _ = attention.weigh(score_BHLM * scale, attention.visible(places)[:, None])
  out_BLHC = jnp.einsum("BHLM,BMC->BLHC", prob_BHLM.astype(latent_BMC.dtype), latent_BMC)
  return jnp.einsum("BLHC,CHW->BLHW", out_BLHC, p["v_b_CHW"])


def _scale(nope_BLHK, rope_BLHP) -> float:
  return (nope_BLHK.shape[-1] + rope_BLHP.shape[-1]) ** -0.5


def paged(p, nope_BLHK, rope_BLHP, latent_BLC, rotary_BLP, places, held):
  """(out_BLHW, buffers): `absorbed` over the pages that each row reads."""
  query_BLHC = jnp.einsum("BLHK,CHK->BLHC", nope_BLHK, p["k_b_CHK"])
  given = query_BLHC, rope_BLHP, latent_BLC, rotary_BLP, places
  out_BLHC, buffers = pages.latent(held, *given, _scale(nope_BLHK, rope_BLHP))
  return jnp.einsum("BLHC,CHW->BLHW", out_BLHC, p["v_b_CHW"]), buffers


def attend(p, x_BLD, cos_sin, places, held, cfg):
  """One layer's attention over its own tokens, or over the cache that it extends.

  held: None, or the layer's place in the cache. Returns (y_BLD, the cache's buffers or None).
  """
  query = queries(p, x_BLD, cos_sin, cfg)
  latent_BLC, rotary_BLP = latents(p, x_BLD, cos_sin, cfg)
  buffers = None
  if held is None:
    out_BLHW = expanded(p, *query, latent_BLC, rotary_BLP, places, blockwise.body(cfg))
  elif isinstance(held.cache, pages.Paged):
    out_BLHW, buffers = paged(p, *query, latent_BLC, rotary_BLP, places, held)
  elif isinstance(held.cache, pages.Prompt):
    whole = {"latent_ZBMC": latent_BLC, "rotary_ZBMP": rotary_BLP}
    found, buffers = pages.take(held.buffers, held.z, **whole)
    latent_BLC, rotary_BLP = found["latent_ZBMC"], found["rotary_ZBMP"]
    out_BLHW = expanded(p, *query, latent_BLC, rotary_BLP, places, blockwise.body(cfg))
  else:
    at = held.buffers, held.z, held.cache.length_B
    latent_BMC, rotary_BMP, buffers = cache_lib.extend_latent(*at, latent_BLC, rotary_BLP)
    if cfg.absorb:
      out_BLHW = absorbed(p, *query, latent_BMC, rotary_BMP, places)
    else:
      out_BLHW = expanded(p, *query, latent_BMC, rotary_BMP, places, attention.einsum)
  out_BLHW = sharding.shard(out_BLHW, "BLHW", cfg.rules)
  y_BLD = layers.product("BLHW,HWD->BLD", out_BLHW, p["o_HWD"])
  return y_BLD + p["o_bias_D"][None, None] if cfg.o_bias else y_BLD, buffers
