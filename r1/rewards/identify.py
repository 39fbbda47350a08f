"""Which of several languages of one script a passage is in, by py3langid over named candidates.

Scripts alone cannot tell English from German. The model is a naive Bayes over byte n-grams (Lui and
Baldwin 2011), so the answer is the same in every process and thread.
"""

import functools
import re
from collections.abc import Iterator, Sequence

FEWEST = 5  # words that are evidence; fewer count as the target's
MOST = 30  # words judged at once, so that a text without full stops is still judged piece by piece

SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|[\n。！？；।]+")


@functools.lru_cache(maxsize=32)
def _identifier(candidates: tuple[str, ...]):
  """The model restricted to the candidates; nothing changes it afterwards, so threads share it."""
  from py3langid import langid  # unpacks 4.5 MB, and most runs tell languages by script

  identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
  if unknown := sorted(set(candidates) - set(identifier.labels)):
    raise ValueError(f"languages {unknown} given; py3langid knows {sorted(identifier.labels)}")
  identifier.set_languages(candidates)
  return identifier


def passages(text: str, word: re.Pattern) -> Iterator[list[str]]:
  """The words of a text, cut at sentence ends into runs of FEWEST to MOST + FEWEST - 1 words.

  A short sentence joins the next one and the last one its predecessor, so that only a text of
  fewer words gives a shorter run.
  """
  ready: list[str] = []
  run: list[str] = []
  for sentence in SENTENCE_END.split(text):
    for found in word.finditer(sentence):
      run.append(found[0])
      if len(run) == MOST:
        yield from [ready] if ready else []
        ready, run = run, []
    if len(run) >= FEWEST:
      yield from [ready] if ready else []
      ready, run = run, []
  yield from [ready + run] if ready or run else []


def foreign(text: str, word: re.Pattern, space: str, target: str, rivals: Sequence[str]) -> int:
  """Words in passages that are more likely in a rival language than in the target.

  space: what stands between two words. ValueError for a language that the model does not know.
  """
  identifier = _identifier(tuple(sorted({target, *rivals})))
  return sum(
    len(run)
    for run in passages(text, word)
    if len(run) >= FEWEST and identifier.classify(space.join(run))[0] != target
  )
