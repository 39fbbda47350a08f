"""config.json of a Hugging Face checkpoint, read; `describe` writes it.

Both layouts are read: that of published checkpoints (rope_theta, rope_scaling, torch_dtype) and the
one of transformers 5 (rope_parameters, dtype, layer_types). A field that this code does not know
is refused by name: it might change the computation.
"""

import json
import pathlib
from collections.abc import Iterable

from r1.model import config as model_config
from r1.model import moe, rope

FAMILIES = {
  "qwen2": "Qwen2ForCausalLM",
  "qwen3": "Qwen3ForCausalLM",
  "llama": "LlamaForCausalLM",
  "deepseek_v2": "DeepseekV2ForCausalLM",
  "deepseek_v3": "DeepseekV3ForCausalLM",
}
LATENT = ("deepseek_v2", "deepseek_v3")
LANGUAGE, SCALAR = "ForCausalLM", "ForSequenceClassification"  # how an architecture's name ends

# Fields that say nothing about the forward pass.
SILENT = """_attn_implementation_autoset _name_or_path architectures auto_map aux_loss_alpha
  bos_token_id eos_token_id pad_token_id dtype torch_dtype ep_size initializer_range model_type
  output_attentions output_hidden_states output_router_logits return_dict router_aux_loss_coef
  seq_aux transformers_version use_cache quantization_config is_decoder chunk_size_feed_forward
  id2label label2id problem_type tokenizer_class unsloth_version unsloth_fixed
  attn_implementation _attn_implementation gradient_checkpointing"""
# Fields that may stand there as long as they ask for nothing.
INERT = {
  "attention_dropout": 0,
  "pretraining_tp": 1,
  "moe_layer_freq": 1,
  "hidden_act": "silu",
  "tie_encoder_decoder": False,
  "is_encoder_decoder": False,
  "add_cross_attention": False,
  "use_mrope": False,
  "mlp_only_layers": [],
}
COMMON = """vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads
  num_key_value_heads head_dim max_position_embeddings rms_norm_eps tie_word_embeddings rope_theta
  rope_scaling rope_parameters"""
OF_FAMILY = {
  "qwen2": "use_sliding_window sliding_window max_window_layers layer_types",
  "qwen3": "use_sliding_window sliding_window max_window_layers layer_types attention_bias",
  "llama": "attention_bias mlp_bias",
}
OF_FAMILY |= dict.fromkeys(
  LATENT,
  "attention_bias q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim qk_head_dim v_head_dim"
  " moe_intermediate_size first_k_dense_replace n_routed_experts n_shared_experts"
  " num_experts_per_tok n_group topk_group topk_method scoring_func norm_topk_prob"
  " routed_scaling_factor mlp_bias",
)
OF_FAMILY["deepseek_v3"] += " num_nextn_predict_layers rope_interleave"

# Sizes that must stand there: what is left out has other defaults in other programs.
SIZES = (
  "vocab_size",
  "hidden_size",
  "intermediate_size",
  "num_hidden_layers",
  "num_attention_heads",
  "max_position_embeddings",
)
LATENT_SIZES = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
OPTIONAL_SIZES = ("num_key_value_heads", "head_dim", "q_lora_rank")
EXPERT_SIZES = ("moe_intermediate_size", "num_experts_per_tok")
SCALINGS = {  # the fields of each kind, and which of them it cannot do without
  "default": ("", ""),
  "linear": ("factor", "factor"),
  "llama3": (
    "factor low_freq_factor high_freq_factor original_max_position_embeddings",
    "factor low_freq_factor high_freq_factor",
  ),
  "yarn": (
    "factor beta_slow beta_fast mscale mscale_all_dim attention_factor truncate"
    " original_max_position_embeddings",
    "factor",
  ),
}


def read(folder: str | pathlib.Path) -> dict:
  """config.json as a dict. Raises ValueError where there is none or it is broken."""
  path = pathlib.Path(folder) / "config.json"
  if not path.is_file():
    raise ValueError(f"{folder} holds no config.json, so it is no Hugging Face checkpoint")
  try:
    raw = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ValueError(f"{path} is no JSON: {error}") from error
  if not isinstance(raw, dict):
    raise ValueError(f"{path} holds a {type(raw).__name__}, wanted an object")
  return raw


