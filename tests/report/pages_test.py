"""A page of sample texts."""

from r1.report import pages


def test_a_page_shows_every_pair_as_it_is():
  text = pages.samples("sft", [("1 + 1 ?", "<think>2</think>\n2"), ("so", "")])
  assert text.startswith("# sft\n\n## 1\n\n```\n1 + 1 ?\n```\n\n```\n<think>2</think>\n2\n```\n")
  assert text.endswith("## 2\n\n```\nso\n```\n\n```\n\n```\n")


def test_no_text_closes_its_block():
  assert pages.block("a ```` b ``` c") == "`````\na ```` b ``` c\n`````"
