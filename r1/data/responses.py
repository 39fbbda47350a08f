"""One sampled answer as graders see it."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Response:
  """One sampled answer; text starts with whatever the template opened, such as "<think>\\n"."""

  text: str
  tokens: int  # sampled tokens, the end token included
  truncated: bool  # cut at the length limit instead of ending by itself
