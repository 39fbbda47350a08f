"""The engine: requests in, finished answers out as they finish (continuous batching).

`sampler.slots` rows decode together in compiled chunks of steps. Between chunks finished rows leave
and waiting requests enter; when nothing waits any more, the batch shrinks. A prompt is computed
once for all samples of its question. A row draws from its own key, so slots, chunks and order
change nothing but rounding.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from r1.model import pages, unroll
from r1.sampling import book as books
from r1.sampling import chunk, decode
from r1.sampling import requests as requests_lib

PROMPTS = 8  # prompts of one prefill; fewer are padded


@dataclasses.dataclass
class Stats:
  """What a call of `generate` has done: tokens drawn, slot-steps run (slots times steps of every
  chunk), prompt tokens computed, chunks, and rows put back for want of pages."""

  tokens: int = 0
  slot_steps: int = 0
  prefilled: int = 0
  chunks: int = 0
  put_back: int = 0


def generate(
  params,
  requests: Iterable[requests_lib.Request],
  *,
  cfg,
  sampler: decode.SamplerConfig,
  temperature: float,
  eos: tuple[int, ...],
  seed: int,
  stop: Callable[[list[int]], int | None] | None = None,
  stats: Stats | None = None,
) -> Iterator[requests_lib.Finished]:
  """Answers every request at a temperature (0: greedy); an answer comes when it is done.

  While the caller looks at what came, the device is at the next chunk. stop: is shown a row's
  tokens after each chunk, and may say how many of them to keep as the whole answer. stats: is
  added to.
  Raises ValueError where a prompt and its limit do not fit the model's context, or the cache.
  """
  if temperature < 0:
    raise ValueError(f"temperature={temperature} must be >= 0; 0 is greedy")
  if sampler.layout == "unrolled" or (sampler.layout == "auto" and _on_one_cpu(cfg)):
    params, cfg = _unrolled(params, cfg), dataclasses.replace(cfg, lora=None)
  width = sampler.chunk
  book = books.Book(sampler.cache_tokens // width, width)
  run = _Run(params, cfg, sampler, tuple(eos), temperature, jax.random.key(seed), book)
  waiting = _Waiting(requests, book, cfg)
  stats = stats if stats is not None else Stats()
  pool = pages.empty(cfg, book.count, width)
  rows: list[books.Row] = []
  done: list[requests_lib.Finished] = []
  while True:
    rows, pool = _admit(run, rows, waiting, pool, stats)
    if not rows:
      break
    rows = _make_room(run, rows, waiting, stats)
    pool, drawn, steps = _step(run, rows, pool)
    yield from done
    rows, done = _settle(run, rows, drawn, int(steps), stop, stats)
  yield from done


@dataclasses.dataclass(frozen=True)
class _Run:
  """What stays the same during one call."""

  params: dict
  cfg: object
  sampler: decode.SamplerConfig
  eos: tuple[int, ...]
  temperature: float
  key: jax.Array
  book: books.Book


class _Waiting:
  """Requests not yet begun, checked when they come up; some may be put back in front."""

  def __init__(self, requests, book: books.Book, cfg):
    self.requests, self.book, self.cfg = iter(requests), book, cfg
    self.front: collections.deque = collections.deque()

  def peek(self) -> requests_lib.Request | None:
    if not self.front:
      for request in itertools.islice(self.requests, 1):
        requests_lib.check(request, self.cfg.context)
        self.book.check(request)
        self.front.append(request)
    return self.front[0] if self.front else None


def _on_one_cpu(cfg) -> bool:
  return jax.default_backend() == "cpu" and cfg.rules is None


_unrolled = jax.jit(unroll.unroll, static_argnames="cfg")


def _admit(run: _Run, rows, waiting: _Waiting, pool, stats: Stats):
  """Fills empty slots from the queue, and the pages of the prompts that came with them."""
  rows, fresh = list(rows), []
  while len(rows) < run.sampler.slots and (request := waiting.peek()) is not None:
    if len(run.book.free) <= len(rows) or (opened := run.book.open(request)) is None:
      break
    waiting.front.popleft()
    rows.append(opened[0])
    if opened[1]:
      fresh.append(opened[0].prefix)
  by_size = collections.defaultdict(list)
  for prefix in fresh:
    if prefix.tokens:
      by_size[_bucket(len(prefix.tokens), run.sampler)].append(prefix)
      stats.prefilled += len(prefix.tokens)
  for size, prefixes in sorted(by_size.items()):
    for i in range(0, len(prefixes), PROMPTS):
      pool = _prefill(run, prefixes[i : i + PROMPTS], size, pool)
  return rows, pool


def _bucket(tokens: int, sampler: decode.SamplerConfig) -> int:
  """The padded length of a prompt: a doubling of prompt_bucket, up to whole pages."""
  size = sampler.prompt_bucket
  while size < tokens:
    size *= 2
  return size + -size % sampler.chunk


def _prefill(run: _Run, prefixes: list[books.Prefix], size: int, pool):
  """One compiled call: the prefixes' keys and values into their pages."""
  book, count = run.book, min(PROMPTS, run.sampler.slots)
  token_BL, length_B = np.zeros((count, size), np.int32), np.zeros(count, np.int32)
  page_I = np.full((count, size // book.width), book.count, np.int32)
  for b, prefix in enumerate(prefixes):
    token_BL[b, : len(prefix.tokens)] = prefix.tokens
    length_B[b] = len(prefix.tokens)
    page_I[b, : len(prefix.pages)] = prefix.pages
  given = run.params, pool, token_BL, length_B, page_I
  return chunk.prefill(*given, cfg=run.cfg, width=book.width)


def _make_room(run: _Run, rows: list[books.Row], waiting: _Waiting, stats: Stats):
  """Gives every row that outlives the next chunk a page for it.

  Where pages are lacking the row that came last goes back to the queue with what it has drawn.
  """
  rows, width = list(rows), run.book.width
  while sum(row.left > width for row in rows) > len(run.book.free):
    row = rows.pop()
    run.book.close(row)
    again = dataclasses.replace(row.request, drawn=tuple(row.tokens), logp=tuple(row.logp))
    waiting.front.appendleft(again)
    stats.put_back += 1
  return rows


def _step(run: _Run, rows: list[books.Row], pool):
  """Starts a chunk: (pool, drawn, steps), not waited for."""
  book, sampler = run.book, run.sampler
  B = _slots(len(rows), sampler.slots)
  shared, own = book.entries(rows)
  for row in rows:
    if row.left > book.width:
      row.pages.append(book.take())
  numbers = np.zeros((4, B), np.int32)
  numbers[3], stream_B3 = book.count, np.zeros((B, 3), np.uint32)
  for b, row in enumerate(rows):
    page = row.pages[-1] if row.left > book.width else book.count
    numbers[:, b] = row.last, row.position, row.left, page
    stream_B3[b] = requests_lib.stream(row.request)
  given = chunk.Rows(*numbers[:3], stream_B3, numbers[3])
  return chunk.run(
    run.params,
    pool,
    given,
    shared,
    own,
    run.key,
    np.float32(run.temperature),
    cfg=run.cfg,
    sampler=sampler,
    eos=run.eos,
  )


def _slots(rows: int, slots: int) -> int:
  """The width of the next chunk: the slots halved as often as the rows allow."""
  while slots % 2 == 0 and slots // 2 >= rows:
    slots //= 2
  return slots


def _settle(run: _Run, rows, drawn: decode.Drawn, steps: int, stop, stats: Stats):
  """(rows that go on, answers that are finished) after a chunk."""
  drawn = jax.device_get(drawn)
  stats.chunks += 1
  stats.slot_steps += drawn.length_B.shape[0] * steps
  going, done = [], []
  for b, row in enumerate(rows):
    n = int(drawn.length_B[b])
    stats.tokens += n
    row.tokens += drawn.token_BM[b, :n].tolist()
    row.logp += drawn.logp_BM[b, :n].tolist()
    kept = stop(row.tokens) if stop else None
    ended = bool(drawn.ended_B[b]) or kept is not None
    if not ended and row.left > 0:
      going.append(row)
      continue
    run.book.close(row)
    tokens, logp = np.asarray(row.tokens[:kept], np.int32), np.asarray(row.logp[:kept], np.float32)
    done.append(requests_lib.Finished(row.request, tokens, logp, not ended))
  return going, done
