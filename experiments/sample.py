"""Try a model: thought and answer apart, as they are drawn.

python -m experiments.sample --model=runs/zero "what is 3 + 4 - 2 ?"
"""

import re
import sys
from collections.abc import Iterable, Iterator

import rich.console
from absl import app, flags

from r1.sampling import decode, loop, requests, rollout, speculate
from r1.text import templates
from r1.text import tokenizer as tokenizers
from r1.train import host, run, workdir

CHUNK = 8  # tokens drawn between two looks at the screen
HEADINGS = {"<think>": "thought: ", "</think>": "\n", "<answer>": "answer:  ", "</answer>": "\n"}
TAG = re.compile("|".join(map(re.escape, HEADINGS)))


def draw(model: workdir.Model, template: str, question: str, given) -> Iterator[int]:
  """The answer's tokens as they come; where a draw is cut into chunks changes none of them.

  given: limit (most tokens), temperature, seed, the sampler's filters and drafter. stop: strings;
  the first to come up ends the answer, which is cut behind the token that completes it.
  """
  prompt = templates.encode(model.tokenizer, template, question)
  if len(prompt) + given.limit > model.cfg.context:
    raise ValueError(
      f"the question has {len(prompt)} tokens and --limit={given.limit}; the model holds "
      f"{model.cfg.context} together: ask for less"
    )
  sampler = decode.SamplerConfig(
    **decode.UNPAGED,
    top_k=given.top_k,
    top_p=given.top_p,
    min_p=given.min_p,
    draft=given.draft,
    draft_tokens=given.draft_tokens,
    ngram=given.ngram,
    slots=1,
    prompt_bucket=model.cfg.context,
  )
  drawn: list[int] = []
  keep = rollout.stopper(model.tokenizer, tuple(given.stop))
  while len(drawn) < given.limit:
    limit = min(CHUNK, given.limit - len(drawn))
    request = requests.Request(question, 0, 0, (*prompt, *drawn), limit)
    (answer,) = loop.generate(
      model.params,
      [request],
      cfg=model.cfg,
      sampler=sampler,
      temperature=given.temperature,
      eos=model.tokenizer.eos,
      seed=given.seed,
    )
    shown = len(drawn)
    drawn += answer.tokens.tolist()
    kept = keep(drawn)
    yield from drawn[shown:kept]
    if kept is not None or not answer.truncated:
      return


def headed(texts: Iterable[str]) -> Iterator[str]:
  """The text with its tags turned into headings; a tag that is still incomplete is held back."""
  waiting = ""
  for text in texts:
    waiting = TAG.sub(lambda tag: HEADINGS[tag[0]], waiting + text)
    cut = waiting.rfind("<")
    if cut < 0 or not any(tag.startswith(waiting[cut:]) for tag in HEADINGS):
      cut = len(waiting)
    yield waiting[:cut]
    waiting = waiting[cut:]
  yield waiting


def main(argv, given) -> None:
  console = rich.console.Console(stderr=True)
  if len(argv) != 2:
    raise app.UsageError('give one question, in quotes: "what is 3 + 4 - 2 ?"')
  host.quiet_libraries()
  host.keep_compiled_programs()
  model = workdir.load(given.model, best=given.best)
  template = given.template or run.setting(given.model, "rl.template") or "short"
  opened = templates.opened(template)
  texts = tokenizers.stream(model.tokenizer, draw(model, template, argv[1], given))
  for text in headed([opened, *texts] if opened else texts):
    sys.stdout.write(text)
    sys.stdout.flush()
  console.print()


if __name__ == "__main__":
  flags.DEFINE_string("model", None, "a workdir: of a run, or of a base")
  flags.DEFINE_enum("template", None, templates.NAMES, "default: the run's own, or short")
  flags.DEFINE_float("temperature", 0.6, "0 is greedy", lower_bound=0)
  flags.DEFINE_integer("top_k", 0, "how many of the likeliest ids, 0 is all", lower_bound=0)
  flags.DEFINE_float("top_p", 0.95, "nucleus mass")
  flags.DEFINE_float("min_p", 0.0, "least probability, as a share of the likeliest id's")
  flags.DEFINE_multi_string("stop", [], "a text that ends the answer; give it again for more")
  flags.DEFINE_enum("draft", "none", ("none", *speculate.DRAFTERS), "who guesses tokens ahead")
  flags.DEFINE_integer("draft_tokens", 3, "how many at a time", lower_bound=1)
  flags.DEFINE_integer("ngram", 3, "tokens of which lookup finds an earlier place", lower_bound=1)
  flags.DEFINE_bool("best", False, "the checkpoint of the best training reward, not the last")
  flags.DEFINE_integer("limit", 120, "most tokens of the answer", lower_bound=1)
  flags.DEFINE_integer("seed", 0, "of the sampling")
  flags.mark_flag_as_required("model")
  app.run(lambda argv: main(argv, flags.FLAGS))
