"""Plain Python values as JSON: the only thing that crosses between the processes of a grading.

Tuples, sets, dicts with any keys, bytes, nan and the plain types themselves keep their kind.
Nothing else crosses, subclasses of the plain types included. Imports the standard library alone:
it also runs in the sandbox.
"""

import collections
from collections.abc import Callable

DEEPEST = 100  # nested containers
LARGEST = 300_000  # values in one message, shared ones counted every time
LONGEST_INT = 10_000  # bits; Python refuses to write integers of over 4300 digits in decimal
MOST_ALIKE = 100  # members of a set or keys of a dict whose hashes occur before

INF = float("inf")
SEQUENCES = {tuple: "t", set: "s", frozenset: "z", bytearray: "a"}
# Standard types that equal a dict of the same items.
MAPPINGS = (dict, collections.Counter, collections.OrderedDict, collections.defaultdict)
TYPES = {t.__name__: t for t in (bool, int, float, complex, str, bytes, list, tuple, set, dict)}
READERS = {tag: kind for kind, tag in SEQUENCES.items()} | {
  "d": dict,
  "y": TYPES.__getitem__,
  "i": lambda text: int(text, 16),
  "f": float.fromhex,
  "b": bytes.fromhex,
  "c": lambda pair: complex(*map(float.fromhex, pair)),
}
NESTED = {"d", *SEQUENCES.values()}


class NotPlainError(ValueError):
  """A value is not plain data, or it is too deep, too large or cyclic."""


def pack(value, foreign: Callable | None = None):
  """The value as JSON data: scalars and lists as they are, other kinds as {tag: content}.

  NotPlainError for what does not cross, unless foreign(value) gives a JSON value in its stead.
  """
  left = LARGEST

  def walk(value, depth: int):
    nonlocal left
    left -= 1
    if depth > DEEPEST or left < 0:
      raise NotPlainError(f"a value nested over {DEEPEST} deep or of over {LARGEST} parts")
    kind = type(value)
    if value is None or kind is bool or kind is str:
      return value
    if kind is int:
      return value if value.bit_length() <= LONGEST_INT else {"i": hex(value)}
    if kind is float:
      return value if -INF < value < INF else {"f": value.hex()}
    if kind is list:
      return [walk(item, depth + 1) for item in value]
    if kind in SEQUENCES:
      return {SEQUENCES[kind]: [walk(item, depth + 1) for item in value]}
    if kind in MAPPINGS:
      return {"d": [[walk(k, depth + 1), walk(v, depth + 1)] for k, v in value.items()]}
    if kind is bytes:
      return {"b": value.hex()}
    if kind is complex:
      return {"c": [value.real.hex(), value.imag.hex()]}
    if kind is type and value in TYPES.values():
      return {"y": value.__name__}
    if foreign is None:
      raise NotPlainError(f"a value of type {kind.__name__}, which is no plain data")
    return {"x": foreign(value)}

  return walk(value, 0)


def unpack(data, foreign: Callable | None = None):
  """The value behind JSON data; ValueError for what pack cannot have written."""
  try:
    return _unpack(data, foreign)
  except (RecursionError, TypeError, KeyError, AttributeError, OverflowError) as error:
    raise ValueError(f"not a packed value: {type(error).__name__}: {error}") from error


def _unpack(data, foreign: Callable | None):
  if isinstance(data, list):
    return [_unpack(item, foreign) for item in data]
  if not isinstance(data, dict):
    return data
  if len(data) != 1:
    raise ValueError(f"an object with {len(data)} keys, wanted one tag")
  ((tag, content),) = data.items()
  if tag == "x" and foreign is not None:
    return foreign(content)
  if tag in NESTED:
    content = [_unpack(item, foreign) for item in content]
    _check_hashes(tag, content)
  return READERS[tag](content)


def _check_hashes(tag: str, content: list) -> None:
  """ValueError for equal hashes made on purpose, over which a set or dict takes quadratic time."""
  keys = [key for key, _ in content] if tag == "d" else content if tag in ("s", "z") else []
  alike = len(keys) - len(set(map(hash, keys)))
  if alike > MOST_ALIKE:
    raise ValueError(f"{alike} of {len(keys)} keys have the hash of another")
