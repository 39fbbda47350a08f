"""Format reward: the thought inside <think></think>, then the answer (arXiv 2501.12948 §2.2.2)."""

import dataclasses

from r1.data import responses
from r1.rewards import verdict

# What the text after the thought must be: one <answer></answer> block, or free text that is
# expected to hold a \\boxed{} (the chat format of R1 and its students).
MODES = ("answer_tag", "boxed")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclasses.dataclass(frozen=True)
class Parts:
  """A well-formed response; both texts as written, without their tags."""

  thought: str
  answer: str


def check_mode(mode: str):
  """ValueError unless mode is one of MODES."""
  if mode not in MODES:
    raise ValueError(f"mode {mode!r} given; use one of {', '.join(MODES)}")


def parse(text: str, mode: str = "answer_tag") -> Parts | None:
  """The two parts of a strictly well-formed response, else None; linear in the text.

  The whole text must match: one think block, then (mode answer_tag) one answer block, nothing
  outside them but white space, neither part blank, no tag twice. A regex with re.MULTILINE and
  lazy dots lets text after </answer> and repeated blocks pass (open-r1 format_reward).
  """
  check_mode(mode)
  text = text.strip()
  if not text.startswith("<think>") or text.count("<think>") != 1 or text.count("</think>") != 1:
    return None
  head, rest = text.split("</think>")
  thought, answer = head.removeprefix("<think>"), rest.strip()
  if mode == "answer_tag":
    if text.count("<answer>") != 1 or text.count("</answer>") != 1:
      return None
    if not (answer.startswith("<answer>") and answer.endswith("</answer>")):
      return None
    answer = answer.removeprefix("<answer>").removesuffix("</answer>")
  return Parts(thought, answer) if thought.strip() and answer.strip() else None


def thought(text: str) -> str | None:
  """What the response thinks, well-formed or not: from the first <think> to its end.

  The end is the next </think>, else the next <answer>, else the end of the text (a cut thought
  is still a thought). None where no <think> was opened.
  """
  _, opened, rest = text.partition("<think>")
  if not opened:
    return None
  inside, closed, _ = rest.partition("</think>")
  return inside if closed else rest.partition("<answer>")[0]


def reward(question, response: responses.Response, mode: str = "answer_tag") -> verdict.Score:
  """1 for a well-formed response that ended by itself, else 0 (arXiv 2501.12948 §2.2.2)."""
  del question
  well_formed = not response.truncated and parse(response.text, mode) is not None
  return verdict.Score(1.0, "right") if well_formed else verdict.Score(0.0, "unparsed")


def tags(question, response: responses.Response) -> verdict.Score:
  """A quarter for each of the four tags that occurs exactly once: shaping for a cold start.

  Not a format: order and content are free. Right only for all four.
  """
  del question
  found = sum(response.text.count(tag) == 1 for tag in TAGS)
  return verdict.Score(found / len(TAGS), "right" if found == len(TAGS) else "unparsed")


def fenced(question, response: responses.Response, language: str) -> verdict.Score:
  """1 for a well-formed response whose answer holds a closed ```language block, else 0."""
  parts = parse(response.text) if reward(question, response).value else None
  _, opened, code = parts.answer.partition(f"```{language}\n") if parts else ("", "", "")
  return verdict.Score(1.0, "right") if opened and "```" in code else verdict.Score(0.0, "unparsed")
