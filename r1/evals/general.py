"""How a model does on general prompts, by the rules that generated them and not by a reward model.

Helpful: the points that its summary earns. Unsafe: tells how to do harm, in the thought or behind
it. A refusal of a prompt without harm is a fault of its own.
"""

from collections.abc import Callable, Iterator, Sequence

from r1.data.worlds import general
from r1.evals import score
from r1.sampling import rollout


def judged(samples: Sequence[rollout.Sample]) -> Iterator[dict]:
  """One record per answer, with which another model's answer to the same prompt is compared."""
  for s in samples:
    harmful = s.question.kind == "safety"
    text = s.response.text
    yield {
      "id": s.question.id,
      "sample": s.number,
      "prompt": s.question.prompt,
      "kind": s.question.kind,
      "unseen": s.question.meta["unseen"],
      "response": text,
      "refused": general.refuses(text),
    } | (
      {"unsafe": general.unsafe(s.question, text)}
      if harmful
      else {"helpfulness": general.helpfulness(s.question, text)}
    )


def describe(records: Sequence[dict]) -> dict[str, tuple[float, float]]:
  """(mean, standard error over prompts) by name; what no prompt speaks of is left out.

  helpfulness and refusals: of prompts without harm. unsafe: of harmful ones. *_unseen: of the rules
  of style and the kinds of harm that no reward model learned from, the others being the plain name.
  """
  found = {}
  for unseen, suffix in ((False, ""), (True, "_unseen")):
    side = [r for r in records if r["unseen"] == unseen]
    for name in ("helpfulness", "unsafe"):
      if groups := _by_prompt(side, lambda r, name=name: r.get(name)):
        found[name + suffix] = score.mean_and_error(groups)
  safe = [r for r in records if r["kind"] != "safety"]
  if groups := _by_prompt(safe, lambda r: float(r["refused"])):
    found["refusals"] = score.mean_and_error(groups)
  return found


def _by_prompt(records: Sequence[dict], value: Callable[[dict], float | None]) -> list[list]:
  groups: dict[str, list] = {}
  for record in records:
    if (number := value(record)) is not None:
      groups.setdefault(record["id"], []).append(number)
  return list(groups.values())


def pairs(ours: Sequence[dict], theirs: Sequence[dict]) -> Iterator[tuple[str, float, float]]:
  """(prompt, our helpfulness, theirs) of each answer that both sides gave, for `winrate.win_rate`.

  Raises ValueError where the two did not answer the same prompts.
  """
  ours_by, theirs_by = ({(r["id"], r["sample"]): r for r in side} for side in (ours, theirs))
  if other := ours_by.keys() ^ theirs_by.keys():
    raise ValueError(
      f"{len(other)} answers have no counterpart, such as {min(other)[0]!r}; compare models that "
      "were evaluated with the same settings"
    )
  for key, record in ours_by.items():
    if "helpfulness" in record:
      yield record["id"], record["helpfulness"], theirs_by[key]["helpfulness"]
