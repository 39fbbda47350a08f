"""Can a person read this answer? One thought, then a summary that says the same in their language.

What arXiv 2501.12948v2 section B.3.2 wants of a cold start: a thought in the question's language
and, behind it, a summary for the reader. The limits are ours.
"""

from r1.rewards import form, language
from r1.rewards.maths import grade, numbers


def readable(question, text: str) -> bool:
  """Is there a thought and a summary, in the question's language, that agree with each other?

  A bare number is no summary. Of mathematics the last number of the summary must be the last of
  the thought; whether it is right is another question.
  """
  parts = form.parse(text, "boxed")
  if parts is None or not speaks(parts.thought, question.language):
    return False
  summary = parts.answer
  for tag in form.TAGS:
    summary = summary.replace(tag, " ")
  if not language.words(summary) or not speaks(summary, question.language):
    return False
  return question.kind != "maths" or agree(parts.thought, summary)


def speaks(text: str, name: str) -> bool:
  """Is the text in that language? Of a language whose script is unknown it is enough not to mix."""
  script = language.SCRIPT_OF.get(name)
  if language.mixed(text):
    return False
  return script is None or language.share_of(text, script) > 1 - language.MIXED_SHARE


def agree(thought: str, summary: str) -> bool:
  """Is the last number of both the same one?"""
  concluded, stated = numbers.anywhere(thought), numbers.anywhere(summary)
  if concluded is None or stated is None:
    return False
  return grade.quick(concluded, stated) == "right"
