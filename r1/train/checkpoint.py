"""Checkpoints of a run: Orbax, sharded, atomic, restorable on another mesh."""

import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

training: Any = ocp.training  # its policies do not have the types that its protocols ask for


def open_folder(folder: pathlib.Path, *, keep: int) -> ocp.training.Checkpointer:
  """A checkpointer that keeps the last `keep` steps and the one with the best `score`."""
  policies = training.preservation_policies
  best = policies.BestN(n=1, get_metric_fn=lambda metrics: metrics["score"], reverse=False)
  return training.Checkpointer(
    folder.absolute(),
    save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
    preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
    cleanup_tmp_directories=True,
  )


def read_folder(folder: pathlib.Path) -> ocp.training.Checkpointer:
  """A checkpointer that only reads, so the folder may be that of a run that is still going."""
  return training.Checkpointer(folder.absolute(), cleanup_tmp_directories=False)


def save(checkpointer, step: int, trees: dict, *, score: float) -> int:
  """Writes {"name": tree} and waits until it is on disk; returns its size in bytes."""
  checkpointer.save_checkpointables(step, trees, metrics={"score": score})
  folder = pathlib.Path(checkpointer.directory) / str(step)
  return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def restore(checkpointer, step: int | None, like: dict) -> dict:
  """The trees of a step (None: the latest), each leaf with the shape and sharding of `like`."""
  return checkpointer.load_checkpointables(step, jax.tree.map(_abstract, like))


def _abstract(leaf):
  if not isinstance(leaf, jax.Array):
    return leaf
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def best_step(checkpointer) -> int:
  """The step with the best score (the earliest of several)."""
  kept = checkpointer.checkpoints
  return max(kept, key=lambda c: (c.metrics["score"], -c.step)).step
