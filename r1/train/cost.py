"""What a compiled program takes of each device: memory, arithmetic, and talk between devices."""

import dataclasses
import math
import re
import time

import jax

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BITS = {"pred": 8, "bf16": 16}  # other types end in their number of bits
FULL = "RESOURCE_EXHAUSTED"  # in XLA's message where memory does not suffice
_RESULT = re.compile(rf" = (?P<types>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*)\[([0-9,]*)\]")


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one device, in bytes, FLOPs and seconds of compiling.

  arguments, outputs: of them `alias` bytes share memory, which donation gives. temporary: most held
  beside them at one time, without the gaps that placing them leaves. flops, accessed: as the
  compiler counts them, the body of a loop once; None where it does not say.
  collectives: {kind: (how many stand in the program, bytes of their results)}, loops once too.
  """

  arguments: int
  temporary: int
  outputs: int
  alias: int
  flops: float | None
  accessed: float | None
  collectives: dict[str, tuple[int, int]]
  seconds: float

  @property
  def peak(self) -> int:
    """All of it together."""
    return self.arguments + self.temporary + self.outputs - self.alias


class DoesNotFit(Exception):
  """The compiler found no room on the device; its own account is the message."""


def measure(lowered: jax.stages.Lowered) -> Cost:
  """Compiles a lowered program and reads what it takes. Raises DoesNotFit."""
  started = time.monotonic()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if FULL not in str(error):
      raise
    raise DoesNotFit(str(error)) from error
  memory, count = compiled.memory_analysis(), compiled.cost_analysis() or {}
  text = compiled.as_text()
  assert memory is not None, "the CPU's and the TPU's compilers say it"
  assert text is not None, "the CPU's and the TPU's compilers have it"
  return Cost(
    arguments=memory.argument_size_in_bytes,
    temporary=temporary(compiled),
    outputs=memory.output_size_in_bytes,
    alias=memory.alias_size_in_bytes,
    flops=count.get("flops"),
    accessed=count.get("bytes accessed"),
    collectives=collectives(text),
    seconds=time.monotonic() - started,
  )


def temporary(compiled: jax.stages.Compiled) -> int:
  """Bytes that a program holds beside its arguments and results, when it holds most.

  The TPU's compiler has them in its peak, by which it decides whether a program fits; its
  `temp_size` may be half as much again. Elsewhere `temp_size` is the buffer that is allocated, and
  the CPU's peak is without it.
  """
  memory = compiled.memory_analysis()
  assert memory is not None, "the compilers of CPUs, GPUs and TPUs say it"
  home = jax.tree.leaves(compiled.output_shardings)[0]
  if next(iter(home.device_set)).platform != "tpu":
    return memory.temp_size_in_bytes
  named = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  return memory.peak_memory_in_bytes - named


def collectives(text: str) -> dict[str, tuple[int, int]]:
  """{kind: (number, bytes)} of the operations between devices in a compiled program's text."""
  found: dict[str, tuple[int, int]] = {}
  for line in text.splitlines():
    if match := _RESULT.search(line):
      sizes = [_bytes(*array) for array in _ARRAY.findall(match["types"])]
      # An operation that is started here and awaited elsewhere names its operands too.
      size = max(sizes) if match["start"] else sum(sizes)
      number, total = found.get(match["kind"], (0, 0))
      found[match["kind"]] = number + 1, total + size
  return found


def _bytes(kind: str, shape: str) -> int:
  bits = BITS.get(kind) or int(re.sub(r"\D", "", kind[1:]) or 8)
  return math.prod(int(n) for n in shape.split(",") if n) * bits // 8


def lines(cost: Cost, room: float | None) -> list[str]:
  """A step's cost in words. room: bytes of the device, None where they are not known."""
  talk = [f"{kind} {n} ({_gb(size)})" for kind, (n, size) in sorted(cost.collectives.items())]
  verdict = (
    "" if room is None else f" of {_gb(room)}: " + ("fits" if cost.peak <= room else "DOES NOT FIT")
  )
  return [
    f"peak {_gb(cost.peak)} a device{verdict}",
    f"arguments {_gb(cost.arguments)}, temporaries {_gb(cost.temporary)}, results "
    f"{_gb(cost.outputs)} of which {_gb(cost.alias)} in the place of arguments",
    f"FLOPs {_count(cost.flops)}, bytes accessed {_count(cost.accessed)}, each loop's body once",
    f"between devices, each loop's body once: {', '.join(talk) or 'nothing'}",
    f"compiled in {cost.seconds:.0f} s",
  ]


def _gb(size: float) -> str:
  return f"{size / 1e9:.2f} GB"


def _count(value: float | None) -> str:
  return "not counted" if value is None else f"{value:.3g}"


def share(cost: Cost, cache) -> float:
  """A step's temporaries as a share of the cache that it was given, on each device.

  One that updates its cache in place needs a small part of it; a copy of it shows as 1. cache:
  ShapeDtypeStructs that say where they live. Raises ValueError where the results do not take its
  place.
  """
  size = held(cache)
  if cost.alias < size:
    raise ValueError(
      f"{cost.alias:,} bytes of a cache of {size:,} are updated in place; does the step return it, "
      "and was it donated?"
    )
  return cost.temporary / size


def held(tree) -> int:
  """Bytes of one device's part of ShapeDtypeStructs that say where they live."""
  leaves = jax.tree.leaves(tree)
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in leaves)
