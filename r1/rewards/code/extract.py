"""The program in a response: the last closed fence of its language, after the thought."""

import re
from collections.abc import Iterator

FENCE = re.compile(r"^[ \t]*(`{3,})([^\n`]*)$", re.MULTILINE)
TAGS = {
  "python": ("python", "python3", "py"),
  "cpp": ("cpp", "c++", "cc", "cxx"),
}


def code(text: str, language: str) -> str | None:
  """The source as written, or None; fails closed, linear in the text.

  Only text after the last </think> counts, and a thought that never ends has no program. The
  fence must name the language and be closed: an earlier block never stands in for a last one
  that is cut off.
  """
  _, _, after = text.rpartition("</think>")
  if "<think>" in after:
    return None
  tags = TAGS.get(language, (language,))
  last = None
  for tag, body in blocks(after):
    if tag in tags:
      last = body
  return last if last and last.strip() else None


def blocks(text: str) -> Iterator[tuple[str, str | None]]:
  """(tag in lower case, content) of every fenced block in order; content None if it stays open.

  As in CommonMark a block ends at a line of at least as many backticks and nothing else; unlike
  there, the closing line may stand at any depth.
  """
  opened = None
  for fence in FENCE.finditer(text):
    if opened is None:
      opened = fence
    elif len(fence[1]) >= len(opened[1]) and not fence[2].strip():
      yield _tag(opened), text[opened.end() + 1 : fence.start()]
      opened = None
  if opened is not None:
    yield _tag(opened), None


def _tag(fence: re.Match) -> str:
  """The first word of the info string; "" where there is none."""
  words = fence[2].split(None, 1)
  return words[0].lower() if words else ""
