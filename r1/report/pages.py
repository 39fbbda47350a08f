"""A page of sample texts, for people to read."""

import re
from collections.abc import Sequence


def samples(title: str, texts: Sequence[tuple[str, str]]) -> str:
  """Markdown of (prompt, answer) pairs, each as it is, in blocks that no text can close."""
  parts = [f"# {title}"]
  for number, (prompt, answer) in enumerate(texts, 1):
    parts += [f"## {number}", block(prompt), block(answer)]
  return "\n\n".join(parts) + "\n"


def block(text: str) -> str:
  """A fenced block, with a fence longer than any run of backticks in the text."""
  longest = max(map(len, re.findall("`+", text)), default=0)
  fence = "`" * max(3, longest + 1)
  return f"{fence}\n{text}\n{fence}"
