"""One optimiser step over packed micro-batches, compiled once per shape."""

import pathlib

import jax
import jax.numpy as jnp
import optax

from r1.algorithms import experts, grpo
from r1.train import state as states


def make_update(loss, tx: optax.GradientTransformation, bias_rate: float = 0.0):
  """Turns `loss(params, microbatch) -> (value, metrics)` into `update(state, batch, used)`.

  What an update is given beyond these goes to the loss as it is, behind each micro-batch: weights
  of another model, which are not trained.
  The loss is a sum whose weights are normalised over the whole step, so the micro-batches'
  gradients add up (no mean of means). batch: arrays [U, ...]; the first `used` of them run. An
  update whose loss or gradient is not finite is not applied, and is counted. One without a single
  counted token is not applied either: moments and schedule do not move on nothing. bias_rate: of
  the experts' balance without a gradient.
  """

  def update(state: states.TrainState, batch, used, *more):
    whole = lambda params, micro: loss(state.frozen | params, micro, *more)
    grads, value, total = accumulate(whole, state.params, batch, used)
    norm = optax.tree.norm(grads)
    fine = jnp.isfinite(value) & jnp.isfinite(norm)
    delta, opt = tx.update(grads, state.opt, state.params)
    params = optax.apply_updates(state.params, delta)

    if bias_rate and "load" in total:
      params = experts.update_bias(params, total["load"], bias_rate)
    apply = fine & (total["count"] > 0)

    def choose(new, old):
      return jax.tree.map(lambda a, b: jnp.where(apply, a, b), new, old)

    after = states.TrainState(
      step=state.step + apply,
      skipped=state.skipped + ~fine,
      in_row=jnp.where(fine, 0, state.in_row + 1),
      params=choose(params, state.params),
      opt=choose(opt, state.opt),
      frozen=state.frozen,
    )
    metrics = grpo.summary(value, total) | {"policy/grad_norm": norm}
    return after, metrics | {"policy/skipped": after.skipped, "policy/skipped_in_row": after.in_row}

  return update


def check_finite(metrics: dict, patience: int, number: int, folder: pathlib.Path) -> None:
  """Raises FloatingPointError where `patience` updates in a row up to `number` were not finite.

  metrics: of update `number`, as `make_update` gives them. folder: the run's workdir.
  """
  if metrics["policy/skipped_in_row"] >= patience:
    raise FloatingPointError(
      f"NaN or infinity in {patience} updates in a row at update {number}; none of them was "
      f"applied, and {folder / 'checkpoints'} is intact. Start from it in a new --workdir (model=) "
      "with a lower learning rate"
    )


def accumulate(loss, params, batch, used):
  """(gradient, loss, metrics) added over the first `used` micro-batches."""
  differentiate = jax.value_and_grad(loss, has_aux=True)

  def one(u):
    micro = jax.tree.map(lambda x: x[u], batch)
    (value, metrics), grads = differentiate(params, micro)
    return grads, value, metrics

  def step(u, carry):
    grads, value, total = one(u)
    return jax.tree.map(jnp.add, carry[0], grads), carry[1] + value, grpo.add(carry[2], total)

  empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(one, 0))
  return jax.lax.fori_loop(0, used, step, empty)