def parse(raw: dict, runtime: dict, *, mtp: bool = True) -> model_config.ModelConfig:
  """The ModelConfig of a config.json.

  runtime: the fields of ModelConfig that a checkpoint says nothing about (dtype, attend, …);
  `ids` may be among them and is all rows otherwise. mtp: False leaves that layer out.
  Raises ValueError naming the model type or the field that is not implemented.
  """
  family = check(raw)
  layers, width = raw["num_hidden_layers"], raw["hidden_size"]
  heads = raw["num_attention_heads"]
  base, scaling = _rope(raw)
  fields = model_config.PLAIN | {
    "D": width,
    "F": raw["intermediate_size"],
    "V": raw["vocab_size"],
    "ids": raw["vocab_size"],
    "H": heads,
    "N": raw.get("num_key_value_heads") or heads,
    "K": raw.get("head_dim") or width // heads,
    "W": raw.get("head_dim") or width // heads,
    "stacks": (("dense", layers),),
    "context": raw["max_position_embeddings"],
    "windows": _windows(raw, layers),
    "rope_base": base,
    "rope_scaling": scaling,
    "norm_eps": raw["rms_norm_eps"],
    "tied": bool(raw.get("tie_word_embeddings", False)),
    "qkv_bias": bool(raw.get("attention_bias", family == "qwen2")),
    "o_bias": bool(raw.get("attention_bias", False)),
    "feed_bias": bool(raw.get("mlp_bias", False)),
    "qk_norm": family == "qwen3",
    "scalar": _scalar(raw),
  }
  if family in LATENT:
    fields |= _latent(raw, family, layers, mtp and not fields["scalar"])
  return model_config.ModelConfig(**fields | runtime)


def check(raw: dict) -> str:
  """The model type, once every field is known to be understood."""
  family = raw.get("model_type")
  if family not in FAMILIES:
    raise ValueError(f"model_type={family!r} is not implemented; there are {sorted(FAMILIES)}")
  known = " ".join((SILENT, COMMON, OF_FAMILY[family])).split()
  for name, value in raw.items():
    if name in INERT:
      if value not in (INERT[name], None):
        raise ValueError(
          f"config.json: {name}={value!r} is not implemented for {family}, only {INERT[name]!r}"
        )
    elif name not in known and value is not None:
      raise ValueError(
        f"config.json: the field {name}={value!r} is unknown for model_type {family!r} and might "
        "change the computation; remove it if it does not"
      )
  _check_sizes(raw, SIZES + (("head_dim",) if family == "qwen3" else ()))
  if family in LATENT:
    has_experts = _dense_layers(raw) < raw["num_hidden_layers"]
    _check_sizes(raw, LATENT_SIZES + (EXPERT_SIZES if has_experts else ()))
  _check_sizes(raw, [name for name in OPTIONAL_SIZES if raw.get(name) is not None])
  if not isinstance(raw.get("rms_norm_eps"), float):
    raise ValueError(f"config.json: rms_norm_eps={raw.get('rms_norm_eps')!r}, wanted a number")
  return family


def _scalar(raw: dict) -> bool:
  """Is this a model with one number per sequence? Raises ValueError where there are several."""
  if not any(name.endswith(SCALAR) for name in raw.get("architectures") or ()):
    return False
  labels = raw.get("id2label")
  if not isinstance(labels, dict) or len(labels) != 1:
    raise ValueError(
      f"config.json: id2label={labels!r}; a scalar head wants one label (num_labels 1), as "
      '{"0": "LABEL_0"}'
    )
  return True


def _check_sizes(raw: dict, names: Iterable[str]) -> None:
  """Raises ValueError unless each field is a whole number from 1."""
  wrong = {n: raw.get(n) for n in names if type(raw.get(n)) is not int or raw[n] < 1}
  if wrong:
    raise ValueError(f"config.json: wanted whole numbers from 1, found {wrong}")


def _rope(raw: dict) -> tuple[float, rope.Scaling | None]:
  """(base, scaling) from either layout, or from both where they agree."""
  found = [raw[name] for name in ("rope_parameters", "rope_scaling") if raw.get(name)]
  bases = {float(f["rope_theta"]) for f in (raw, *found) if f.get("rope_theta") is not None}
  scalings = {_scaling(f, raw["max_position_embeddings"]) for f in found}
  if len(bases) != 1 or len(scalings) > 1:
    raise ValueError(
      "config.json: wanted one rope_theta and one kind of scaling, found rope_theta "
      f"{sorted(bases)} and rope_parameters or rope_scaling {found}"
    )
  return bases.pop(), scalings.pop() if scalings else None


def _scaling(found: dict, context: int) -> rope.Scaling | None:
  """What rope_parameters or rope_scaling ask for."""
  found = {name: value for name, value in found.items() if value is not None}
  kind = found.get("rope_type", found.get("type", "default"))
  if kind not in SCALINGS:
    raise ValueError(f"rope scaling {kind!r} is not implemented; there are {rope.KINDS}")
  known, needed = (fields.split() for fields in SCALINGS[kind])
  if unknown := set(found) - {"rope_theta", "rope_type", "type", *known}:
    raise ValueError(
      f"rope scaling {kind!r}: the fields {sorted(unknown)} are unknown and might change the "
      "computation; remove them if they do not (attn_factor, which programs read differently: "
      "write what cos and sin are multiplied by as attention_factor)"
    )
  if missing := [name for name in needed if name not in found]:
    raise ValueError(f"rope scaling {kind!r} lacks {missing}")
  if kind == "default":
    return None
  names = ("beta_slow", "beta_fast") if kind == "yarn" else ("low_freq_factor", "high_freq_factor")
  low, high = (found.get(name) or default for name, default in zip(names, (1, 32)))
  return rope.Scaling(
    kind=kind,
    factor=float(found["factor"]),
    original=found.get("original_max_position_embeddings") or context,
    low=float(low),
    high=float(high),
    truncate=bool(found.get("truncate", True)),
    mscale=float(found.get("mscale", 0)),
    mscale_all=float(found.get("mscale_all_dim", 0)),
    amplitude=found.get("attention_factor"),
  )


