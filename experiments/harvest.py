"""Rejection sampling: a data set of the right and readable answers of a finished model.

  python -m experiments.harvest --config=configs/harvest.py:tiny,model=runs/dev2 \
    --workdir=runs/harvest

arXiv 2501.12948v2 section B.3.3: several answers to each question, of which the good ones stay,
and beside them a part that is not reasoning. Leaves harvest.jsonl, the same as a TFDS directory,
and a card. The same command again goes on with the next shard of questions.
"""

import dataclasses
import pathlib
import random
from collections.abc import Callable, Sequence

from r1.algorithms import harvest
from r1.data import conversations, overlap, split
from r1.data import questions as records
from r1.data.worlds import arithmetic, general
from r1.evals import readable, suite
from r1.rewards import accuracy, endpoint, reference
from r1.sampling import decode
from r1.stages import collect, dataset, finish, imitate
from r1.train import lineage, models, run

WHAT = (
  "Answers of a reasoning model that a rule or a judge found right and a reader can follow, chosen "
  "by rejection sampling, and answers of people to general prompts (arXiv 2501.12948v2 B.3.3)."
)


@dataclasses.dataclass(frozen=True)
class Stage:
  """The config's sections as the records that the library takes. judge: None for rules alone."""

  data: split.DataConfig
  collect: collect.CollectConfig
  filter: harvest.FilterConfig
  people: general.Quality
  sampler: decode.SamplerConfig
  verifier: accuracy.VerifierConfig
  judge: endpoint.EndpointConfig | None
  suite: suite.SuiteConfig | None


def read(config) -> Stage:
  """Builds every record, so that a wrong setting is refused before any compute."""
  if not config.model:
    raise ValueError("nothing to sample from: add model=MODEL, a reasoning model's workdir")
  if not config.base and not config.data.questions:
    raise ValueError("this config brings no questions: give --config.data.questions=FILE")
  return Stage(
    data=split.DataConfig(**config.data),
    collect=collect.CollectConfig(**config.collect),
    filter=harvest.FilterConfig(**config.filter),
    people=general.Quality(**config.people),
    sampler=decode.SamplerConfig(**config.sampler),
    verifier=accuracy.config(config.verifier, config.filter.mode),
    judge=endpoint.EndpointConfig(**config.judge) if config.judge.url else None,
    suite=suite.SuiteConfig(**config.suite) if config.base else None,
  )


def find_questions(config, stage: Stage):
  """(questions to answer, questions that models will be judged by)."""
  world = arithmetic.World(**config.base.world) if config.base else None
  seed, held = stage.collect.seed, config.evaluation.held
  asked, judged = split.find(stage.data, world, seed=seed, held=held, held_seed=seed)
  for path in config.evaluation.files:
    judged = judged + records.load(path)
  if world is not None and stage.suite is not None:
    judged = judged + suite.sums(world, stage.suite) + suite.prompts(stage.suite)
  return asked, judged


def make_judge(
  verifier: accuracy.Verifier, stage: Stage, say: Callable[[str], None]
) -> collect.Judge:
  """Rules where there are any, the judge behind the endpoint for answers with a reference.

  say: is told the first of what the endpoint did not judge.
  """

  def judge(questions, answers) -> list[str]:
    verdicts = [score.verdict for score in verifier.grade(questions, answers)]
    if stage.judge is not None:
      rest = [i for i, q in enumerate(questions) if q.kind in records.GENERAL and q.answer]
      given, faults = ([questions[i] for i in rest], [answers[i] for i in rest]), []
      for i, score in zip(rest, reference.grade(*given, stage.judge, faults)):
        verdicts[i] = score.verdict
      for fault in faults[:3]:
        say(f"not judged: {fault}")
    return verdicts

  return judge


def reasoning(
  answers: Sequence[collect.Collected], evaluated: overlap.Index, stage: Stage
) -> harvest.Sifted:
  """Which answers stay; raises ValueError with the table of reasons where none does."""
  legible = lambda q, r: stage.filter.mode != "boxed" or readable.readable(q, r.text)
  faults = [
    harvest.fault(a.question, a.response, a.verdict, stage.filter, legible) for a in answers
  ]
  questions, texts = [a.question for a in answers], [a.response.text for a in answers]
  sifted = harvest.sift(questions, texts, faults, stage.filter, evaluated)
  harvest.check_any(sifted, "answers")
  return sifted


