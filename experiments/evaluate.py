"""One model on the suite of the embedded world: what a row of the stage table is made of.

  python -m experiments.evaluate --config=configs/evaluate.py:tiny,model=runs/zero --workdir=runs/ev

arXiv 2501.12948v2 tables 3 and 14 have these rows for the paper's stages. Leaves evaluation.json
(numbers with standard errors) and answers.jsonl (the general answers, each with its judgement, to
be compared with another model's).
"""

import json
import pathlib
import time

import rich.console

from r1 import sharding
from r1.data.worlds import arithmetic
from r1.evals import suite
from r1.rewards import accuracy
from r1.sampling import decode, rollout
from r1.stages import finish
from r1.train import host, lineage, models, run

ROLLOUT = 2**31 + 1  # the rollout number of these answers: a stream of their own


def read(config) -> tuple[suite.SuiteConfig, arithmetic.World, accuracy.VerifierConfig]:
  """The settings; a wrong one is refused before any compute."""
  if not config.model:
    raise ValueError("nothing to evaluate: add model=MODEL after the colon, a workdir or a folder")
  verifier = accuracy.config(config.verifier, config.mode)
  return suite.SuiteConfig(**config.suite), arithmetic.World(**config.world), verifier


def main(config, folder: pathlib.Path) -> None:
  started, console = time.monotonic(), rich.console.Console()
  host.quiet_libraries()
  host.keep_compiled_programs()
  cfg, world, judging = read(config)
  if finish.already(folder, "evaluate", config.to_dict()):
    return
  where = models.local(config.model)
  lineage.parent(where)
  run.claim(folder, "evaluate", config.to_dict())
  lineage.begin(folder, "evaluate", {config.model: lineage.digest(where)}, {}, {})
  mesh, rules = sharding.layout(dict(config.mesh), 1)
  runtime = dict(config.runtime) | {"rules": rules}
  with sharding.on(mesh), accuracy.Verifier(judging) as verifier:
    model = models.load(where, runtime=runtime, dtype=config.weights, mesh=mesh)
    sampler = decode.SamplerConfig(**config.sampler, top_k=0, top_p=config.top_p, min_p=0.0)

    def answer(questions, samples: int, temperature: float):
      return rollout.sample_groups(
        model.params,
        questions,
        model.tokenizer,
        config.template,
        group=samples,
        rollout=ROLLOUT,
        limit=cfg.limit,
        cfg=model.cfg,
        sampler=sampler,
        temperature=temperature,
        seed=cfg.seed,
      )

    numbers, judged = suite.measure(answer, world, verifier, cfg)
  with (folder / "answers.jsonl").open("w") as file:
    file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in judged)
  run.note(folder / "evaluation.json", numbers)
  names = ("evaluation.json", "answers.jsonl")
  lineage.finish(folder, {name: lineage.digest_of_files(folder / name) for name in names})
  for name, (mean, error) in numbers.items():
    console.print(f"{name:>22}  {mean:.3f} ± {error:.3f}")
  console.print(f"done in {(time.monotonic() - started) / 60:.1f} minutes")


if __name__ == "__main__":
  run.stage(main)
