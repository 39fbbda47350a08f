"""The engine: requests in, finished answers out as they finish (continuous batching).

`sampler.slots` rows decode together in compiled chunks of steps. Between chunks finished rows leave
and waiting requests enter; when nothing waits any more, the batch shrinks. A prompt is computed
once for all samples of its question. A row draws from its own key, so slots, chunks and order
change nothing but rounding.
"""

import collections
import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures

import jax
import numpy as np

from r1.model import config, pages, quantise, unroll
from r1.sampling import book as books
from r1.sampling import chunk, decode, loop
from r1.sampling import requests as requests_lib

PROMPTS = 8  # prompts of one prefill; fewer are padded, or computed one by one


@dataclasses.dataclass
class Stats:
  """What a call of `generate` has done: tokens drawn, slot-steps run (slots times steps of every
  chunk), prompt tokens computed, chunks, and rows put back for want of pages."""

  tokens: int = 0
  slot_steps: int = 0
  prefilled: int = 0
  chunks: int = 0
  put_back: int = 0


@dataclasses.dataclass(frozen=True)
class _Run:
  """What stays the same during one call."""

  params: dict
  cfg: config.ModelConfig
  sampler: decode.SamplerConfig
  eos: tuple[int, ...]
  temperature: float
  key: jax.Array
  send: Callable

  @property
  def slots(self) -> int:
    """Rows of one batch."""
    return self.sampler.slots // self.sampler.in_flight


@dataclasses.dataclass
class _Batch:
  """Rows that decode together. wait: gives (pool, drawn, steps) of the chunk that is running."""

  book: books.Book
  pool: dict
  rows: list[books.Row]
  wait: Callable[[], tuple] | None


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

  With drafts (`sampler.draft`) the plain loop answers, batch by batch.
  While the caller looks at what came, the device is at the next chunk. stop: is shown a row's
  tokens after each chunk, and may say how many of them to keep as the whole answer. stats: is
  added to.
  Raises ValueError where a prompt and its limit do not fit the model, or the cache, and where the
  devices cannot keep `sampler.cache_dtype`.
  """
  decode.check(temperature, eos)
  if sampler.draft != "none":
    if stop is not None:
      raise ValueError(f"draft={sampler.draft!r} has no stop strings; set sampler.draft to none")
    yield from loop.generate(
      params, requests, cfg=cfg, sampler=sampler, temperature=temperature, eos=eos, seed=seed
    )
    return
  if sampler.cache_dtype:
    quantise.check(sampler.cache_dtype)
  if sampler.layout == "unrolled" or (sampler.layout == "auto" and _on_one_cpu(cfg)):
    params, cfg = _unrolled(params, cfg), dataclasses.replace(cfg, lora=None)
  check_mesh(sampler, meshed=cfg.rules is not None)
  with _sender(sampler.in_flight) as send:
    run = _Run(params, cfg, sampler, tuple(eos), temperature, jax.random.key(seed), send)
    yield from _all(run, requests, stop, stats if stats is not None else Stats())


def check_mesh(sampler: decode.SamplerConfig, *, meshed: bool) -> None:
  """Raises ValueError where batches in flight side by side would share a mesh."""
  if meshed and sampler.in_flight > 1:
    raise ValueError(
      f"sampler.in_flight={sampler.in_flight} is for one device; with a mesh it must be 1"
    )


def check(sampler: decode.SamplerConfig, *, meshed: bool, prompt: int, limit: int) -> None:
  """Raises ValueError where `generate` would refuse these settings, before there is a model.

  prompt, limit: tokens of the longest request, of the prompt as many as are known.
  """
  if sampler.draft == "none":  # the plain loop, which drafts, has neither batches nor pages
    check_mesh(sampler, meshed=meshed)
    books.check("the longest answer", prompt, limit, count=sampler.pages, width=sampler.chunk)


def _all(run: _Run, requests, stop, stats: Stats) -> Iterator[requests_lib.Finished]:
  batches = [_empty(run) for _ in range(run.sampler.in_flight)]
  waiting = _Waiting(requests, run, batches[0].book)
  while True:
    for batch in batches:
      done = _settle(batch, stop, stats)
      _admit(run, batch, waiting, stats, most=_share(run, batches, waiting))
      _make_room(batch, waiting, stats)
      _start(run, batch)
      yield from done
    if not any(batch.rows for batch in batches):
      assert waiting.peek() is None, "an empty cache holds every request that was let in"
      return


@contextlib.contextmanager
def _sender(in_flight: int):
  """A function that starts a compiled call and returns what waits for its result.

  One CPU device runs calls of several threads side by side, but those of one thread in turn.
  """
  if in_flight == 1:

    def send(call):
      result = call()  # not waited for by JAX
      return lambda: result

    yield send
    return
  with futures.ThreadPoolExecutor(in_flight) as threads:
    yield lambda call: threads.submit(lambda: jax.block_until_ready(call())).result


def _empty(run: _Run) -> _Batch:
  book = blank(run.sampler)
  given = book.count, book.width, jax.default_backend(), run.sampler.cache_dtype
  return _Batch(book, pages.empty(run.cfg, *given), [], None)


def blank(sampler: decode.SamplerConfig) -> books.Book:
  """The book of one batch's pages, all of them free."""
  return books.Book(sampler.pages, sampler.chunk)


