"""A rollout as its host plays it: groups are graded while the device draws other answers."""

import dataclasses
import time
from collections.abc import Callable, Sequence

from r1.data import questions as records
from r1.data import responses
from r1.rewards import combine
from r1.sampling import partial, requests, rollout
from r1.text import tokenizer as tokenizers


@dataclasses.dataclass(frozen=True)
class Played:
  """samples, rewards: of the groups whose answers have all ended, in the order asked.

  held: the answers of the other groups, to be asked again in the next rollout. drawn: tokens of
  this rollout. seconds: of sampling and of grading.
  """

  samples: list[rollout.Sample]
  rewards: combine.Rewards
  held: list[requests.Request]
  drawn: int
  seconds: dict[str, float]


def play(
  asked: Sequence[requests.Request],
  questions: Sequence[records.Question],
  tokenizer: tokenizers.Tokenizer,
  template: str,
  *,
  group: int,
  tokens: int,
  generate: partial.Generate,
  grade: Callable[[list[records.Question], list[responses.Response]], combine.Rewards],
) -> Played:
  """Has the requests answered; a group is graded as soon as it is whole.

  questions: those that the requests' `index` counts. tokens, generate: see `partial.advance`.
  """
  started, grading, drawn = time.monotonic(), 0.0, 0
  graded, held = {}, {}
  answers = partial.advance(asked, generate, tokens=tokens, eos=tokenizer.eos)
  for whole in rollout.whole_groups(answers, group):
    drawn += sum(len(a.tokens) - len(a.request.drawn) for a in whole)
    key = whole[0].request.rollout, whole[0].request.index
    if any(partial.goes_on(a) for a in whole):
      held[key] = [partial.put_aside(a) for a in whole]
      continue
    begun = time.monotonic()
    samples = rollout.samples(questions[key[1]], whole, tokenizer, template)
    graded[key] = samples, grade([s.question for s in samples], [s.response for s in samples])
    grading += time.monotonic() - begun
  order = dict.fromkeys((r.rollout, r.index) for r in asked)
  done = [graded[key] for key in order if key in graded]
  return Played(
    samples=[sample for samples, _ in done for sample in samples],
    rewards=combine.join([rewards for _, rewards in done]),
    held=[request for key in order if key in held for request in held[key]],
    drawn=drawn,
    seconds={"time/sample_s": time.monotonic() - started - grading, "time/reward_s": grading},
  )
