"""Cold start: the base learns to think for readers, from R1-Zero's own right answers rewritten.

  python -m experiments.cold_start \
    --config=configs/cold_start.py:tiny,model=runs/zero,base=runs/base --workdir=runs/dev1

arXiv 2501.12948v2 section B.3.2: several answers of R1-Zero to each question, of which the right
and readable ones are rewritten into a thought in the question's language and a summary; then
supervised fine-tuning of the base. The rewriter sees a thought and never the right answer. Leaves
cold_start.jsonl beside the model. The same command again goes on where it was.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from r1.algorithms import harvest
from r1.data import conversations, responses, split
from r1.data import questions as records
from r1.data.worlds import arithmetic, rewrite
from r1.evals import readable, suite
from r1.rewards import accuracy, endpoint, form, rewriter
from r1.sampling import decode
from r1.stages import collect, dataset, finish, imitate
from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from r1.train import lineage, models, run, sft

WHAT = (
  "Right and readable answers of a model trained by reinforcement learning alone, rewritten into a "
  "thought and a summary for readers (arXiv 2501.12948v2 B.3.2)."
)
MODE = "boxed"  # of what is written; filter.mode is that of what is read


@dataclasses.dataclass(frozen=True)
class Stage:
  """The config's sections as the records that the library takes. rewriter: None for the rule."""

  data: split.DataConfig
  collect: collect.CollectConfig
  filter: harvest.FilterConfig
  sampler: decode.SamplerConfig
  reading: accuracy.VerifierConfig
  writing: accuracy.VerifierConfig
  rewriter: endpoint.EndpointConfig | None
  sft: sft.SftConfig


def read(config) -> Stage:
  """Builds every record, so that a wrong setting is refused before any compute."""
  if not config.zero:
    raise ValueError("nothing to start from: add model=R1-ZERO, the workdir of experiments.r1_zero")
  if not config.base and not (config.model and config.data.questions):
    raise ValueError(
      "this config brings neither a base nor questions: add base=MODEL after the colon and "
      "--config.data.questions=FILE"
    )
  return Stage(
    data=split.DataConfig(**config.data),
    collect=collect.CollectConfig(**config.collect),
    filter=harvest.FilterConfig(**config.filter),
    sampler=decode.SamplerConfig(**config.sampler),
    reading=accuracy.config(config.verifier, config.filter.mode),
    writing=accuracy.config(config.verifier, MODE),
    rewriter=endpoint.EndpointConfig(**config.rewriter) if config.rewriter.url else None,
    sft=imitate.read(config),
  )


def find_questions(config, stage: Stage):
  """(questions to answer, questions that models will be judged by)."""
  world = arithmetic.World(**config.base.world) if config.base else None
  seed, count = stage.collect.seed, config.evaluation.held
  asked, held = split.find(stage.data, world, seed=seed, held=count, held_seed=seed)
  for path in config.evaluation.files:
    held = held + records.load(path)
  if world is not None:
    held = held + suite.sums(world, suite.SuiteConfig(**config.suite))
  return asked, held


def check_base(config, tokenizer, runtime: dict) -> None:
  """Raises ValueError, before anything is sampled, where R1-Zero was not made of such a base.

  A preset has no tokenizer of its own.
  """
  if not config.model:
    return
  if (folder := models.local(config.model)).is_dir():
    own = {config.zero: tokenizer, config.model: hf_tokenizer.load(folder)}
    lineage.same("tokenizer", {name: tokenizers.identity(each) for name, each in own.items()})
  both = (config.zero, config.model)
  lineage.same("architecture", {name: models.architecture(name, runtime) for name in both})


def sample(config, stage: Stage, asked, at: imitate.Session, folder):
  """(R1-Zero's answers with their verdicts, its digest by its name, its tokenizer)."""
  runtime = dict(config.runtime) | {"rules": at.rules}
  model, parents = models.find(
    config.zero,
    config.base,
    runtime,
    dtype=config.weights,
    mesh=at.mesh,
    mtp=stage.sampler.draft == "mtp",
    adapters=None,
    seed=stage.collect.seed,
    say=at.console.print,
  )
  check_base(config, model.tokenizer, runtime)
  with accuracy.Verifier(stage.reading) as verifier:
    judge = lambda questions, answers: [s.verdict for s in verifier.grade(questions, answers)]
    answers = collect.collect(
      model,
      asked,
      stage.collect,
      stage.sampler,
      judge,
      folder,
      source=parents[config.zero],
      say=at.console.print,
    )
  return answers, parents, model.tokenizer


