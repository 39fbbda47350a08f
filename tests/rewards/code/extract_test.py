"""The last closed fence of the right language, after the thought; no text breaks the search."""

import time

import hypothesis
import pytest
from hypothesis import strategies

from r1.rewards.code import extract


@pytest.mark.parametrize(
  ("text", "code"),
  [
    ("```python\nprint(1)\n```", "print(1)\n"),
    ("<think>```python\n0\n```</think>So:\n```python\nprint(1)\n```\nDone.", "print(1)\n"),
    ("```py\n1\n```\nor\n```python3\n2\n```", "2\n"),
    ("```python\n1\n```\nprints\n```text\n1\n```", "1\n"),
    ("```cpp\nint x;\n```\n```Python\n1\n```", "1\n"),
    ("1. first\n   ```python\n   x = 1\n   ```\n", "   x = 1\n"),
    ("````python\n'''\n```\n'''\n````", "'''\n```\n'''\n"),
    ("```python title=a\n1\n  ```  ", "1\n"),
    ("```python\r\n1\r\n```\r\n", "1\r\n"),
    ("```python\n1\n```\n```python\n2", None),  # the last block is cut off
    ("```python\n1", None),
    ("```python\n\n```", None),
    ("```\n1\n```", None),  # no language named
    ("```javascript\n1\n```", None),
    ("print(1)", None),
    ("<think>```python\n1\n```", None),  # a thought that never ends
    ("<think>a</think><think>```python\n1\n```", None),
    ("<think>```python\n1\n```</think>It prints 1.", None),
    ("use ```python print(1)``` here", None),
    ("", None),
  ],
)
def test_the_program_is_the_last_closed_block_of_its_language(text, code):
  assert extract.code(text, "python") == code


def test_cpp_goes_by_several_names():
  for tag in ("cpp", "c++", "cc", "C++"):
    assert extract.code(f"```{tag}\nint x;\n```", "cpp") == "int x;\n"


PIECES = strategies.sampled_from(
  ["```", "````", "`", "python", "\n", " ", "\t", "<think>", "</think>", "x = 1", "\ud800", "~~~"]
)


@hypothesis.settings(max_examples=10_000, deadline=None, derandomize=True, database=None)
@hypothesis.given(
  strategies.one_of(
    strategies.lists(PIECES, max_size=30).map("".join),
    strategies.text(strategies.characters(categories=None), max_size=200),
    strategies.binary(max_size=200).map(lambda b: b.decode("utf-8", "surrogateescape")),
  )
)
def test_any_text_has_a_closed_block_or_none(text):
  code = extract.code(text, "python")
  assert code is None or (code.strip() and f"\n{code}" in text.rpartition("</think>")[2])


@pytest.mark.parametrize(
  "text",
  [
    "`" * 10**7,
    "```python\n" * 10**6,
    "```python\n```\n" * 700_000,
    " " * 10**7,
    "\n" * 10**7,
    "```python\n" + "x" * 10**7,
    "```python\n" + "x = 1\n" * 1_600_000 + "```",
    "<think>" * 1_400_000,
    "</think>```" * 900_000,
    ("`" * 100 + "x\n") * 100_000,
  ],
  ids=range(10),
)
def test_ten_megabytes_take_seconds_at_most(text):
  started = time.monotonic()
  extract.code(text, "python")
  assert time.monotonic() - started < 5
