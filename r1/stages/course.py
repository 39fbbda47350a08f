"""The course of a stage of reinforcement learning: evaluated, continued, saved, ended."""

import dataclasses
import math

from r1.evals import held_out
from r1.report import curves, progress, table, warning
from r1.sampling import rollout
from r1.stages import finish as ending
from r1.stages import iteration, reinforce
from r1.train import checkpoint, metrics, snapshot

EVALUATION = 2**31  # the rollout number of evaluations: a stream of its own


def begin(setup: reinforce.Setup, run: reinforce.Run):
  """(checkpointer, run): from the last checkpoint, or from the start, which is evaluated."""
  stage = setup.stage
  checkpointer = checkpoint.open_folder(setup.folder / "checkpoints", keep=stage.rl.keep)
  run = resume(checkpointer, setup, run)
  if run.rollouts == 0:
    before = evaluate(run.state.policy, setup, 0)
    iteration.warn(warning.of_base(before, stage.eval.samples), setup)
  return checkpointer, run


def resume(checkpointer, setup: reinforce.Setup, run: reinforce.Run) -> reinforce.Run:
  """The run of the last checkpoint, if there is one; what was logged after it is cut off."""
  last = -1
  if checkpointer.latest is not None:
    more = {"ref": run.ref, "run": None} | run.more
    state, saved = snapshot.restore(checkpointer, run.state, more)
    carried = saved["run"]
    done = carried.pop("rollouts")
    others = {name: saved[name] for name in run.more}
    run = reinforce.Run(done, state, ref=saved["ref"], carried=carried, more=others)
    setup.console.print(f"continuing after rollout {done}")
    last = done * setup.stage.batch.minibatches
  for name in ("metrics.jsonl", "samples.jsonl"):
    metrics.keep_until(setup.folder / name, last)
  return run


def evaluate(params, setup: reinforce.Setup, step: int) -> dict:
  """The policy on the held-out questions, logged."""
  stage = setup.stage

  def answer(questions, samples: int, temperature: float):
    return rollout.sample_groups(
      params,
      questions,
      setup.model.tokenizer,
      stage.rl.template,
      group=samples,
      rollout=EVALUATION,
      limit=stage.eval.limit,
      cfg=setup.model.cfg,
      sampler=stage.sampler,
      temperature=temperature,
      seed=stage.eval.seed,
    )

  result = held_out.evaluate(answer, setup.questions.held, setup.verifier, stage.eval)
  metrics.log(setup.folder, setup.writer, step, result)
  return result


def bar(setup: reinforce.Setup, run: reinforce.Run):
  """The live line; gives show(rollouts done, metrics)."""
  return progress.bar(setup.console, setup.stage.rl.rollouts, run.rollouts)


def keep(checkpointer, run: reinforce.Run, values: dict, setup: reinforce.Setup) -> None:
  """A checkpoint where one is due, and after the last rollout."""
  loop = setup.stage.rl
  if run.rollouts % loop.checkpoint_every == 0 or run.rollouts == loop.rollouts:
    save(checkpointer, run, setup, values.get("reward/total", -math.inf))


def save(checkpointer, run: reinforce.Run, setup: reinforce.Setup, score: float) -> None:
  """A checkpoint of the run as it is."""
  step = run.rollouts * setup.stage.batch.minibatches
  more = {"ref": run.ref, "run": {"rollouts": run.rollouts} | run.carried} | run.more
  snapshot.save(checkpointer, step, run.state, more, score=score, say=setup.console.print)


def finish(checkpointer, run: reinforce.Run, setup: reinforce.Setup) -> None:
  """The evaluation after training, the table, the picture, and the model for others."""
  checkpointer.close()
  step, path = run.rollouts * setup.stage.batch.minibatches, setup.folder / "metrics.jsonl"
  lines = metrics.read(path)
  if not any("eval/greedy" in line and line["step"] == step for line in lines):
    evaluate(run.state.policy, setup, step)
    lines = metrics.read(path)
  results = [line for line in lines if "eval/greedy" in line]
  title = f"{min(len(setup.questions.held), setup.stage.eval.questions)} held-out questions"
  columns = [(setup.title.before, results[0]), (setup.title.after, results[-1])]
  setup.console.print(table.build(title, columns))
  panels = curves.ALIGNED if setup.judges else curves.RL
  curves.draw(lines, panels, setup.folder / "curves.png", setup.title.after)
  model = dataclasses.replace(setup.model, params=run.state.policy)
  texts = ending.texts(setup.folder)
  ending.finish(setup.folder, model, numbers=results[-1], texts=texts, console=setup.console)