class _Waiting:
  """(request, tokens and their log-probabilities so far) of what is to be begun, checked when it
  comes up; rows may be put back in front."""

  def __init__(self, requests, run: _Run, book: books.Book):
    self.requests, self.book, self.cfg = iter(requests), book, run.cfg
    self.front: collections.deque = collections.deque()

  def count(self, most: int) -> int:
    """How many wait, no more than `most` of them looked for."""
    for request in itertools.islice(self.requests, max(0, most - len(self.front))):
      requests_lib.check(request, self.cfg)
      self.book.check(request)
      self.front.append((request, request.drawn, request.logp))
    return len(self.front)

  def peek(self) -> tuple[requests_lib.Request, Sequence[int], Sequence[float]] | None:
    return self.front[0] if self.count(1) else None


def _on_one_cpu(cfg) -> bool:
  return jax.default_backend() == "cpu" and cfg.rules is None


_unrolled = jax.jit(unroll.unroll, static_argnames="cfg")


def _share(run: _Run, batches: list[_Batch], waiting: _Waiting) -> int:
  """Rows that one batch may hold: all of its slots, or its part of what is left at the end."""
  rows = sum(len(batch.rows) for batch in batches)
  left = rows + waiting.count(run.sampler.slots - rows)
  return min(run.slots, -(-left // len(batches)))


def _admit(run: _Run, batch: _Batch, waiting: _Waiting, stats: Stats, *, most: int) -> None:
  """Fills slots from the queue up to `most` rows, and the pages of the prompts that came."""
  fresh, book = [], batch.book
  while len(batch.rows) < most and (begun := waiting.peek()) is not None:
    if (opened := book.open(*begun, spare=_pages(batch))) is None:
      break
    waiting.front.popleft()
    batch.rows.append(opened[0])
    if opened[1] and opened[0].prefix.tokens:
      fresh.append(opened[0].prefix)
  by_size = collections.defaultdict(list)
  for prefix in fresh:
    by_size[bucket(len(prefix.tokens), run.sampler)].append(prefix)
    stats.prefilled += len(prefix.tokens)
  for size, prefixes in sorted(by_size.items()):
    for part, count in _portions(run, prefixes):
      _prefill(run, batch, part, size, count)


def bucket(tokens: int, sampler: decode.SamplerConfig) -> int:
  """The padded length of a prompt: a doubling of prompt_bucket, up to whole pages."""
  size = sampler.prompt_bucket
  while size < tokens:
    size *= 2
  return size + -size % sampler.chunk


def _portions(run: _Run, prefixes: list[books.Prefix]) -> Iterator[tuple[list, int]]:
  """(prefixes of one compiled call, its rows): whole calls, and calls of one where few are left.

  There are no more than these two shapes; on a mesh, whose shards one row does not fill, the first.
  """
  whole = min(PROMPTS, run.slots)
  few = whole // 4 if run.cfg.rules is None else 0
  while len(prefixes) > few:
    yield prefixes[:whole], whole
    prefixes = prefixes[whole:]
  for prefix in prefixes:
    yield [prefix], 1


def _prefill(run: _Run, batch: _Batch, prefixes: list[books.Prefix], size: int, count: int) -> None:
  """One compiled call: the prefixes' keys and values into their pages."""
  book = batch.book
  token_BL, length_B = np.zeros((count, size), np.int32), np.zeros(count, np.int32)
  page_I = np.full((count, size // book.width), book.count, np.int32)
  for b, prefix in enumerate(prefixes):
    token_BL[b, : len(prefix.tokens)] = prefix.tokens
    length_B[b] = len(prefix.tokens)
    page_I[b, : len(prefix.pages)] = prefix.pages
  given = run.params, batch.pool, token_BL, length_B, page_I
  batch.pool = chunk.prefill(*given, cfg=run.cfg, width=book.width)


def _pages(batch: _Batch) -> int:
  """Pages that the next chunk takes: one for each row that outlives it."""
  return sum(row.left > batch.book.width for row in batch.rows)


def _make_room(batch: _Batch, waiting: _Waiting, stats: Stats) -> None:
  """Gives every row that outlives the next chunk a page for it.

  Where pages are lacking the row that came last goes back to the queue with what it has drawn.
  """
  book = batch.book
  while _pages(batch) > len(book.free):
    row = batch.rows.pop()
    book.close(row)
    waiting.front.appendleft((row.request, row.tokens, row.logp))
    stats.put_back += 1


def _start(run: _Run, batch: _Batch) -> None:
  """Sends the next chunk to the device, and does not wait for it."""
  if not batch.rows:
    return
  book, B = batch.book, _slots(len(batch.rows), run.slots)
  shared, own = book.entries(batch.rows)
  token_B, position_B, budget_B, page_B = np.zeros((4, B), np.int32)
  stream_B3 = np.zeros((B, 3), np.uint32)
  page_B[:] = book.count  # no page
  for b, row in enumerate(batch.rows):
    if row.left > book.width:
      row.pages.append(book.take())
      page_B[b] = row.pages[-1]
    token_B[b], position_B[b], budget_B[b] = row.last, row.position, row.left
    stream_B3[b] = requests_lib.stream(row.request)
  rows = chunk.Rows(token_B, position_B, budget_B, stream_B3, page_B)
  heat = np.float32(run.temperature)
  given = run.params, batch.pool, rows, shared, own, run.key, heat
  kind = {"cfg": run.cfg, "sampler": run.sampler, "eos": run.eos}
  batch.wait = run.send(functools.partial(chunk.run, *given, **kind))


def _slots(rows: int, slots: int) -> int:
  """The width of the next chunk: the slots halved as often as the rows allow."""
  while slots % 2 == 0 and slots // 2 >= rows:
    slots //= 2
  return slots


def _settle(batch: _Batch, stop, stats: Stats) -> list[requests_lib.Finished]:
  """Waits for the batch's chunk; the answers that it finished leave the batch."""
  if batch.wait is None:
    return []
  batch.pool, drawn, steps = batch.wait()
  drawn, steps = jax.device_get((drawn, steps))
  rows, batch.rows, batch.wait, done = batch.rows, [], None, []
  stats.chunks += 1
  stats.slot_steps += drawn.length_B.shape[0] * int(steps)
  for b, row in enumerate(rows):
    n = int(drawn.length_B[b])
    stats.tokens += n
    row.tokens += drawn.token_BM[b, :n].tolist()
    row.logp += drawn.logp_BM[b, :n].tolist()
    kept = stop(row.tokens) if stop else None
    ended = bool(drawn.ended_B[b]) or kept is not None
    if not ended and row.left > 0:
      batch.rows.append(row)
      continue
    batch.book.close(row)
    tokens, logp = np.asarray(row.tokens[:kept], np.int32), np.asarray(row.logp[:kept], np.float32)
    done.append(requests_lib.Finished(row.request, tokens, logp, not ended))
  return done
