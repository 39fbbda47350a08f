"""The one forward: training, scoring, prefill and decoding call it."""

import jax
import jax.numpy as jnp
from flax import struct

from r1 import dims, spec
from r1.model import attention, block, layers, lora, mtp, pages, remat
from r1.model import cache as cache_lib

FOREVER = 2**30  # the window of a layer that has none


class Output(struct.PyTreeNode):
  """hidden_BLD: after the final norm. cache: grown by these tokens, or None. aux: statistics.

  aux: {stack: {name: value per layer}}, of the stacks whose feed-forward keeps any.
  layer_ZBLD: the hidden states before the first layer and after each, where they were asked for.
  """

  hidden_BLD: jax.Array
  cache: cache_lib.Cache | pages.Paged | pages.Prompt | None
  aux: dict
  layer_ZBLD: jax.Array | None = None


def specs(cfg) -> dict:
  """Every parameter of the model: its name is its shape, its axes and its sharding."""
  tree = spec.table("embed_VD", cfg) | spec.gain("norm_D", cfg)
  if cfg.scalar:
    tree |= {"scalar_D": spec.ParamSpec((cfg.D,), "D", "D", spec.zeros)}
  elif not cfg.tied:
    tree |= spec.matrix("head_DV", cfg, "D")
  tree |= {name: spec.stack(block.specs(cfg, name), count) for name, count in cfg.stacks}
  tree |= {"mtp": mtp.specs(cfg)} if cfg.mtp else {}
  return tree | ({"lora": lora.specs(tree, cfg.lora)} if cfg.lora else {})


def windows(cfg) -> dict:
  """How many positions back each layer sees, per stack; None where no layer is limited."""
  found, start = {}, 0
  for name, count in cfg.stacks:
    own = [window or FOREVER for window in cfg.windows[start : start + count]]
    found[name] = jnp.asarray(own, jnp.int32) if own else None
    start += count
  return found


def _new(segment_BL):
  """How many tokens each row brings."""
  return jnp.sum(segment_BL > 0, axis=1, dtype=jnp.int32)


def _after(cache, stacks: dict, segment_BL):
  """The cache with these buffers; only rows of their own count their tokens."""
  if cache is None:
    return None
  cache = cache.replace(stacks=stacks)
  if not isinstance(cache, cache_lib.Cache):
    return cache
  return cache.replace(length_B=cache.length_B + _new(segment_BL))


def _places(position_BL, segment_BL, parent_BL, fork, cache) -> attention.Places:
  """Where queries and keys stand: the keys are the tokens themselves, or what a cache holds."""
  at_key = position_BL, segment_BL
  if isinstance(cache, cache_lib.Cache):
    at_key = cache_lib.seen(cache, _new(segment_BL))
  elif isinstance(cache, pages.Paged):
    at_key = pages.seen(cache, position_BL)
  return attention.Places(position_BL, segment_BL, *at_key, parent_BL=parent_BL, fork=fork)


def _each(layers_Z, x_BLD, cos_sin, places, buffers, cache, cfg, stack: str):
  """(x_BLD, the cache's buffers) behind layers that `unroll` has taken apart."""
  grown, window_Z = [], windows(cfg)[stack]
  for z, p in enumerate(layers_Z):
    held = None if buffers is None else cache_lib.Held(buffers[z], 0, z, stack, cache)
    at = places.replace(window=None if window_Z is None else window_Z[z])
    x_BLD, own, _ = block.block(p, x_BLD, cos_sin, at, held, cfg, stack)
    grown.append(own)
  return x_BLD, tuple(grown)


def forward(
  params,
  token_BL,
  position_BL,
  segment_BL,
  cfg,
  cache=None,
  every_layer: bool = False,
  parent_BL=None,
  fork: tuple[int, int] | None = None,
) -> Output:
  """Hidden states of a batch of rows.

  position_BL: of each token in its segment. segment_BL: 0 on padding; a token sees the earlier
  positions of its own segment and nothing else. With a cache a row is one segment (1) whose first
  `cache.length_B` tokens are held already; the row's padding stands at its end.
  every_layer: keep the hidden states between the layers too, to compare with another program.
  parent_BL: of rows without a cache, the segment that each token's own one continues; a token sees
  the earlier positions of both; 0, or None for all: there is none. fork: see `attention.Places`.
  """
  dims.check(token_BL=token_BL, position_BL=position_BL, segment_BL=segment_BL)
  if parent_BL is not None:
    dims.check(token_BL=token_BL, parent_BL=parent_BL)
    assert cache is None, "the rows of a cache are one segment each"
  places = _places(position_BL, segment_BL, parent_BL, fork, cache)
  cos_sin = block.rotary(position_BL, cfg)
  dtype, scale = jnp.dtype(cfg.dtype), cfg.lora.scale if cfg.lora else 0.0
  x_BLD = block.embed(params, token_BL, cfg)

  def run(name: str, x_BLD, buffers):
    def layer(carry, given):
      x_BLD, buffers = carry
      p, adapters, z, window = given
      p, adapters = block.home(p, cfg), block.home(adapters, cfg)
      p = block.cast(lora.merge(p, adapters, scale), dtype)
      held = None if buffers is None else cache_lib.Held(buffers, z, z, name, cache)
      at = places.replace(window=window)
      x_BLD, buffers, aux = block.block(p, x_BLD, cos_sin, at, held, cfg, name)
      return (x_BLD, buffers), (aux, x_BLD if every_layer else None)

    layer = remat.wrap(layer, cfg.remat, scanned=True)
    adapters = params.get("lora", {}).get(name)
    z_Z = jnp.arange(dict(cfg.stacks)[name])
    given = params[name], adapters, z_Z, windows(cfg)[name]
    return jax.lax.scan(layer, (x_BLD, buffers), given)

  stacks, aux, between = {}, {}, [x_BLD[None]]
  for name, _ in cfg.stacks:
    buffers = None if cache is None else cache.stacks[name]
    if isinstance(params[name], tuple):
      given = params[name], x_BLD, cos_sin, places, buffers, cache, cfg, name
      x_BLD, stacks[name] = _each(*given)
      aux[name], after_ZBLD = {}, None
    else:
      (x_BLD, stacks[name]), (aux[name], after_ZBLD) = run(name, x_BLD, buffers)
    between.append(after_ZBLD)
  hidden_BLD = layers.rms_norm(x_BLD, params["norm_D"], cfg.norm_eps)
  cache = _after(cache, stacks, segment_BL)
  layer_ZBLD = jnp.concatenate(between) if every_layer else None
  return Output(hidden_BLD, cache, {k: v for k, v in aux.items() if v}, layer_ZBLD)
