"""Reward models: a helpful one of pairs and a safety one of labels, from a policy's own answers.

  python -m experiments.preference --config=configs/preference.py:tiny,model=runs/dev3 \
    --workdir=runs/preference

arXiv 2501.12948v2 section 3.1. Leaves pairs.jsonl, labels.jsonl, why pairs were dropped, and the
workdirs helpful/ and safety/, which experiments.alignment_rl takes as judges. The same command
again goes on from the last shard of answers or the last checkpoint.
"""

import dataclasses
import pathlib

from r1.data import preferences
from r1.data.worlds import general
from r1.rewards import endpoint, judge, judges
from r1.sampling import decode
from r1.stages import collect, finish, imitate, opinions, prefer
from r1.train import lineage, models, optimizer, preference, reward_models, run


@dataclasses.dataclass(frozen=True)
class Stage:
  """The config's sections as the records that the library takes. endpoint: None for the rules."""

  data: opinions.OpinionConfig
  collect: collect.CollectConfig
  sampler: decode.SamplerConfig
  people: general.Quality
  judge: judge.JudgeConfig
  rule: judges.RuleConfig
  endpoint: endpoint.EndpointConfig | None
  preference: preference.PreferenceConfig


def read(config) -> Stage:
  """Builds every record, so that a wrong setting is refused before any compute."""
  # Where the schedules end is known once the data is read.
  optimizer.OptimizerConfig(**config.optimizer, steps=config.optimizer.warmup + 1)
  if not config.base and not (config.model and config.data.file):
    raise ValueError(
      "this config brings no world of prompts: add model=MODEL,data=FILE, with pairs and labelled "
      "answers"
    )
  stage = Stage(
    data=opinions.OpinionConfig(**config.data),
    collect=collect.CollectConfig(**config.collect, samples=config.data.answers),
    sampler=decode.SamplerConfig(**config.sampler),
    people=general.Quality(**config.people),
    judge=judge.JudgeConfig(**config.judge),
    rule=judges.RuleConfig(**config.rule),
    endpoint=endpoint.EndpointConfig(**config.endpoint) if config.endpoint.url else None,
    preference=preference.PreferenceConfig(**config.preference),
  )
  lineage.same(
    "template",
    {"collect": stage.collect.template, "preference": stage.preference.template},
  )
  return stage


def opine(stage: Stage, model, source: str, folder: pathlib.Path, console) -> opinions.Opinions:
  """Pairs and labels: those that the workdir holds already, or new ones."""
  if (found := opinions.read(folder)) is not None:
    return found
  faults: list[str] = []
  say = judges.model(stage.endpoint, faults) if stage.endpoint else judges.rule(stage.rule)
  sampled = (stage.collect, stage.sampler, folder, source, console.print)
  answer = opinions.answering(model, *sampled)
  answer = opinions.beside(answer, stage.people, stage.data.people, stage.collect.seed)
  try:
    found = opinions.gather(stage.data, stage.judge, say, answer, model.tokenizer)
  finally:  # where no pair is left, they are the reason
    for fault in faults[:3]:
      console.print(f"the judge: {fault}", style="yellow", markup=False, soft_wrap=True)
  opinions.write(folder, found)
  return found


def main(config, folder: pathlib.Path) -> None:
  stage = read(config)
  if finish.already(folder, "preference", config.to_dict()):
    return
  with imitate.session(config, stage.preference.batch.rows, stage.sampler.slots) as at:
    run.claim(folder, "preference", config.to_dict())
    policy, parents = models.find(
      config.model,
      config.base,
      dict(config.runtime) | {"rules": at.rules},
      dtype=config.weights,
      mesh=at.mesh,
      mtp=False,
      adapters=None,
      seed=stage.preference.seed,
      say=at.console.print,
    )
    (source,) = parents.values()
    lineage.descend(folder, "preference", parents)
    found = opine(stage, policy, source, folder, at.console)
    lineage.begin(folder, "preference", parents, found.digests, found.counts)
    tell(found, at.console)
    sides = {
      "helpful": preferences.hold_out(found.pairs, stage.data.share),
      "safety": preferences.hold_out(found.labels, stage.data.share),
    }
    for kind, (train, held) in sides.items():
      task = prefer.Task(kind=kind, train=train, held=held)
      prefer.make(task, config, stage.preference, policy, parents, folder / kind, at)
    made = {kind: lineage.digest(folder / kind) for kind in reward_models.KINDS}
    lineage.finish(folder, made | found.digests)


def tell(found: opinions.Opinions, console) -> None:
  """What was kept, and why the rest was not."""
  for name, count in found.counts.items():
    why = ", ".join(f"{number:,} {reason}" for reason, number in count["dropped"].items())
    console.print(f"{name}: {count['kept']:,} kept" + (f"; dropped: {why}" if why else ""))
  if found.missing:
    console.print(f"{found.missing:,} votes of the judge were not heard", style="yellow")


if __name__ == "__main__":
  run.stage(main)
