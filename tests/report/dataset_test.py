"""The card of a data set: its numbers, by hand."""

from r1.report import dataset


def line(domain, rounds, tokens):
  messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * rounds
  return {
    "id": f"{domain}/{tokens}",
    "messages": messages,
    "meta": {"domain": domain, "tokens": tokens},
  }


ROWS = [line("math", 1, 10), line("general", 2, 30), line("math", 1, 21)]


def test_domains_rounds_and_tokens_by_hand():
  assert dataset.domains(ROWS) == [
    ("math", 2, 1.0, 15.5),
    ("general", 1, 2.0, 30.0),
    ("total", 3, 4 / 3, 61 / 3),
  ]


def test_a_card_holds_every_table():
  text = dataset.card(
    "harvest",
    ROWS,
    what="What it is.",
    counts={
      "reasoning": {"kept": 2, "dropped": {"wrong": 5}},
      "general": {"kept": 1, "dropped": {}},
    },
    reasons={"wrong": "the answer is wrong"},
    parents={"runs/dev2": "0123456789abcdef0123"},
    digests={"harvest.jsonl": "ffff"},
    settings={"collect.samples": 4},
    file="harvest.jsonl",
    tfds="tfds/harvest/1.0.0",
  )
  for wanted in (
    "# harvest\n\nWhat it is.",
    "| math | 2 | 1.0 | 15.5 |",
    "| reasoning | sampled or read | 7 |",
    "| reasoning | the answer is wrong | 5 |",
    "| general | kept | 1 |",
    "| `runs/dev2` | `0123456789abcdef` |",
    "| `collect.samples` | `4` |",
    "| harvest.jsonl | `ffff` |",
    'builder_from_directory("tfds/harvest/1.0.0")',
  ):
    assert wanted in text