def pool(config, stage: Stage, **about) -> list[dict]:
  """The lines of the part that is no reasoning: a file's, or what the world's people answer."""
  if config.pool:
    return dataset.from_file(config.pool, **about)
  if not stage.data.general_count:
    return []
  found = []
  for question in split.find_general(stage.data, seed=stage.collect.seed):
    rng = random.Random(f"pool/{stage.collect.seed}/{question.id}")
    thought, summary = general.answer(rng, question, stage.people)
    text = f"<think>{thought}</think>{summary}"
    found.append(dataset.row(question, text, 0, source="people", **about))
  return found


def select(rows: Sequence[dict], evaluated: overlap.Index, stage: Stage) -> harvest.Sifted:
  """Which lines of the pool stay: no copies, nothing of the evaluation."""
  said = lambda row, role: [m["content"] for m in row["messages"] if m["role"] == role]
  questions = [
    records.Question(id=row["id"], prompt="\n".join(said(row, "user")), kind="helpful")
    for row in rows
  ]
  texts = ["\n".join(said(row, "assistant")) for row in rows]
  return harvest.sift(questions, texts, [None] * len(rows), stage.filter, evaluated)


def make(config, stage: Stage, tokenizer, answers, judged, folder, parents) -> dict:
  """Sifts the answers and the pool, and writes the data set; returns what was sifted, by part."""
  evaluated = harvest.evaluation(judged, stage.filter)
  about = {"tokenizer": tokenizer, "template": stage.collect.template}
  others = pool(config, stage, **about)
  parts = {
    "reasoning": reasoning(answers, evaluated, stage),
    "general": select(others, evaluated, stage),
  }
  rows = [
    dataset.row(
      a.question, a.response.text, a.number, source=pathlib.Path(config.model).name, **about
    )
    for a in (answers[i] for i in parts["reasoning"].kept)
  ]
  dataset.publish(
    folder,
    "harvest",
    rows + [others[i] for i in parts["general"].kept],
    what=WHAT,
    mode=stage.filter.mode,
    counts={name: harvest.counts(part) for name, part in parts.items()},
    parents=parents,
    settings=run.flatten({"collect": config.collect.to_dict(), "filter": config.filter.to_dict()}),
    **about,
  )
  return parts


def main(config, folder: pathlib.Path) -> None:
  stage = read(config)
  if finish.already(folder, "harvest", config.to_dict()):
    return
  with imitate.session(config) as at, accuracy.Verifier(stage.verifier) as verifier:
    warn = lambda text: at.console.print(text, style="yellow", markup=False, soft_wrap=True)
    asked, judged = find_questions(config, stage)
    run.claim(folder, "harvest", config.to_dict())
    model, parents = models.find(
      config.model,
      config.base,
      dict(config.runtime) | {"rules": at.rules},
      dtype=config.weights,
      mesh=at.mesh,
      mtp=stage.sampler.draft == "mtp",
      adapters=None,
      seed=stage.collect.seed,
      say=at.console.print,
    )
    data = {"questions": records.digest(asked), "evaluation": records.digest(judged)}
    if config.pool:
      data["pool"] = conversations.digest(conversations.load(config.pool))
    lineage.begin(folder, "harvest", parents, data, {})
    answers = collect.collect(
      model,
      asked,
      stage.collect,
      stage.sampler,
      make_judge(verifier, stage, warn),
      folder,
      source=parents[config.model],
      say=at.console.print,
    )
    parts = make(config, stage, model.tokenizer, answers, judged, folder, parents)
    counts = {name: harvest.counts(part) for name, part in parts.items()}
    lineage.begin(folder, "harvest", parents, data, counts)
    dataset.finish(folder)
    for name, part in parts.items():
      at.console.print(f"{name}: of {part.sampled:,} answers\n{harvest.table(part)}")
    for name in ("harvest.jsonl", dataset.CARD, dataset.TFDS):
      at.console.print(f"  {folder / name}", soft_wrap=True)


if __name__ == "__main__":
  run.stage(main)
