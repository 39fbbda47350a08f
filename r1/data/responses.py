"""One sampled answer as graders see it, and the part of it that a reader sees."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
  """One sampled answer; text starts with whatever the template opened, such as "<think>\\n"."""

  text: str
  tokens: int  # sampled tokens, the end token included
  truncated: bool  # cut at the length limit instead of ending by itself


def summary(text: str) -> str:
  """What a reader is shown: the text behind the last </think>, well-formed or not.

  All of it where no thought was opened; nothing where one was and never closed.
  """
  _, closed, after = text.rpartition("</think>")
  if closed:
    return after.strip()
  return "" if "<think>" in text else text.strip()
