"""Published models by name: their config.json as facts, so that there is one way to read a config.

Sources: the checkpoints' own config.json; arXiv 2412.15115, 2505.09388, 2407.21783, 2405.04434,
2412.19437, 2501.12948.
"""

from r1.model import config as model_config
from r1.model.hf import config as hf_config

QWEN2 = {
  "model_type": "qwen2",
  "num_attention_heads": 12,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1e6,
  "tie_word_embeddings": False,
  "max_position_embeddings": 131072,
  "vocab_size": 152064,
  "bos_token_id": 151643,
  "eos_token_id": 151643,
}
QWEN3 = {
  "model_type": "qwen3",
  "num_attention_heads": 16,
  "num_key_value_heads": 8,
  "head_dim": 128,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1e6,
  "tie_word_embeddings": True,
  "max_position_embeddings": 40960,
  "vocab_size": 151936,
  "attention_bias": False,
}
LLAMA3 = {
  "model_type": "llama",
  "num_key_value_heads": 8,
  "rms_norm_eps": 1e-5,
  "rope_theta": 5e5,
  "rope_scaling": {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
  },
  "tie_word_embeddings": False,
  "max_position_embeddings": 131072,
  "vocab_size": 128256,
  "attention_bias": False,
  "mlp_bias": False,
}
DEEPSEEK = {
  "kv_lora_rank": 512,
  "qk_nope_head_dim": 128,
  "qk_rope_head_dim": 64,
  "v_head_dim": 128,
  "rms_norm_eps": 1e-6,
  "rope_theta": 1e4,
  "tie_word_embeddings": False,
  "max_position_embeddings": 163840,
  "attention_bias": False,
}
YARN = {
  "type": "yarn",
  "factor": 40,
  "original_max_position_embeddings": 4096,
  "beta_fast": 32,
  "beta_slow": 1,
}


def _sizes(layers: int, width: int, hidden: int, heads: int) -> dict:
  return {
    "num_hidden_layers": layers,
    "hidden_size": width,
    "intermediate_size": hidden,
    "num_attention_heads": heads,
  }


def _yarn(mscale: float) -> dict:
  return {"rope_scaling": YARN | {"mscale": mscale, "mscale_all_dim": mscale}}


TIED = {"tie_word_embeddings": True, "vocab_size": 151936}
SMALL = {"num_key_value_heads": 4}
LARGE = {"num_key_value_heads": 8, "rms_norm_eps": 1e-5}
MATH = {"rope_theta": 1e4, "max_position_embeddings": 4096}
LONG_MATH = {"rope_theta": 1e4}  # what the distilled Qwen-Math students say
Q05, Q15 = _sizes(24, 896, 4864, 14), _sizes(28, 1536, 8960, 12)
Q3, Q7 = _sizes(36, 2048, 11008, 16), _sizes(28, 3584, 18944, 28) | SMALL
Q14, Q32 = _sizes(48, 5120, 13824, 40) | LARGE, _sizes(64, 5120, 27648, 40) | LARGE
L8, L70 = _sizes(32, 4096, 14336, 32), _sizes(80, 8192, 28672, 64)