def _windows(raw: dict, layers: int) -> tuple[int, ...]:
  """Each layer's window; () where none is limited."""
  types, slides = raw.get("layer_types"), bool(raw.get("use_sliding_window"))
  if types is None:
    if slides and type(raw.get("max_window_layers")) is not int:
      raise ValueError("config.json: use_sliding_window needs max_window_layers")
    first = raw["max_window_layers"] if slides else layers
    types = ["sliding_attention" if z >= first else "full_attention" for z in range(layers)]
  if unknown := set(types) - {"sliding_attention", "full_attention"}:
    raise ValueError(f"config.json: layer_types {sorted(unknown)} are not implemented")
  if len(types) != layers:
    raise ValueError(f"config.json: {len(types)} layer_types for {layers} layers")
  if "sliding_attention" not in types:
    return ()
  if not slides:
    raise ValueError("config.json: sliding layer_types need use_sliding_window to be true")
  _check_sizes(raw, ["sliding_window"])
  width = raw["sliding_window"]
  return tuple(width if kind == "sliding_attention" else 0 for kind in types)


def _dense_layers(raw: dict) -> int:
  """How many layers, from the first, have no experts."""
  layers = raw["num_hidden_layers"]
  if not raw.get("n_routed_experts"):
    return layers
  return min(raw.get("first_k_dense_replace") or 0, layers)


def _latent(raw: dict, family: str, layers: int, mtp: bool) -> dict:
  """The fields of latent attention and of the experts."""
  dense, extra = _dense_layers(raw), raw.get("num_nextn_predict_layers") or 0
  if extra > 1 and mtp:
    raise ValueError(f"num_nextn_predict_layers={extra}: one layer is implemented; use mtp=False")
  if raw.get("mlp_bias"):
    raise ValueError(f"config.json: mlp_bias is not implemented for {family}")
  fields = {
    "attention": "mla",
    "A": raw.get("q_lora_rank") or 0,
    "C": raw["kv_lora_rank"],
    "K": raw["qk_nope_head_dim"],
    "P": raw["qk_rope_head_dim"],
    "W": raw["v_head_dim"],
    "N": raw["num_attention_heads"],
    "rope_pairs": bool(raw.get("rope_interleave", True)),
    "stacks": tuple(s for s in (("dense", dense), ("moe", layers - dense)) if s[1]),
    "mtp": extra if mtp else 0,
  }
  if dense == layers:
    return fields
  return fields | {
    "E": raw["n_routed_experts"],
    "S": raw["num_experts_per_tok"],
    "X": raw["moe_intermediate_size"],
    "Y": raw["moe_intermediate_size"] * (raw.get("n_shared_experts") or 0),
    "moe": _routing(raw, family),
  }


def _routing(raw: dict, family: str) -> moe.Routing:
  third = family == "deepseek_v3"
  methods = ("noaux_tc",) if third else ("greedy", "group_limited_greedy")
  scores = "sigmoid" if third else "softmax"
  if (method := raw.get("topk_method") or methods[0]) not in methods:
    raise ValueError(f"topk_method={method!r} is not implemented for {family}, only {methods}")
  if raw.get("scoring_func", scores) not in (scores, None):
    raise ValueError(
      f"scoring_func={raw['scoring_func']!r} is not implemented for {family}, only {scores!r}"
    )
  renormalise = bool(raw.get("norm_topk_prob", third))
  if renormalise and not third:
    raise ValueError(
      "norm_topk_prob=True is not implemented for deepseek_v2: the code released with that model "
      "then leaves routed_scaling_factor out, and transformers does not normalise"
    )
  if not isinstance(scale := raw.get("routed_scaling_factor"), int | float):
    raise ValueError(f"config.json: routed_scaling_factor={scale!r}, wanted a number")
  if grouped := method != "greedy":
    _check_sizes(raw, ["n_group", "topk_group"])
  return moe.Routing(
    scores=scores,
    groups=raw["n_group"] if grouped else 1,
    groups_kept=raw["topk_group"] if grouped else 1,
    group_score="top2" if third else "max",
    renormalise=renormalise,
    scale=float(scale),
    bias=third,
    dispatch="sorted",
    block=32,
  )
