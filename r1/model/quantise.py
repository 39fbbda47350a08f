"""Keys and values in 8 bits: codes, and one scale for all numbers of a token and head.

  scale = max |x| / (largest code),  code = x / scale rounded to the type,  read back: code * scale.

So a number is off by half a step of the type at most: of int8 by max |x| / 254, of float8_e4m3fn by
a seventeenth of itself, and near 0 by max |x| / 448 * 2^-10. What a token is read back as depends
on nothing but that token.

Buffers say themselves how they hold numbers: those of `key_ZBNKM` are codes where `key_scale_ZBNM`
stands beside them, and plain numbers where it does not.
"""

import functools

import jax
import jax.numpy as jnp

from r1 import dims

DTYPES = ("int8", "float8_e4m3fn")
HEAD = "KCP"  # the letters that count the numbers of one token and head


def scale_name(name: str) -> str:
  """The buffer of the scales of this one's codes."""
  letters = dims.suffix(name)
  return f"{name.removesuffix(letters)}scale_{letters.translate(dict.fromkeys(map(ord, HEAD)))}"


def _axis(name: str) -> int:
  """Which axis of a buffer shares one scale, counted from the end."""
  letters = dims.suffix(name)
  return next(i for i in range(-len(letters), 0) if letters[i] in HEAD)


def pack(x, dtype, axis: int):
  """(codes of x, scale in float32 without that axis). What is not finite is read back as NaN."""
  x = x.astype(jnp.float32)
  whole = jnp.issubdtype(dtype, jnp.integer)
  largest = float((jnp.iinfo if whole else jnp.finfo)(dtype).max)
  top = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
  scale = jnp.maximum(top / largest, jnp.finfo(jnp.float32).tiny)  # zeros have the codes 0
  ratio = x / scale
  codes = (jnp.round(ratio) if whole else ratio).astype(dtype)
  return codes, jnp.squeeze(scale, axis)


def unpack(codes, scale, axis: int, dtype):
  """The numbers that `pack` has kept."""
  return (codes.astype(jnp.float32) * jnp.expand_dims(scale, axis)).astype(dtype)


def specs(plain: dict, dtype: str) -> dict:
  """The ShapeDtypeStructs of these buffers with codes of a type of DTYPES, and of their scales."""
  found = {}
  for name, s in plain.items():
    axis = _axis(name) % len(s.shape)
    found[name] = jax.ShapeDtypeStruct(s.shape, jnp.dtype(dtype))
    shape = s.shape[:axis] + s.shape[axis + 1 :]
    found[scale_name(name)] = jax.ShapeDtypeStruct(shape, jnp.float32)
  return found


def packed(new: dict, buffers: dict) -> dict:
  """New keys and values, in the layouts of the buffers, as these hold numbers."""
  found = {}
  for name, x in new.items():
    found[name], scale = x, scale_name(name)
    if scale in buffers:
      found[name], found[scale] = pack(x, buffers[name].dtype, _axis(name))
  return found


def unpacked(buffers: dict, dtype) -> dict:
  """What buffers without their layers' axis hold, in the type of the computation."""

  def read(name, x):
    scale = buffers.get(scale_name(name))
    return x if scale is None else unpack(x, scale, _axis(name), dtype)

  return {name: read(name, x) for name, x in buffers.items()}


def codes_of(buffers: dict) -> str:
  """The type of DTYPES that these buffers hold, "" for plain numbers."""
  coded = [x.dtype.name for name, x in buffers.items() if scale_name(name) in buffers]
  return coded[0] if coded else ""


@functools.cache
def check(dtype: str) -> None:
  """Raises ValueError where the devices cannot store a type of DTYPES and read it back."""

  @jax.jit
  def kept(x):
    return unpack(*pack(x, jnp.dtype(dtype), -1), -1, x.dtype)

  try:
    jax.block_until_ready(kept(jnp.ones((8, 8))))
  except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
    device = jax.devices()[0]
    raise ValueError(
      f"cache_dtype={dtype!r}: {device.platform} ({device.device_kind}) cannot store this type; "
      f"choose another one of {', '.join(DTYPES)}, or '' for the type of the computation ({error})"
    ) from error
