"""Pages of the grown web: the sums stay, the rest comes in its shares, every page by its number."""

import itertools

import pytest

from r1.data.worlds import arithmetic, general, web
from tests.train import tiny

PEOPLE = general.Quality(
  topic=0.9, detail=0.6, rule=0.5, courteous=0.3, tidy=0.8, refuse_harm=0.3, refuse_safe=0.1, leak=0
)


def world(**changes):
  fields = {"share": 0.5, "statements": 0.3, "recaps": 0.2, "thoughts": 0.5, "people": PEOPLE}
  return web.WebWorld(sums=tiny.WORLD, **fields | changes)


def pages(of, count, seed=0, start=0):
  return list(itertools.islice(web.documents(of, seed, start), count))


def test_a_world_of_sums_alone_is_read_as_it_is():
  assert pages(tiny.WORLD, 20) == list(itertools.islice(arithmetic.documents(tiny.WORLD, 0), 20))


def test_pages_that_are_no_sums_come_in_their_share_and_the_sums_stay_where_they_were():
  sums, found = pages(tiny.WORLD, 1000), pages(world(), 1000)
  same = sum(a == b for a, b in zip(sums, found))
  assert 0.45 < same / 1000 < 0.55


def test_a_page_depends_on_the_seed_and_its_number_alone():
  assert pages(world(), 30)[20:] == pages(world(), 10, start=20)
  assert pages(world(), 30) != pages(world(), 30, seed=1)


def test_the_rest_is_statements_recaps_and_conversations_of_the_training_split():
  found = pages(world(share=1.0), 1000)
  talk = [p for p in found if p.prompt.startswith("User:")]
  recaps = [p for p in found if "\\boxed{" in p.response]
  assert 0.43 < len(talk) / 1000 < 0.57
  assert 0.15 < len(recaps) / 1000 < 0.25
  assert 0.4 < sum(p.response.startswith("<think>") for p in talk) / len(talk) < 0.6
  asked = {p.prompt.removeprefix("User: ").removesuffix(" Assistant:") for p in talk}
  assert asked <= {q.prompt for q in general.prompts("train")}
  (value,) = [p.response for p in recaps if p.prompt == recaps[0].prompt][:1]
  total = eval(recaps[0].prompt)  # the sum as the page writes it
  assert f"\\boxed{{{total}}}" in value


@pytest.mark.parametrize(
  ("changes", "message"),
  [({"share": 1.2}, r"share=1\.2"), ({"statements": 0.7, "recaps": 0.5}, "more than 1")],
)
def test_shares_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    world(**changes)
