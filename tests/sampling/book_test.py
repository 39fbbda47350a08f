"""Pages are taken once, shared by their readers, and all come back."""

import numpy as np
import pytest

from r1.model import pages
from r1.sampling import book as books
from r1.sampling import requests


def request(sample=0, prompt=(1, 2, 3, 4, 5, 6), limit=8, drawn=()):
  logp = tuple(0.0 for _ in drawn)
  return requests.Request("q", sample, 0, prompt, limit, drawn=drawn, logp=logp)


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
  opened = [book.open(request(sample)) for sample in range(3)]
  assert [new for _, new in opened] == [True, False, False]
  rows = [row for row, _ in opened]
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
  (alone, _) = book.open(request(prompt=(9, 9, 9)))
  crowd = [book.open(request(sample))[0] for sample in range(pages.LANES + 1)]
  shared, own = book.entries([alone, *crowd])
  lanes = list(range(1, pages.LANES + 1))
  assert listed(shared) == [(1, 0, 5, lanes), (1, 0, 5, [pages.LANES + 1])]
  assert listed(own) == [(0, 0, 2, [0])]


def test_an_answer_that_goes_on_has_what_it_drew_in_its_prefix():
  book = books.Book(10, 4)
  row, new = book.open(request(drawn=(7, 8)))
  assert new
  assert row.prefix.tokens == (1, 2, 3, 4, 5, 6, 7)
  assert (row.last, row.position, row.left) == (8, 7, 6)


def test_nothing_is_taken_where_pages_are_lacking():
  book = books.Book(2, 4)
  assert book.open(request()) is None  # its prompt fills both: no page to begin with
  assert sorted(book.free) == [0, 1]
  with pytest.raises(
    ValueError, match=r"take 4 pages of 4 tokens, the cache has 2; .* to 16 or more"
  ):
    book.check(request())


def test_an_answer_that_goes_on_may_take_a_page_more_and_is_refused_without_it():
  """What was drawn fills pages with the prompt, and the rest pages of its own."""
  books.Book(2, 4).check(request(prompt=(1,) * 5, limit=4))
  later = request(prompt=(1,) * 5, limit=4, drawn=(7,))
  assert books.Book(2, 4).open(later) is None
  with pytest.raises(ValueError, match="take 3 pages of 4 tokens, the cache has 2"):
    books.Book(2, 4).check(later)
  books.Book(3, 4).check(later)
  assert books.Book(3, 4).open(later)


def test_entries_have_one_shape_whatever_the_rows():
  book = books.Book(6, 4)
  row, _ = book.open(request(prompt=(1,)))
  for entries, empty in zip(book.entries([row]), book.entries([]), strict=True):
    for a, b in zip(entries.__dict__.values(), empty.__dict__.values(), strict=True):
      assert np.shape(a) == np.shape(b)
