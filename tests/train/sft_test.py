"""The loop around supervised fine-tuning: its order, its settings, what it looks at."""

import math

import jax
import numpy as np
import pytest

from r1.algorithms import experts
from r1.algorithms import sft as objective
from r1.train import sft
from tests.train import tiny

SETTINGS = {
  "seed": 4,
  "template": "short",
  "epochs": 2,
  "steps": 0,
  "conversations": 3,
  "row_tokens": 64,
  "microbatch_tokens": 128,
  "normalise": "token",
  "mtp_weight": 0.0,
  "overlong": "refuse",
  "eval_every": 2,
  "eval_conversations": 8,
  "checkpoint_every": 4,
  "keep": 1,
  "patience": 5,
}


def settings(**changes):
  return sft.SftConfig(**(SETTINGS | changes))


def sequences(lengths, seed=0):
  """Random tokens, the first two of them not scored."""
  rng = np.random.default_rng(seed)
  return [(rng.integers(4, 300, n).astype(np.int32), np.arange(n) > 1) for n in lengths]


# Order -------------------------------------------------------------------------------------------


def test_an_epoch_takes_every_conversation_once_and_its_last_update_what_is_left():
  # 10 conversations, 3 an update: 3 + 3 + 3 + 1.
  epochs = [[sft.pick(10, 3, 4 * e + n, seed=4) for n in range(4)] for e in range(2)]
  for epoch in epochs:
    assert [len(chosen) for chosen in epoch] == [3, 3, 3, 1]
    assert sorted(i for chosen in epoch for i in chosen) == list(range(10))
  assert epochs[0] != epochs[1]
  assert sft.pick(10, 3, 5, seed=4) == epochs[1][1], "no memory: (seed, number) is all"
  assert sft.pick(10, 3, 0, seed=5) != epochs[0][0]


def test_an_update_of_more_conversations_than_there_are_takes_them_all():
  assert sorted(sft.pick(4, 100, 7, seed=0)) == [0, 1, 2, 3]


def test_a_run_is_as_long_as_its_epochs_or_its_steps():
  assert sft.total_steps(settings(), 10) == 2 * 4
  assert sft.total_steps(settings(epochs=0, steps=7), 10) == 7


def test_every_update_of_a_run_fits_into_the_capacity():
  lengths = [64, 40, 40, 33, 33, 33, 20, 3, 3, 3]
  cfg = settings(conversations=4)
  given = sequences(lengths)
  fits = sft.capacity(cfg, given)
  for number in range(30):
    chosen = [given[i] for i in sft.pick(len(given), cfg.conversations, number, cfg.seed)]
    batch, used = objective.assemble(chosen, normalise="token", cfg=cfg.batch, microbatches=fits)
    assert 1 <= used <= fits
    assert batch.token_BL.shape == (fits, 2, 64)
  assert sft.capacity(settings(conversations=100), given) <= math.ceil(len(given) / 2)


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"epochs": 0}, "epochs=0 and steps=0: wanted one of them above 0, the other 0"),
    ({"steps": 5}, "epochs=2 and steps=5: wanted one of them"),
    ({"steps": -1}, "epochs=2 and steps=-1: wanted one of them"),
    ({"template": "chatml"}, "unknown template 'chatml'; there are"),
    ({"mtp_weight": -0.1}, "mtp_weight=-0.1 must be >= 0"),
    ({"normalise": "mean"}, "normalise='mean': choose one of token, response"),
    ({"overlong": "cut"}, "overlong='cut': choose one of refuse, drop"),
    ({"microbatch_tokens": 100}, "microbatch_tokens=100 must be a multiple of row_tokens=64"),
    ({"conversations": 0}, "conversations=0 must be >= 1"),
    ({"patience": 0}, "patience=0 must be >= 1"),
    ({"checkpoint_every": 3}, "checkpoint_every=3 must be a multiple of eval_every=2"),
    ({"eval_every": -2}, "eval_every=-2"),
  ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    settings(**changes)


def test_without_looks_at_the_held_out_any_checkpoint_will_do():
  assert settings(eval_every=0, checkpoint_every=3).checkpoint_every == 3


# What is told ------------------------------------------------------------------------------------


def test_the_held_out_loss_does_not_depend_on_the_micro_batches():
  """Four of them and two that are not in use, against one and one."""
  cfg, given = tiny.model(), sequences([60, 50, 40, 31, 24, 9])
  weights = tiny.params(cfg)
  evaluate = jax.jit(sft.make_evaluate(objective.make_loss(cfg, experts.OFF, 0.0)))
  found = []
  for rows, microbatches in ((1, 6), (6, 2)):
    batch, used = objective.assemble(
      given,
      normalise="token",
      cfg=settings(microbatch_tokens=64 * rows).batch,
      microbatches=microbatches,
    )
    assert used == {1: 4, 6: 1}[rows] < microbatches
    found.append(sft.named(jax.device_get(evaluate(weights, batch, used)), "eval"))
  assert found[0].keys() == {"eval/loss", "eval/accuracy", "eval/entropy"}
  assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_metrics_get_the_names_of_the_stage():
  given = {"policy/loss": 1.5, "sft/accuracy": 0.5, "policy/grad_norm": 2.0}
  assert sft.named(given, "sft") == {
    "sft/loss": 1.5,
    "sft/accuracy": 0.5,
    "policy/grad_norm": 2.0,
  }
  assert sft.named(given, "eval")["eval/accuracy"] == 0.5
  first = (np.arange(3), np.ones(3, bool))  # its first token is nobody's target
  assert sft.tokens([*sequences([5, 9]), first], "sft") == {"sft/tokens": 3 + 7 + 2}


def test_a_run_says_what_it_is_about_to_do():
  cfg, train = settings(), sequences([10] * 10)
  first, second, third = sft.lines(tiny.model(), cfg, train, sequences([5] * 4), devices=1)
  assert (
    first == "10 conversations of 100 tokens, 80 of them the assistant's; 4 held out to look at"
  )
  assert second.startswith(
    "8 updates of 3 conversations = 2.0 epochs; micro-batches of 2 rows x 64"
  )
  assert "parameters on 1" in third
  _, second, _ = sft.lines(tiny.model(), settings(epochs=0, steps=6), train, [], devices=1)
  assert second.startswith("6 updates of 3 conversations = 1.5 epochs")


def test_a_line_of_an_update_is_short():
  values = {"sft/loss": 1.25, "sft/accuracy": 0.5, "throughput/train_tokens_per_s": 12345.6}
  assert sft.line(3, 40, values) == "update 3/40  loss 1.2500  accuracy 0.5000  12,346 tokens/s"
