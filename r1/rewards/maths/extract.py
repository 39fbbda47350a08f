"""Where the final answer stands in a response: apart from whether it is right.

Known reward hacks go through lenient extraction, so the two modes that rewards use fail closed:
they name one place, and an answer anywhere else is none.
"""

import collections
import re

from r1.rewards import form

# Rewards use those of form.MODES; gsm8k and free are for evaluation of other people's outputs.
MODES = (*form.MODES, "gsm8k", "free")

BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
BOX = re.compile(r"\\f?boxed\{|\\fbox\{")
GSM8K_MARK = re.compile(r"####|^A:", re.MULTILINE)


def extract(text: str, mode: str) -> str | None:
  """The final answer as written, or None; linear in the text.

  Only text after the last </think> counts, and a thought that never ends has no answer.
  answer_tag wants exactly one <answer></answer> there; boxed takes the last \\boxed{}, which
  must be closed: an earlier box never stands in for an unfinished one (marin PR 9163). gsm8k
  takes the line behind the last "####" or "A:"; free gives the whole text, for a search in it.
  """
  if mode not in MODES:
    raise ValueError(f"mode {mode!r} given; use one of {', '.join(MODES)}")
  _, _, after = text.rpartition("</think>")
  if "<think>" in after:
    return None
  if mode == "boxed":
    return last_box(after)
  if mode == "gsm8k":
    return _behind_mark(after)
  if mode == "free":
    return after.strip() or None
  if after.count("<answer>") != 1 or after.count("</answer>") != 1:
    return None
  inside, closed, _ = after.partition("<answer>")[2].partition("</answer>")
  return inside.strip() or None if closed else None


def last_box(text: str) -> str | None:
  """The content of the last \\boxed{...} with balanced braces; None if it is missing or open."""
  boxes = collections.deque(BOX.finditer(text), maxlen=1)
  if not boxes:
    return None
  start, depth = boxes[0].end(), 1
  for brace in BRACE.finditer(text, start):
    depth += {"{": 1, "}": -1}.get(brace[0], 0)
    if depth == 0:
      return text[start : brace.start()].strip() or None
  return None


def _behind_mark(text: str) -> str | None:
  marks = collections.deque(GSM8K_MARK.finditer(text), maxlen=1)
  if not marks:
    return None
  line, _, _ = text[marks[0].end() :].lstrip().partition("\n")
  return line.strip() or None
