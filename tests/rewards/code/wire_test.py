"""Plain values cross unchanged, nothing else crosses, and any data is read or refused."""

import collections
import contextlib
import enum
import json
import math
import sys
import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.rewards.code import wire

SCALARS = (
  strategies.none()
  | strategies.booleans()
  | strategies.integers()
  | strategies.floats(allow_nan=False)
  | strategies.text(strategies.characters(categories=None))
  | strategies.binary()
  | strategies.complex_numbers(allow_nan=False)
)
KEYS = strategies.text() | strategies.integers() | strategies.tuples(strategies.integers())
PLAIN = strategies.recursive(
  SCALARS,
  lambda inner: (
    strategies.lists(inner)
    | strategies.lists(inner).map(tuple)
    | strategies.dictionaries(KEYS, inner)
    | strategies.sets(KEYS)
    | strategies.frozensets(KEYS)
  ),
  max_leaves=20,
)


def crossed(value):
  return wire.unpack(json.loads(json.dumps(wire.pack(value))))


@hypothesis.settings(max_examples=500, deadline=None, derandomize=True, database=None)
@hypothesis.given(PLAIN)
def test_plain_values_cross_with_their_types(value):
  assert crossed(value) == value
  assert type(crossed(value)) is type(value)


def test_odd_but_plain_values_cross():
  assert math.isnan(crossed(float("nan")))
  assert crossed([math.inf, -math.inf]) == [math.inf, -math.inf]
  assert crossed(1 << 100_000) == 1 << 100_000  # too long for decimal digits
  assert crossed({1: int, "b": str}) == {1: int, "b": str}
  assert crossed(collections.Counter("aab")) == {"a": 2, "b": 1}
  assert crossed(bytearray(b"ab")) == bytearray(b"ab")


class Number(int):
  """Equal to whatever it is compared with."""

  __hash__ = int.__hash__

  def __eq__(self, other):
    return True


class Colour(enum.IntEnum):
  RED = 1


@pytest.mark.parametrize(
  "value",
  [Number(1), Colour.RED, object(), len, Number, iter([]), range(3), json, {1: Number(2)}, [[...]]],
  ids=lambda value: type(value).__name__,
)
def test_nothing_else_crosses(value):
  with pytest.raises(wire.NotPlainError, match="plain"):
    wire.pack(value)


def test_what_is_too_deep_too_large_or_cyclic_is_refused():
  deep, wide, cyclic = [], [1], []
  for _ in range(10_000):
    deep = [deep]
  for _ in range(60):
    wide = [wide, wide]
  cyclic.append(cyclic)
  for value in (deep, wide, cyclic):
    with pytest.raises(wire.NotPlainError, match="nested over 100 deep"):
      wire.pack(value)


def test_something_foreign_has_a_stand_in_where_one_is_asked_for():
  packed = wire.pack([1, object], lambda value: value.__name__)
  assert wire.unpack(packed, lambda name: f"<{name}>") == [1, "<object>"]
  with pytest.raises(ValueError, match="not a packed value"):
    wire.unpack(packed)


@pytest.mark.parametrize("tag", ["s", "z", "d"])
def test_keys_of_one_hash_are_refused_before_they_cost_time(tag):
  """Multiples of 2**61 - 1 hash to 0; so many would take minutes."""
  keys = [k * sys.hash_info.modulus for k in range(50_000)]
  packed = {tag: [[key, 0] for key in keys] if tag == "d" else keys}
  started = time.process_time()
  with pytest.raises(ValueError, match="49999 of 50000 keys have the hash of another"):
    wire.unpack(packed)
  assert time.process_time() - started < 5
  assert crossed(set(range(-50_000, 50_000))) == set(range(-50_000, 50_000))


TAGS = strategies.sampled_from([*wire.READERS, "x"])
JSON = strategies.recursive(
  strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(),
  lambda inner: strategies.lists(inner) | strategies.dictionaries(TAGS | strategies.text(), inner),
  max_leaves=12,
)


@hypothesis.settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@hypothesis.given(JSON)
def test_any_data_is_read_or_refused_with_a_value_error(data):
  with contextlib.suppress(ValueError):
    wire.unpack(data)
