"""What a layer keeps of its forward pass for its backward pass, by name.

none: everything. layer: its input alone, and all else is computed again. dots: the results of its
matmuls and of its attention besides, so that only what is cheap is computed again: norms, rotations
and activations, and the routed experts of a mixture.
"""

from collections.abc import Callable

import jax
from jax import ad_checkpoint

NAMES = ("none", "layer", "dots")
ATTENTION = "attention"  # what the bodies mark as theirs, see `kept`


def kept(x):
  """Marks a result of an attention body, which `dots` keeps."""
  return ad_checkpoint.checkpoint_name(x, ATTENTION)


def wrap(layer: Callable, name: str, *, scanned: bool) -> Callable:
  """The layer under the policy of this name. scanned: it is the body of a `jax.lax.scan`, whose
  loop alone keeps the compiler from merging what is computed again with what was."""
  if name == "none":
    return layer
  return jax.checkpoint(layer, policy=POLICIES[name], prevent_cse=not scanned)


_policies = jax.checkpoint_policies
POLICIES = {
  "layer": None,
  "dots": _policies.save_from_both_policies(
    _policies.dots_with_no_batch_dims_saveable, _policies.save_only_these_names(ATTENTION)
  ),
}