def rewritten(jobs: Sequence[rewriter.Job], stage: Stage, console) -> list[str | None]:
  """What becomes of (prompt, language, thought): by the rule, or by a model behind an endpoint."""
  if stage.rewriter is None:
    return [rewrite.rewrite(language, thought) for _, language, thought in jobs]
  faults: list[str] = []
  texts = rewriter.rewrite(jobs, stage.rewriter, faults)
  for fault in faults[:3]:
    console.print(f"not rewritten: {fault}", style="yellow", markup=False, soft_wrap=True)
  return texts


def compose(answers: Sequence[collect.Collected], stage: Stage, verifier, console):
  """(texts, faults): what the good answers become, and why the others become nothing.

  What was written is judged anew: it must be right and readable by itself.
  """
  anything = lambda *_: True  # readable is what the rewriter makes it
  faults = [
    harvest.fault(a.question, a.response, a.verdict, stage.filter, anything) for a in answers
  ]
  texts = [a.response.text for a in answers]
  good = [i for i, fault in enumerate(faults) if fault is None]
  jobs = []
  for i in good:
    parts = form.parse(answers[i].response.text, stage.filter.mode)
    assert parts is not None  # harvest.fault names the others
    jobs.append((answers[i].question.prompt, answers[i].question.language, parts.thought))
  written = {i: text for i, text in zip(good, rewritten(jobs, stage, console)) if text is not None}
  questions = [answers[i].question for i in written]
  given = [responses.Response(text=text, tokens=1, truncated=False) for text in written.values()]
  right = dict(zip(written, verifier.right(questions, given)))
  for i in good:
    if i not in written:
      faults[i] = "rewrite"
    elif not right[i]:
      faults[i] = "wrong"
    elif not readable.readable(answers[i].question, written[i]):
      faults[i] = "unreadable"
    else:
      texts[i] = written[i]
  return texts, faults


def make(config, stage: Stage, at: imitate.Session, folder: pathlib.Path) -> None:
  """Samples, sifts, rewrites, and writes the data set."""
  asked, held = find_questions(config, stage)
  answers, parents, tokenizer = sample(config, stage, asked, at, folder)
  with accuracy.Verifier(stage.writing) as verifier:
    texts, faults = compose(answers, stage, verifier, at.console)
  questions = [a.question for a in answers]
  evaluated = harvest.evaluation(held, stage.filter)
  sifted = harvest.sift(questions, texts, faults, stage.filter, evaluated)
  at.console.print(f"of {sifted.sampled:,} answers\n{harvest.table(sifted)}")
  harvest.check_any(sifted, "answers")
  about = {"tokenizer": tokenizer, "template": stage.sft.template}
  rows = [
    dataset.row(
      questions[i], texts[i], answers[i].number, source=pathlib.Path(config.zero).name, **about
    )
    for i in sifted.kept
  ]
  dataset.publish(
    folder,
    "cold_start",
    rows,
    what=WHAT,
    mode=MODE,
    counts={"rewritten": harvest.counts(sifted)},
    parents=parents,
    settings=run.flatten({"collect": config.collect.to_dict(), "filter": config.filter.to_dict()}),
    **about,
  )


def main(config, folder: pathlib.Path) -> None:
  stage = read(config)
  if finish.already(folder, "cold_start", config.to_dict()):
    return
  with imitate.session(config, stage.sft.batch.rows) as at:
    for where in filter(None, (config.zero, config.model)):
      lineage.parent(where)
    run.claim(folder, "cold_start", config.to_dict())
    find = lambda name: models.origin(name, config.base, at.console.print)
    base, zero = find(config.model), find(config.zero)
    lineage.descend(folder, "cold_start", base | zero)
    if dataset.about(folder) is None:
      make(config, stage, at, folder)
    train, held = conversations.hold_out(dataset.rows(folder), config.share)
    told = dataset.about(folder)
    assert told is not None  # just written, or read
    data = imitate.Data(
      train=train,
      held=held,
      parents=zero,
      counts=told.counts,
    )
    setup, state = imitate.build("cold_start", config, stage.sft, data, folder, at)
    imitate.train(setup, state)


if __name__ == "__main__":
  run.stage(main)