RAW = {
  "qwen2.5-0.5b": QWEN2 | Q05 | TIED | {"max_position_embeddings": 32768},
  "qwen2.5-1.5b": QWEN2 | Q15 | TIED,
  "qwen2.5-3b": QWEN2 | Q3 | TIED | {"max_position_embeddings": 32768},
  "qwen2.5-7b": QWEN2 | Q7,
  "qwen2.5-14b": QWEN2 | Q14,
  "qwen2.5-32b": QWEN2 | Q32,
  "qwen2.5-math-1.5b": QWEN2 | Q15 | TIED | MATH,
  "qwen2.5-math-7b": QWEN2 | Q7 | MATH,
  "qwen3-0.6b": QWEN3 | _sizes(28, 1024, 3072, 16),
  "qwen3-1.7b": QWEN3 | _sizes(28, 2048, 6144, 16),
  "qwen3-4b": QWEN3 | _sizes(36, 2560, 9728, 32),
  "qwen3-8b": QWEN3 | _sizes(36, 4096, 12288, 32) | {"tie_word_embeddings": False},
  "llama-3.1-8b": LLAMA3 | L8,
  "llama-3.3-70b": LLAMA3 | L70,
  "r1-distill-qwen-1.5b": QWEN2 | Q15 | LONG_MATH | {"vocab_size": 151936},
  "r1-distill-qwen-7b": QWEN2 | Q7 | LONG_MATH,
  "r1-distill-qwen-14b": QWEN2 | Q14,
  "r1-distill-qwen-32b": QWEN2 | Q32,
  "r1-distill-llama-8b": LLAMA3 | L8,
  "r1-distill-llama-70b": LLAMA3 | L70,
  "deepseek-v3": DEEPSEEK
  | _sizes(61, 7168, 18432, 128)
  | _yarn(1.0)
  | {
    "model_type": "deepseek_v3",
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "q_lora_rank": 1536,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 1,
  },
  "deepseek-v2": DEEPSEEK
  | _sizes(60, 5120, 12288, 128)
  | _yarn(1.0)  # an early revision of the checkpoint says 0.707
  | {
    "model_type": "deepseek_v2",
    "num_key_value_heads": 128,
    "vocab_size": 102400,
    "q_lora_rank": 1536,
    "moe_intermediate_size": 1536,
    "first_k_dense_replace": 1,
    "n_routed_experts": 160,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "n_group": 8,
    "topk_group": 3,
    "topk_method": "group_limited_greedy",
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 16.0,
  },
  "deepseek-v2-lite": DEEPSEEK
  | _sizes(27, 2048, 10944, 16)
  | _yarn(0.707)
  | {
    "model_type": "deepseek_v2",
    "num_key_value_heads": 16,
    "vocab_size": 102400,
    "q_lora_rank": None,
    "moe_intermediate_size": 1408,
    "first_k_dense_replace": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
  },
}
# For tests and dry runs: each family's mechanisms at a size that compiles in seconds.
_TINY = {"vocab_size": 512, "max_position_embeddings": 512, **_sizes(2, 64, 96, 4)}
_TINY_LATENT = _TINY | {
  "num_key_value_heads": 4,
  "kv_lora_rank": 16,
  "qk_nope_head_dim": 16,
  "qk_rope_head_dim": 8,
  "v_head_dim": 12,
  "moe_intermediate_size": 24,
  "n_routed_experts": 8,
  "num_experts_per_tok": 2,
  "first_k_dense_replace": 1,
  "rope_scaling": YARN | {"original_max_position_embeddings": 64, "factor": 8},
}
RAW |= {
  "tiny-qwen2": QWEN2 | _TINY,
  "tiny-qwen3": QWEN3 | _TINY | {"num_key_value_heads": 2, "head_dim": 24},
  "tiny-llama": LLAMA3
  | _TINY
  | {
    "num_key_value_heads": 2,
    "rope_scaling": LLAMA3["rope_scaling"] | {"original_max_position_embeddings": 64},
  },
  "tiny-deepseek-v3": RAW["deepseek-v3"]
  | _TINY_LATENT
  | {"q_lora_rank": 24, "n_group": 4, "topk_group": 2},
  "tiny-deepseek-v2": RAW["deepseek-v2-lite"] | _TINY_LATENT,
}

NAMES = tuple(RAW)


def config(name: str, runtime: dict, *, mtp: bool = True) -> model_config.ModelConfig:
  """The ModelConfig of a preset; see `hf.config.parse`. Raises ValueError on an unknown name."""
  if name not in RAW:
    raise ValueError(f"unknown preset {name!r}; there are {', '.join(NAMES)}")
  return hf_config.parse(RAW[name], runtime, mtp=mtp)
