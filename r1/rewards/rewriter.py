"""The cold start's rewriter at scale: a language model makes raw thoughts readable.

arXiv 2501.12948v2 section B.3.2, Listing 1: the thought is rewritten in the question's language
without new reasoning, and the summary is written from it alone. The model is given the question
and the thought, never the right answer. Its reply must have the form that is asked for; any other
is no rewriting and is counted by the caller.
"""

import re
from collections.abc import Sequence

from r1.rewards import endpoint, form

RULES = """\
Below are a question and somebody's raw notes on it. Write the notes out as a person would think \
aloud, and then tell the reader the result.

Thinking: begin with what is being asked. Speak as "I". Keep every step, every check and every \
change of mind of the notes, in their order, with their numbers. Add no step, correct nothing. Use \
short paragraphs, no headings and no code. Write in the language of the question ({language}).

Summary: a few sentences in the same language, taken from the thinking alone, with formulas in \
LaTeX where there are any, and the result to which the notes come in \\boxed{{}}.

Reply with <think>the thinking</think> and the summary right behind it, and nothing else."""
ASK = "Question:\n{prompt}\n\nNotes:\n{thought}"
FENCE = re.compile(r"^```\w*\n(.*)\n```$", re.DOTALL)

Job = tuple[str, str, str]  # prompt, language, thought


def messages(job: Job) -> list[endpoint.Message]:
  """What the rewriter is told."""
  prompt, language, thought = job
  return [
    {"role": "system", "content": RULES.format(language=language)},
    {"role": "user", "content": ASK.format(prompt=prompt, thought=thought)},
  ]


def read(reply: str) -> str | None:
  """`<think>thought</think>summary` of a reply; None where it has another form."""
  text = reply.strip()
  fenced = FENCE.match(text)
  parts = form.parse(fenced[1] if fenced else text, "boxed")
  if parts is None:
    return None
  return f"<think>{parts.thought.strip()}</think>{parts.answer.strip()}"


def rewrite(jobs: Sequence[Job], cfg: endpoint.EndpointConfig, faults: list[str]) -> list:
  """The rewritten texts, in order; None where the endpoint gave none or none of the form.

  faults: grows by one text for each None.
  """
  replies = endpoint.ask([messages(job) for job in jobs], cfg, faults)
  texts = [None if reply is None else read(reply) for reply in replies]
  for text, reply in zip(texts, replies):
    if text is None and reply is not None:
      faults.append(f"not of the form that was asked for: {reply[:100]!r}")
  return texts
