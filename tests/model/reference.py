"""The transformer in float64 NumPy, one document and one head at a time, from the equations."""

import numpy as np


def attention(query_BLHK, key_BMNK, value_BMNK, places):
  """(out_BLHK, logsumexp_BLH) by a loop; a query that sees nothing gets 0 and -1e30."""
  query_BLHK, key_BMNK, value_BMNK = (
    np.asarray(x, np.float64) for x in (query_BLHK, key_BMNK, value_BMNK)
  )
  B, L, H, K = query_BLHK.shape
  share = H // key_BMNK.shape[2]
  out_BLHK, lse_BLH = np.zeros_like(query_BLHK), np.full((B, L, H), -1e30)
  for b, l, h in np.ndindex(B, L, H):
    seen = [m for m in range(key_BMNK.shape[1]) if sees(places, b, l, m)]
    if not seen:
      continue
    weights = np.exp(key_BMNK[b, seen, h // share] @ query_BLHK[b, l, h] / np.sqrt(K))
    lse_BLH[b, l, h] = np.log(weights.sum())
    out_BLHK[b, l, h] = weights @ value_BMNK[b, seen, h // share] / weights.sum()
  return out_BLHK, lse_BLH


def sees(places, b, l, m) -> bool:
  """May query l of row b see key m?"""
  of_query, of_key = int(places.segment_BL[b, l]), int(places.segment_BM[b, m])
  return of_query == of_key != 0 and int(places.position_BM[b, m]) <= int(places.position_BL[b, l])


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


def attend(p, x_LD, cfg):
  """One layer's attention: a token sees those up to itself."""
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
    n = h // (cfg.H // cfg.N)
    weights = np.exp(key_LNK[: l + 1, n] @ query_LHK[l, h] / np.sqrt(cfg.K))
    out_LHK[l, h] = weights @ made["v"][: l + 1, n] / weights.sum()
  return np.tensordot(out_LHK, p["o_HKD"], 2)


def feed(p, x_LD):
  gate_LF = x_LD @ p["gate_DF"]
  return (gate_LF / (1 + np.exp(-gate_LF)) * (x_LD @ p["up_DF"])) @ p["down_FD"]


def hidden(params, tokens, cfg):
  """hidden_LD of one document."""
  x_LD = np.asarray(params["embed_VD"], np.float64)[np.asarray(tokens)]
  for stack, count in cfg.stacks:
    for z in range(count):
      attn, mlp = (
        {name: np.asarray(w, np.float64)[z] for name, w in params[stack][part].items()}
        for part in ("attn", "feed")
      )
      x_LD = x_LD + attend(attn, norm(x_LD, attn["norm_D"], cfg.norm_eps), cfg)
      x_LD = x_LD + feed(mlp, norm(x_LD, mlp["norm_D"], cfg.norm_eps))
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
