"""config.json of a model of ours, in the layout of published checkpoints; `config` reads it."""

from r1.model import config as model_config
from r1.model import rope
from r1.model.hf import config


def describe(cfg: model_config.ModelConfig, dtype: str) -> dict:
  """The config.json of a model, in the layout that published checkpoints have.

  Raises ValueError where no family computes what this model computes.
  """
  family = _family(cfg)
  layers = sum(count for _, count in cfg.stacks)
  raw = {
    "architectures": [config.FAMILIES[family]],
    "model_type": family,
    "vocab_size": cfg.V,
    "hidden_size": cfg.D,
    "intermediate_size": cfg.F,
    "num_hidden_layers": layers,
    "num_attention_heads": cfg.H,
    "num_key_value_heads": cfg.N,
    "hidden_act": "silu",
    "max_position_embeddings": cfg.context,
    "rms_norm_eps": cfg.norm_eps,
    "tie_word_embeddings": cfg.tied,
    "attention_dropout": 0.0,
    "rope_theta": cfg.rope_base,
    "rope_scaling": _describe_scaling(cfg.rope_scaling),
    "torch_dtype": dtype,
    "use_cache": True,
  }
  if cfg.scalar:
    name = config.FAMILIES[family].replace(config.LANGUAGE, config.SCALAR)
    raw |= {"architectures": [name], "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
  if family in config.LATENT:
    return raw | _describe_latent(cfg, family)
  if family != "qwen2":
    raw |= {"head_dim": cfg.K, "attention_bias": cfg.o_bias}
  if family == "llama":
    return raw | {"mlp_bias": cfg.feed_bias}
  return raw | _describe_windows(cfg, layers)


def _family(cfg: model_config.ModelConfig) -> str:
  """The family that computes this model."""
  if cfg.attention == "mla":
    family, fits = _latent_family(cfg)
  elif cfg.qk_norm:
    family, fits = "qwen3", cfg.qkv_bias == cfg.o_bias and not cfg.feed_bias
  elif cfg.qkv_bias and not cfg.o_bias:
    family, fits = "qwen2", not cfg.feed_bias and cfg.K * cfg.H == cfg.D
  else:
    family, fits = "llama", cfg.qkv_bias == cfg.o_bias and not cfg.windows
  if not fits or (cfg.attention == "gqa" and (cfg.moe is not None or cfg.mtp)):
    raise ValueError(
      f"no Hugging Face model type computes this model (nearest: {family}): biases of attention "
      f"{cfg.qkv_bias}, of its output {cfg.o_bias}, of the MLP {cfg.feed_bias}, norms of queries "
      f"and keys {cfg.qk_norm}, windows {bool(cfg.windows)}, D={cfg.D}, H={cfg.H}, K={cfg.K}, "
      f"mtp={cfg.mtp}, {cfg.moe}"
    )
  return family


def _latent_family(cfg: model_config.ModelConfig) -> tuple[str, bool]:
  """(DeepSeek-V2 or V3, whether it computes this model)."""
  fits = not (cfg.windows or cfg.qk_norm or cfg.feed_bias) and cfg.qkv_bias == cfg.o_bias
  routing = cfg.moe
  if routing is None:
    return "deepseek_v3", fits
  if cfg.Y == 0 or cfg.Y % cfg.X:
    raise ValueError(
      f"Y={cfg.Y} of the shared experts must be a multiple of X={cfg.X}, and at least one expert"
    )
  if routing.scores == "sigmoid":
    alike = routing.groups == 1 or routing.group_score == "top2"
    return "deepseek_v3", fits and routing.bias and alike
  alike = routing.groups == 1 or routing.group_score == "max"
  plain = not (routing.bias or routing.renormalise or cfg.mtp) and cfg.rope_pairs
  return "deepseek_v2", fits and alike and plain


def _describe_scaling(scaling: rope.Scaling | None) -> dict | None:
  if scaling is None:
    return None
  raw = {"rope_type": scaling.kind, "factor": scaling.factor}
  if scaling.kind == "linear":
    return raw
  raw["original_max_position_embeddings"] = scaling.original
  if scaling.kind == "llama3":
    return raw | {"low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
  raw |= {"type": "yarn", "beta_slow": scaling.low, "beta_fast": scaling.high}
  raw |= {"mscale": scaling.mscale} if scaling.mscale else {}
  raw |= {"mscale_all_dim": scaling.mscale_all} if scaling.mscale_all else {}
  raw |= {} if scaling.amplitude is None else {"attention_factor": scaling.amplitude}
  return raw | ({} if scaling.truncate else {"truncate": False})


def _describe_windows(cfg, layers: int) -> dict:
  """Sliding windows: the first layers see all, the others one common number of positions."""
  windows = cfg.windows or (0,) * layers
  first = windows.index(max(windows)) if any(windows) else layers
  if windows[first:] != (max(windows),) * (layers - first) or any(windows[:first]):
    raise ValueError(f"windows={windows}: wanted full layers first, then sliding ones of one width")
  return {
    "use_sliding_window": first < layers,
    "sliding_window": max(windows) or None,
    "max_window_layers": first,
    "layer_types": ["full_attention"] * first + ["sliding_attention"] * (layers - first),
  }


def _describe_latent(cfg, family: str) -> dict:
  layers, dense = sum(n for _, n in cfg.stacks), dict(cfg.stacks).get("dense", 0)
  raw = {
    "attention_bias": cfg.o_bias,
    "q_lora_rank": cfg.A or None,
    "kv_lora_rank": cfg.C,
    "qk_nope_head_dim": cfg.K,
    "qk_rope_head_dim": cfg.P,
    "v_head_dim": cfg.W,
    "first_k_dense_replace": dense,
    "moe_layer_freq": 1,
  }
  if family == "deepseek_v3":
    raw |= {"rope_interleave": cfg.rope_pairs, "num_nextn_predict_layers": cfg.mtp}
  if cfg.moe is None:
    return raw | {"n_routed_experts": 1, "n_shared_experts": 1, "first_k_dense_replace": layers}
  method = "noaux_tc" if family == "deepseek_v3" else "greedy"
  return raw | {
    "moe_intermediate_size": cfg.X,
    "n_routed_experts": cfg.E,
    "n_shared_experts": cfg.Y // cfg.X,
    "num_experts_per_tok": cfg.S,
    "n_group": cfg.moe.groups,
    "topk_group": cfg.moe.groups_kept,
    "topk_method": method if cfg.moe.groups == 1 or cfg.moe.bias else "group_limited_greedy",
    "scoring_func": cfg.moe.scores,
    "norm_topk_prob": cfg.moe.renormalise,
    "routed_scaling_factor": cfg.moe.scale,
  }
