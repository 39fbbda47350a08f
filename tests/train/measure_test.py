"""Clocks count what they say; rates and memory are plausible, which is all that a test can know."""

import pathlib
import re

import jax
import jax.numpy as jnp

from r1.train import measure


def test_programs_are_counted_where_they_are_made():
  def double(x):
    return x * 2

  three, four = jnp.zeros(3), jnp.zeros(4)
  with measure.marks() as mark:
    start, run = mark(), jax.jit(double)
    run(three)
    one = mark()
    run(three)
    again = mark()
    run(four)
    two = mark()
  assert (one.compiled, again.compiled, two.compiled) == (1, 1, 2)
  assert start.clock <= one.clock <= again.clock <= two.clock
  run(jnp.zeros(5))
  assert mark().compiled == 2, "nothing is counted behind the context"


def test_warm_up_is_left_out_and_the_first_call_tells_what_compiling_costs():
  moments = [(0, 10, 4), (10, 11, 2), (11, 13, 0), (13, 16, 1), (16, 17, 0)]
  spans, compiled = [], 0
  for begin, end, made in moments:
    start = measure.Mark(begin, compiled)
    compiled += made
    spans.append((start, measure.Mark(end, compiled)))
  timing = measure.timing(spans, warmup=2)
  assert timing.first == 10
  assert timing.seconds == (2, 3, 1)
  assert timing.median == 2
  assert timing.compile == 8
  assert (timing.compiled_first, timing.compiled_later) == (6, 1)


def test_a_first_call_faster_than_the_others_compiled_nothing():
  spans = [(measure.Mark(0, 0), measure.Mark(1, 0)), (measure.Mark(1, 0), measure.Mark(3, 0))]
  assert measure.timing(spans, warmup=1).compile == 0


def test_the_measured_rates_are_plausible():
  assert 1e8 < measure.matmul_rate("float32") < 1e16
  assert 1e7 < measure.read_bandwidth(2**20) < 1e14


def test_the_peak_of_memory_is_the_kernel_s():
  status = pathlib.Path("/proc/self/status").read_text()
  kernel = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
  assert abs(measure.peak_memory() - kernel) < 2**24
