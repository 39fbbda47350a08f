"""Answers that no rule can judge: a language model compares them with a reference.

arXiv 2501.12948v2 section B.3.3, Listing 4: question, reference and answer go in, a JSON object
with an analysis and a verdict comes out. What is no such object, or says anything else, is no
verdict: nothing is guessed.
"""

import json
from collections.abc import Sequence

from r1.data import questions as records
from r1.data import responses
from r1.rewards import endpoint, verdict

RULES = """\
You are given a question, a reference answer that is known to be correct, and an answer to judge. \
Decide whether the answer says the same as the reference in all that the question asks for. \
Wording, order and extra explanation do not matter; a contradiction, a missing part or a different \
result does. Do not solve the question yourself and do not reward effort or style.

Reply with one JSON object and nothing else:
{"analysis": "one or two sentences", "correctness": "correct" or "incorrect"}"""
ASK = "<question>\n{}\n</question>\n<reference>\n{}\n</reference>\n<answer>\n{}\n</answer>"
SAID = {"correct": verdict.Score(1.0, "right"), "incorrect": verdict.Score(0.0, "wrong")}
NONE = verdict.Score(0.0, "no_verdict")


def messages(question: records.Question, response: responses.Response) -> list[endpoint.Message]:
  """What the judge is told; the thought is not shown."""
  answer = responses.summary(response.text)
  return [
    {"role": "system", "content": RULES},
    {"role": "user", "content": ASK.format(question.prompt, question.answer, answer)},
  ]


def read(reply: str) -> verdict.Score:
  """The verdict of a reply; no_verdict for one that is not the object that was asked for."""
  text = reply.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
  try:
    said = json.loads(text)
  except ValueError:  # told by the verdict, which the caller counts
    return NONE
  if not isinstance(said, dict) or not isinstance(said.get("correctness"), str):
    return NONE
  return SAID.get(said["correctness"].strip().lower(), NONE)


def grade(
  questions: Sequence[records.Question],
  answers: Sequence[responses.Response],
  cfg: endpoint.EndpointConfig,
  faults: list[str],
) -> list[verdict.Score]:
  """One score per answer; no_verdict without a reference, a reply, or sense in it.

  A cut answer is not shown to the judge: it is wrong. faults: grows by one text for each answer
  that was shown and has no verdict. Raises RuntimeError where the judge replied to none of them, so
  that nobody keeps what says nothing of the answers.
  """
  scores = [NONE] * len(questions)
  asked = [i for i, q in enumerate(questions) if (q.answer or "").strip()]
  for i in (i for i in asked if answers[i].truncated):
    scores[i] = SAID["incorrect"]
  asked = [i for i in asked if not answers[i].truncated]
  replies = endpoint.ask([messages(questions[i], answers[i]) for i in asked], cfg, faults)
  if asked and all(reply is None for reply in replies):
    raise RuntimeError(f"the judge replied to none of {len(asked)} questions: {faults[-1]}")
  for i, reply in zip(asked, replies):
    if reply is not None and (score := read(reply)) is not NONE:
      scores[i] = score
    elif reply is not None:
      faults.append(f"no verdict in {reply[:100]!r}")
  return scores
