"""Pages are taken once, shared by their readers, and all come back."""

import numpy as np
import pytest

from r1.model import pages
from r1.sampling import book as books
from r1.sampling import requests


def request(sample=0, prompt=(1, 2, 3, 4, 5, 6), limit=8, drawn=()):
  logp = tuple(0.0 for _ in drawn)
  return requests.Request("q", sample, 0, prompt, limit, drawn=drawn, logp=logp)


def opened(book, asked, spare=0):
  return book.open(asked, asked.drawn, asked.logp, spare=spare)


def listed(entries: pages.Entries):
  n = int(entries.count)
  return [
    (int(p), int(s), int(f), [int(r) for r in readers if r >= 0])
    for p, s, f, readers in zip(
      entries.page_I[:n], entries.start_I[:n], entries.fill_I[:n], entries.reader_IG[:n]
    )
  ]


def test_a_group_shares_its_prompts_pages_and_gives_them_back_once():
  book = books.Book(10, 4)
  found = [opened(book, request(sample)) for sample in range(3)]
  assert [new for _, new in found] == [True, False, False]
  rows = [row for row, _ in found]
  assert len(book.free) == 8  # five tokens without the prompt's last one: two pages
  rows[1].pages.append(book.take())
  shared, own = book.entries(rows)
  assert listed(shared) == [(0, 0, 4, [0, 1, 2]), (1, 4, 1, [0, 1, 2])]
  assert listed(own) == [(2, 5, 4, [1])]
  for row in rows[:2]:
    book.close(row)
  assert len(book.free) == 8
  book.close(rows[2])
  assert sorted(book.free) == list(range(10))
  assert not book.prefixes


def test_a_page_with_one_reader_is_its_own_and_one_with_many_is_entered_again():
  book = books.Book(40, 8)
  (alone, _) = opened(book, request(prompt=(9, 9, 9)))
  crowd = [opened(book, request(sample))[0] for sample in range(pages.LANES + 1)]
  shared, own = book.entries([alone, *crowd])
  lanes = list(range(1, pages.LANES + 1))
  assert listed(shared) == [(1, 0, 5, lanes), (1, 0, 5, [pages.LANES + 1])]
  assert listed(own) == [(0, 0, 2, [0])]


def test_a_crowd_behind_a_long_prompt_has_an_entry_for_each_of_its_lanes():
  """Six pages for five groups of lanes: more entries than twice the pages of this cache."""
  book = books.Book(7, 4)
  crowd = [opened(book, request(s, prompt=tuple(range(25))))[0] for s in range(4 * pages.LANES + 1)]
  shared, own = book.entries(crowd)
  assert int(shared.count) == 6 * 5
  assert [page for page, *_ in listed(shared)] == sorted([*range(6)] * 5)
  assert int(own.count) == 0


def test_an_answer_that_goes_on_has_what_it_drew_in_its_prefix():
  book = books.Book(10, 4)
  row, new = opened(book, request(drawn=(7, 8)))
  assert new
  assert row.prefix.tokens == (1, 2, 3, 4, 5, 6, 7)
  assert (row.last, row.position, row.left) == (8, 7, 6)


def test_nothing_is_taken_where_pages_are_lacking():
  book = books.Book(2, 4)
  assert opened(book, request()) is None  # its prompt fills both: no page to begin with
  assert sorted(book.free) == [0, 1]
  larger = books.Book(4, 4)
  assert opened(larger, request(), spare=2) is None
  assert opened(larger, request(), spare=1)
  assert opened(larger, request(1), spare=2) is None  # the prompt is there, the page is not
  with pytest.raises(
    ValueError, match=r"take 4 pages of 4 tokens, the cache has 2; .* to 16 or more"
  ):
    book.check(request())


def test_an_answer_that_goes_on_may_take_a_page_more_than_it_took_whole():
  """Its new tokens begin a page of their own: 5 + 4 tokens fit two pages, 6 + 3 do not."""
  book = books.Book(2, 4)
  whole = request(prompt=(1, 2, 3, 4, 5), limit=4)
  book.check(whole)
  assert opened(book, whole)
  with pytest.raises(ValueError, match="6 tokens and 3 new ones take 3 pages of 4"):
    book.check(request(prompt=(1, 2, 3, 4, 5), limit=4, drawn=(7,)))


def test_entries_have_one_shape_whatever_the_rows():
  book = books.Book(6, 4)
  row, _ = opened(book, request(prompt=(1,)))
  for entries, empty in zip(book.entries([row]), book.entries([]), strict=True):
    for a, b in zip(entries.__dict__.values(), empty.__dict__.values(), strict=True):
      assert np.shape(a) == np.shape(b)
