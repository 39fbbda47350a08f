"""The transformer in float64 NumPy, one document and one head at a time, from the equations."""

import math

import numpy as np

from r1.model import rope


def attention(query_BLHK, key_BMNK, value_BMNW, places):
  """(out_BLHW, logsumexp_BLH) by a loop; a query that sees nothing gets 0 and -1e30."""
  query_BLHK, key_BMNK, value_BMNW = (
    np.asarray(x, np.float64) for x in (query_BLHK, key_BMNK, value_BMNW)
  )
  B, L, H, K = query_BLHK.shape
  share = H // key_BMNK.shape[2]
  out_BLHW, lse_BLH = np.zeros((B, L, H, value_BMNW.shape[3])), np.full((B, L, H), -1e30)
  for b, l, h in np.ndindex(B, L, H):
    seen = [m for m in range(key_BMNK.shape[1]) if sees(places, b, l, m)]
    if not seen:
      continue
    weights = np.exp(key_BMNK[b, seen, h // share] @ query_BLHK[b, l, h] / np.sqrt(K))
    lse_BLH[b, l, h] = np.log(weights.sum())
    out_BLHW[b, l, h] = weights @ value_BMNW[b, seen, h // share] / weights.sum()
  return out_BLHW, lse_BLH


def sees(places, b, l, m) -> bool:
  """May query l of row b see key m?"""
  of_query, of_key = int(places.segment_BL[b, l]), int(places.segment_BM[b, m])
  back = int(places.position_BL[b, l]) - int(places.position_BM[b, m])
  limit = math.inf if places.window is None else int(places.window)
  parent = 0 if places.parent_BL is None else int(places.parent_BL[b, l])
  return of_key in (of_query, parent) and of_key != 0 and 0 <= back < limit


def norm(x, gain, eps):
  return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def turn(x_LHK, base):
  """Token l's pair (i, i + K/2) turned by the angle l * base^(-2i/K)."""
  out_LHK, half = np.empty_like(x_LHK), x_LHK.shape[-1] // 2
  for l, i in np.ndindex(x_LHK.shape[0], half):
    angle = l * base ** (-i / half)
    a, b = x_LHK[l, :, i], x_LHK[l, :, i + half]
    out_LHK[l, :, i] = a * np.cos(angle) - b * np.sin(angle)
    out_LHK[l, :, i + half] = a * np.sin(angle) + b * np.cos(angle)
  return out_LHK


def attend(p, x_LD, cfg, window=0):
  """One layer's attention: a token sees those up to itself, `window` of them or all (0)."""
  made = {}
  for name, weight in (("q", "q_DHK"), ("k", "k_DNK"), ("v", "v_DNK")):
    made[name] = np.tensordot(x_LD, p[weight], 1)
    if cfg.qkv_bias:
      made[name] += p[f"{name}_bias_{weight[-2:]}"]
  if cfg.qk_norm:
    made["q"] = norm(made["q"], p["q_norm_K"], cfg.norm_eps)
    made["k"] = norm(made["k"], p["k_norm_K"], cfg.norm_eps)
  query_LHK, key_LNK = turn(made["q"], cfg.rope_base), turn(made["k"], cfg.rope_base)
  out_LHK = np.zeros_like(query_LHK)
  for l, h in np.ndindex(out_LHK.shape[:2]):
    n, seen = h // (cfg.H // cfg.N), slice(max(0, l + 1 - (window or l + 1)), l + 1)
    weights = np.exp(key_LNK[seen, n] @ query_LHK[l, h] / np.sqrt(cfg.K))
    out_LHK[l, h] = weights @ made["v"][seen, n] / weights.sum()
  return np.tensordot(out_LHK, p["o_HKD"], 2) + p.get("o_bias_D", 0)


def turn_pairs(x_LHP, cfg):
  """Token l's pair turned by the angle l * base^(-2i/P), shrunk for a stretched context.

  The pair is (2i, 2i + 1), or (i, i + P/2) as `turn` has it.
  """
  out_LHP, half = np.empty_like(x_LHP), x_LHP.shape[-1] // 2
  stretched = cfg.rope_scaling is not None
  shrink = rope.shrink(cfg.P, cfg.rope_base, cfg.rope_scaling) if stretched else np.ones(half)
  size = rope.amplitude(cfg.rope_scaling)
  for l, i in np.ndindex(x_LHP.shape[0], half):
    angle = l * cfg.rope_base ** (-i / half) * float(shrink[i])
    first, second = (2 * i, 2 * i + 1) if cfg.rope_pairs else (i, i + half)
    a, b = x_LHP[l, :, first], x_LHP[l, :, second]
    out_LHP[l, :, first] = size * (a * np.cos(angle) - b * np.sin(angle))
    out_LHP[l, :, second] = size * (a * np.sin(angle) + b * np.cos(angle))
  return out_LHP


def attend_latent(p, x_LD, cfg, window=0):
  """One layer of latent attention: arXiv 2405.04434, appendix C, with its two norms (3.1.2)."""
  source, from_LA = ("A", x_LD @ p["q_a_DA"] + p.get("q_a_bias_A", 0)) if cfg.A else ("D", x_LD)
  if cfg.A:
    from_LA = norm(from_LA, p["q_a_norm_A"], 1e-6)
  nope_LHK = np.tensordot(from_LA, p[f"q_nope_{source}HK"], 1)
  rope_LHP = turn_pairs(np.tensordot(from_LA, p[f"q_rope_{source}HP"], 1), cfg)
  latent_LC = norm(x_LD @ p["kv_a_DC"] + p.get("kv_a_bias_C", 0), p["kv_a_norm_C"], 1e-6)
  rotary_LP = x_LD @ p["k_rope_DP"] + p.get("k_rope_bias_P", 0)
  rotary_LP = turn_pairs(rotary_LP[:, None], cfg)[:, 0]
  key_LHK = np.tensordot(latent_LC, p["k_b_CHK"], 1)
  value_LHW = np.tensordot(latent_LC, p["v_b_CHW"], 1)
  scale, out_LHW = rope.sharpness(cfg.rope_scaling) / np.sqrt(cfg.K + cfg.P), 0 * value_LHW
  for l, h in np.ndindex(out_LHW.shape[:2]):
    seen = slice(max(0, l + 1 - (window or l + 1)), l + 1)
    score = key_LHK[seen, h] @ nope_LHK[l, h] + rotary_LP[seen] @ rope_LHP[l, h]
    weights = np.exp(scale * score)
    out_LHW[l, h] = weights @ value_LHW[seen, h] / weights.sum()
  return np.tensordot(out_LHW, p["o_HWD"], 2) + p.get("o_bias_D", 0)


ATTEND = {"gqa": attend, "mla": attend_latent}


def feed(p, x_LD):
  gate_LF = x_LD @ p["gate_DF"]
  return (gate_LF / (1 + np.exp(-gate_LF)) * (x_LD @ p["up_DF"])) @ p["down_FD"]


def layer(p, x_LD, cfg, window=0):
  """Two residual branches, each behind its norm. p: the slice of one layer, in float64."""
  h_LD = norm(x_LD, p["attn"]["norm_D"], cfg.norm_eps)
  x_LD = x_LD + ATTEND[cfg.attention](p["attn"], h_LD, cfg, window)
  return x_LD + feed(p["feed"], norm(x_LD, p["feed"]["norm_D"], cfg.norm_eps))


def slice_of(tree, z):
  """Layer z of a stack of weights, in float64."""
  if isinstance(tree, dict):
    return {name: slice_of(leaf, z) for name, leaf in tree.items()}
  return np.asarray(tree, np.float64)[z]


def hidden(params, tokens, cfg):
  """hidden_LD of one document."""
  x_LD = np.asarray(params["embed_VD"], np.float64)[np.asarray(tokens)]
  windows = iter(cfg.windows or [0] * sum(count for _, count in cfg.stacks))
  for stack, count in cfg.stacks:
    for z in range(count):
      x_LD = layer(slice_of(params[stack], z), x_LD, cfg, next(windows))
  return norm(x_LD, np.asarray(params["norm_D"], np.float64), cfg.norm_eps)


def log_softmax(params, hidden_LD, cfg, temperature=1.0):
  """Nats over the tokenizer's ids; -inf for the others."""
  head_DV = np.asarray(params["embed_VD"]).T if cfg.tied else np.asarray(params["head_DV"])
  logits_LV = hidden_LD @ head_DV.astype(np.float64) / temperature
  logits_LV[:, cfg.ids :] = -np.inf
  return logits_LV - np.log(np.exp(logits_LV).sum(axis=-1, keepdims=True))


def logp(params, tokens, cfg, temperature=1.0):
  """Nats of each token given those before it; 0 for the first."""
  tokens = np.asarray(tokens)
  table_LV = log_softmax(params, hidden(params, tokens, cfg), cfg, temperature)
  return np.concatenate([[0.0], table_LV[np.arange(len(tokens) - 1), tokens[1:]]])
