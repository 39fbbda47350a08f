"""What a model computes on given tokens, under the names by which other programs' are stored.

For checking an imported checkpoint against any reference; the arrays and their names are those of
`experiments/score.py`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from r1.model import heads, mtp, transformer
from r1.sampling import decode

forward = jax.jit(transformer.forward, static_argnames=("cfg", "every_layer"))


def outputs(params, cfg, arrays: dict, greedy: int) -> dict[str, np.ndarray]:
  """Everything that the input asks for.

  arrays: `input_ids` [B, L]; optionally `attention_mask` [B, L] (0 on padding to the left), which
  adds `logits_left_padded`; `greedy_prompt_len`, the number of tokens that `greedy` more continue.
  Raises ValueError for ids that the model does not have and for a mask with holes.
  """
  token_BL = _tokens(arrays, cfg)
  position_BL = np.broadcast_to(np.arange(token_BL.shape[1], dtype=np.int32), token_BL.shape)
  ones_BL = np.ones_like(token_BL)
  out = forward(params, token_BL, position_BL, ones_BL, cfg, every_layer=True)
  logits_BLV = _logits(params, out.hidden_BLD, cfg)
  found = {"logits": logits_BLV, "hidden_states": _hidden(out)} | _router(out)
  logp_BLV = jax.nn.log_softmax(logits_BLV)
  next_BL = token_BL[:, 1:, None]
  found["logprobs"] = jnp.take_along_axis(logp_BLV[:, :-1], next_BL, axis=-1)[..., 0]
  found["loss"] = -jnp.mean(found["logprobs"])
  if cfg.mtp:
    found["mtp_logits"] = _mtp(params, out.hidden_BLD, token_BL, position_BL, cfg)
  if "attention_mask" in arrays:
    found["logits_left_padded"] = _left_padded(params, token_BL, arrays["attention_mask"], cfg)
  if greedy:
    found["greedy_tokens"] = continuation(params, token_BL, arrays, greedy, cfg)
  return {name: np.asarray(value) for name, value in found.items()}


def _tokens(arrays: dict, cfg) -> np.ndarray:
  if "input_ids" not in arrays:
    raise ValueError(f"the tokens' file holds {sorted(arrays)}, wanted input_ids [rows, tokens]")
  token_BL = np.asarray(arrays["input_ids"])
  if token_BL.ndim != 2 or token_BL.dtype.kind not in "iu" or not token_BL.size:
    raise ValueError(
      f"input_ids are {token_BL.dtype} {token_BL.shape}, wanted integers [rows, tokens]"
    )
  if token_BL.min() < 0 or token_BL.max() >= cfg.V:
    raise ValueError(
      f"input_ids run from {token_BL.min()} to {token_BL.max()}, the model has 0 to {cfg.V - 1}"
    )
  return token_BL.astype(np.int32)


@functools.partial(jax.jit, static_argnames="cfg")
def _logits(params, hidden_BLD, cfg):
  return heads.logits(heads.matrix(params, cfg), hidden_BLD, cfg)


def _hidden(out) -> jax.Array:
  """[layers + 1, L, D] of row 0: the embedding and each layer's output, the last one normed."""
  return jnp.concatenate([out.layer_ZBLD[:-1, 0], out.hidden_BLD[:1]])


def _router(out) -> dict:
  """The choices of each layer with experts, in the order of the layers."""
  layers = [aux for aux in out.aux.values() if "expert_BLS" in aux]
  found = {}
  for i, (expert_BLS, weight_BLS) in enumerate(
    (e, w) for aux in layers for e, w in zip(aux["expert_BLS"], aux["weight_BLS"])
  ):
    found[f"router_indices_{i}"], found[f"router_weights_{i}"] = expert_BLS, weight_BLS
  return found


@functools.partial(jax.jit, static_argnames="cfg")
def _mtp(params, hidden_BLD, token_BL, position_BL, cfg):
  """Logits at i for token i + 2, from the output at i and the embedding of token i + 1."""
  ones_BL = jnp.ones_like(token_BL[:, 1:])
  hidden_BLD, _ = mtp.hidden(
    params, hidden_BLD[:, :-1], token_BL[:, 1:], position_BL[:, :-1], ones_BL, cfg
  )
  return heads.logits(heads.matrix(params, cfg), hidden_BLD, cfg)


def _left_padded(params, token_BL, mask_BL, cfg):
  """Logits with positions counted from each row's first real token; padding's are zeros."""
  mask_BL = np.asarray(mask_BL)
  if mask_BL.shape != token_BL.shape or (np.diff(mask_BL, axis=1) < 0).any():
    raise ValueError(
      f"attention_mask of shape {mask_BL.shape} must be 0s and then 1s in every row of input_ids, "
      f"whose shape is {token_BL.shape}"
    )
  segment_BL = (mask_BL > 0).astype(np.int32)
  position_BL = np.maximum(np.cumsum(segment_BL, axis=1) - 1, 0).astype(np.int32)
  out = forward(params, token_BL, position_BL, segment_BL, cfg, every_layer=True)
  return jnp.where(segment_BL[..., None] > 0, _logits(params, out.hidden_BLD, cfg), 0.0)


def continuation(params, token_BL, arrays: dict, count: int, cfg):
  """The `count` most likely tokens behind each row's prompt, by the sampler's cached decoding."""
  length = int(arrays.get("greedy_prompt_len", token_BL.shape[1]))
  if not 0 < length <= token_BL.shape[1]:
    raise ValueError(f"greedy_prompt_len={length}, wanted 1 to {token_BL.shape[1]}")
  B = token_BL.shape[0]
  drawn = decode.compiled(
    params,
    token_BL[:, :length],
    np.full(B, length, np.int32),
    np.full(B, count, np.int32),
    jax.random.split(jax.random.key(0), B),
    0.0,
    cfg=cfg,
    sampler=decode.SamplerConfig(**decode.PLAIN, **decode.UNPAGED, slots=B, prompt_bucket=length),
    eos=(-1,),  # no id: a comparison runs to the end
    room=count,
  )
  return drawn.token_BM
