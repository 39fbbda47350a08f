"""The host's book of the paged cache: which row reads which page, and which pages are free."""

import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np

from r1.model import pages
from r1.sampling import requests


@dataclasses.dataclass
class Prefix:
  """Tokens whose keys and values stand in pages that rows share; `users` rows read them now."""

  tokens: tuple[int, ...]
  pages: list[int]
  users: int


@dataclasses.dataclass
class Row:
  """A request being answered: its shared prefix, its own pages, and what it has drawn so far."""

  request: requests.Request
  prefix: Prefix
  pages: list[int]
  tokens: list[int]
  logp: list[float]

  @property
  def last(self) -> int:
    """The token whose keys and values are not held yet."""
    return self.tokens[-1] if self.tokens else self.request.prompt[-1]

  @property
  def position(self) -> int:
    """Of the last token."""
    return len(self.request.prompt) + len(self.tokens) - 1

  @property
  def left(self) -> int:
    """Tokens that it may still draw."""
    return self.request.limit - len(self.tokens)


def pages_for(tokens: int, width: int) -> int:
  return -(-tokens // width)


def check(what: str, held: int, left: int, *, count: int, width: int) -> None:
  """Raises ValueError where `count` pages of `width` tokens could not hold one answer.

  held: tokens that it begins with, its prompt among them. left: most that are drawn.
  """
  need = pages_for(held - 1, width) + pages_for(left, width)
  if need > count:
    raise ValueError(
      f"{what}: {held} tokens and {left} new ones take {need} pages of {width} tokens, the cache "
      f"has {count}; set sampler.cache_tokens to {need * width} or more for each batch in flight"
    )


class Book:
  """Pages of `width` tokens, `count` in all; prefixes are found by their tokens."""

  def __init__(self, count: int, width: int):
    self.count, self.width = count, width
    self.free = list(range(count))
    self.prefixes: dict[tuple[int, ...], Prefix] = {}

  def pages_for(self, tokens: int) -> int:
    return pages_for(tokens, self.width)

  def check(self, request: requests.Request) -> None:
    """Raises ValueError where the whole cache could not hold this one answer."""
    held = len(request.prompt) + len(request.drawn)
    left = request.limit - len(request.drawn)
    check(f"question {request.question!r}", held, left, count=self.count, width=self.width)

  def open(
    self, request: requests.Request, tokens: Sequence[int], logp: Sequence[float], *, spare: int
  ) -> tuple[Row, bool] | None:
    """(a row that goes on from these tokens, must its prefix be filled?), or None: too few pages.

    spare: pages that other rows will take before the next look.
    """
    whole = (*request.prompt, *tokens)[:-1]
    prefix, new = self.prefixes.get(whole), False
    need = 0 if prefix else self.pages_for(len(whole))
    if need + 1 + spare > len(self.free):  # one more, so that the row can begin
      return None
    if prefix is None:
      prefix, new = Prefix(whole, [self.take() for _ in range(need)], 0), True
      self.prefixes[whole] = prefix
    prefix.users += 1
    return Row(request, prefix, [], list(tokens), list(logp)), new

  def take(self) -> int:
    """A free page, the lowest one."""
    return heapq.heappop(self.free)

  def close(self, row: Row) -> None:
    """Gives back the row's pages, and the prefix's after its last reader."""
    row.prefix.users -= 1
    back = list(row.pages)
    if not row.prefix.users:
      back += self.prefixes.pop(row.prefix.tokens).pages
    for page in back:
      heapq.heappush(self.free, page)

  def entries(self, rows: list[Row]) -> tuple[pages.Entries, pages.Entries]:
    """(shared, own): who reads which page. A page with one reader counts as the reader's own."""
    readers: dict[int, list[int]] = {}
    for b, row in enumerate(rows):
      readers.setdefault(id(row.prefix), []).append(b)
    shared, own = [], []
    for b, row in enumerate(rows):
      group = readers.get(id(row.prefix), [])
      if group and group[0] == b:
        lanes = 1 if len(group) == 1 else pages.LANES
        parts = [group[i : i + lanes] for i in range(0, len(group), lanes)]
        found = self._listed(row.prefix.pages, 0, len(row.prefix.tokens))
        (own if lanes == 1 else shared).extend((*page, part) for page in found for part in parts)
      start = len(row.prefix.tokens)
      own.extend((*page, [b]) for page in self._listed(row.pages, start, None))
    return self._filled(shared, pages.LANES), self._filled(own, 1)

  def _listed(self, held: list[int], start: int, tokens: int | None):
    """(page, position of its first token, tokens in it) of pages that follow each other."""
    for i, page in enumerate(held):
      fill = self.width if tokens is None else min(self.width, tokens - i * self.width)
      yield page, start + i * self.width, fill

  def _filled(self, listed, lanes: int) -> pages.Entries:
    """The list as arrays of one size, whatever its length; larger where a crowd needs it.

    The size is a power of two, so that `pages.walk` can read many entries at a time.
    """
    # A page of one row has one entry, a shared one as many as its readers fill lanes.
    usual = self.count if lanes == 1 else 2 * self.count
    room = 1 << (max(usual, len(listed)) - 1).bit_length()
    page_I, start_I, fill_I = (np.zeros(room, np.int32) for _ in range(3))
    reader_IG = np.full((room, lanes), -1, np.int32)
    for i, (page, start, fill, readers) in enumerate(listed):
      page_I[i], start_I[i], fill_I[i] = page, start, fill
      reader_IG[i, : len(readers)] = readers
    return pages.Entries(page_I, start_I, fill_I, reader_IG, np.array(len(listed), np.int32))
