"""Clocks and yardsticks: repeated timings, programs compiled, memory, and read bandwidth."""

import contextlib
import dataclasses
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp

COMPILED = "/jax/core/compile/backend_compile_duration"  # once per program, cached on disk or not


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """Seconds of the first call, which compiles, and of each repeat; programs made in them."""

  first: float
  seconds: tuple[float, ...]
  compiled_first: int
  compiled_later: int

  @property
  def median(self) -> float:
    return statistics.median(self.seconds)

  @property
  def compile(self) -> float:
    """Seconds that the first call took longer."""
    return max(0.0, self.first - self.median)


@dataclasses.dataclass(frozen=True)
class Mark:
  """A moment: the clock, and how many programs had been compiled."""

  clock: float
  compiled: int


def timing(spans: Sequence[tuple[Mark, Mark]], warmup: int) -> Timing:
  """The timing of calls from their beginnings and ends, of which `warmup` >= 1 do not count."""
  seconds = [end.clock - start.clock for start, end in spans]
  programs = [end.compiled - start.compiled for start, end in spans]
  return Timing(
    first=seconds[0],
    seconds=tuple(seconds[warmup:]),
    compiled_first=sum(programs[:warmup]),
    compiled_later=sum(programs[warmup:]),
  )


@contextlib.contextmanager
def marks() -> Iterator[Callable[[], Mark]]:
  """Gives a function that makes marks; programs are counted from the beginning of the context."""
  durations: list[float] = []

  def listen(event: str, duration_secs: float, **_) -> None:
    if event == COMPILED:
      durations.append(duration_secs)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield lambda: Mark(time.perf_counter(), len(durations))
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def peak_memory() -> int:
  """Most bytes in use so far: of the first device, or of this process where devices do not tell."""
  stats = jax.devices()[0].memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return stats["peak_bytes_in_use"]
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_bandwidth(size: float) -> float:
  """Bytes/s at which one device reads about `size` bytes over and over, measured now.

  The better of a chain of matrix-vector products, which is what decoding one row is, and a chain of
  sums. What fits into a cache is read from there, as decoding does; so measure at the size of what
  a decoding step reads.
  """
  width = max(128, round((size / 4) ** 0.5) // 128 * 128)
  x = jnp.ones((width, width))
  each = width * width * 4
  rounds = max(1, 2**28 // each)  # in one program, so that its start does not count

  def product(x, v):
    return x @ v / width

  def total(x, v):
    return v * jnp.sum(x * v[0]) / width**2

  best = 0.0
  for body in (product, total):
    chain = jax.jit(lambda x, v, f=body: jax.lax.fori_loop(0, rounds, lambda _, v: f(x, v), v))
    best = max(best, _rate(lambda run=chain: run(x, jnp.ones(width)), rounds * each))
  return best


def _rate(run: Callable, amount: float, seconds: float = 0.25) -> float:
  """`amount` per second of the fastest call of about a quarter of a second of them."""
  jax.block_until_ready(run())
  fastest, started = float("inf"), time.perf_counter()
  while time.perf_counter() - started < seconds:
    before = time.perf_counter()
    jax.block_until_ready(run())
    fastest = min(fastest, time.perf_counter() - before)
  return amount / fastest


def matmul_rate(dtype: str) -> float:
  """FLOP/s of one matmul of that type on one device, measured now, its fastest call.

  Its width fills an accelerator, and keeps a CPU busy for milliseconds.
  """
  width = 1024 if jax.default_backend() == "cpu" else 8192
  x = jax.random.normal(jax.random.key(0), (width, width), dtype)  # ones would run faster on GPUs
  multiply = jax.jit(lambda a: a @ a)
  return _rate(lambda: multiply(x), 2 * width**3)
