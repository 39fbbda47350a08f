"""A run's state as its checkpoints hold it: the whole model, the rest, and what a stage adds."""

import time
from collections.abc import Callable

from r1.model import lora
from r1.train import checkpoint, state


def trees(made: state.TrainState, more: dict) -> dict:
  """What a checkpoint holds: "params" is the model as samplers read it, "rest" the other half.

  more: the stage's own trees by name, such as a reference policy and how far the run is.
  """
  return {"params": made.policy, "rest": made.replace(params={}, frozen={})} | more


def save(
  checkpointer, step: int, made: state.TrainState, more: dict, *, score: float, say: Callable
) -> None:
  """Writes the checkpoint of `step`, and says its size and how long that took."""
  started = time.monotonic()
  size = checkpoint.save(checkpointer, step, trees(made, more), score=score)
  say(f"checkpoint {step}: {size / 2**20:.1f} MiB in {time.monotonic() - started:.1f} s")


def restore(checkpointer, made: state.TrainState, more: dict) -> tuple[state.TrainState, dict]:
  """(state, the stage's own trees) of the last checkpoint, shaped and placed like the given."""
  saved = checkpoint.restore(checkpointer, None, trees(made, more))
  trained, frozen = lora.split(saved["params"])
  return saved["rest"].replace(params=trained, frozen=frozen), {name: saved[name] for name in more}
