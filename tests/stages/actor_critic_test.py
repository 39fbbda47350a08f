"""The value model of a stage: refused settings, where it starts, and buffers of its own."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import ppo as recipe
from r1.model import lora, transformer
from r1.stages import actor_critic, questions, reinforce
from r1.train import models, optimizer, ppo, state, workdir
from tests.experiments import runs
from tests.stages import fakes
from tests.train import tiny


def config(**changes):
  return runs.changed(recipe.get_config("tiny"), {}, **changes)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"ppo.lam": 1.5}, "lam=1.5: wanted a number from 0 to 1"),
    ({"ppo.gamma": -1.0}, "gamma=-1.0"),
    ({"ppo.group": 1}, "group=1"),
    ({"ppo.max_tokens": 1}, "max_tokens=1 is below the limit"),
    ({"rl.partial_tokens": 16}, "partial_tokens=16"),
    ({"batch.minibatches": 7}, "do not divide into minibatches=7"),
    ({"value_optimizer.warmup": 10_000}, "warmup=10000 must be shorter than"),
    ({"sampler.cache_dtype": "int8"}, "without a sampler_cap"),
  ],
)
def test_settings_that_do_not_fit_are_refused_before_any_compute(changes, message):
  with pytest.raises(ValueError, match=message):
    actor_critic.read(runs.changed(recipe.get_config("tiny"), changes))


def test_partial_rollouts_are_refused_by_what_is_wrong_with_them():
  made = config(rl__partial_tokens=16, ppo__sampler_cap=2.0)
  with pytest.raises(ValueError, match="several policies drew"):
    actor_critic.read(made)


def test_the_stage_s_policy_loss_has_ppo_s_settings_and_no_kl():
  stage = actor_critic.read(config(ppo__clip_high=0.3))
  assert (stage.grpo.clip_high, stage.grpo.kl, stage.grpo.group) == (0.3, 0, 8)


def begun(monkeypatch, tmp_path, model):
  """(critic, run) of a policy, without a compiled update."""
  monkeypatch.setattr(ppo, "compiled", lambda *_, **__: None)
  trained, frozen = lora.split(model.params)
  tx = optimizer.make(tiny.adam(), lora.split(transformer.specs(model.cfg))[0])
  policy = state.init(trained, tx, jax.tree.map(jax.numpy.copy, frozen))
  stage, asked = actor_critic.read(config()), questions.Questions(fakes.maths(8), 0, [], {}, {})
  setup = fakes.setup(stage, asked, fakes.Seen(), tmp_path)
  setup = dataclasses.replace(setup, model=dataclasses.replace(model, params={}))
  run = reinforce.Run(rollouts=0, state=policy, ref=trained, carried={})
  return actor_critic.build(config(), setup, run)


def test_the_value_model_starts_as_the_policy_with_a_head_of_zeros(monkeypatch, tmp_path):
  cfg = tiny.model()
  critic, run = begun(monkeypatch, tmp_path, workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg)))
  assert critic.model_cfg == dataclasses.replace(cfg, scalar=True)
  value = dict(run.more["value"].policy)
  assert not np.asarray(value.pop("scalar_D")).any()
  jax.tree.map(np.testing.assert_array_equal, value, run.state.policy)


@pytest.mark.parametrize("rank", [0, 4])
def test_the_value_model_shares_no_buffer_with_the_policy(monkeypatch, tmp_path, rank):
  """The policy's update gives its buffers away, and the value model is scored after it."""
  cfg = tiny.model()
  model = workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg))
  if rank:
    adapters = lora.LoraConfig(rank=rank, alpha=8.0, pattern=r"dense/attn/[qv]_\w+")
    model = models.adapt(model, adapters, mesh=None, seed=0)
  _, run = begun(monkeypatch, tmp_path, model)
  where = lambda tree: {x.unsafe_buffer_pointer() for x in jax.tree.leaves(tree)}
  assert not where(run.state) & where(run.more["value"])


def test_beside_adapters_the_value_model_trains_adapters_and_its_head_alone(monkeypatch, tmp_path):
  cfg = tiny.model()
  adapters = lora.LoraConfig(rank=4, alpha=8.0, pattern=r"dense/attn/[qv]_\w+")
  model = workdir.Model(cfg, tiny.tokenizer(), tiny.params(cfg))
  _, run = begun(monkeypatch, tmp_path, models.adapt(model, adapters, mesh=None, seed=0))
  assert run.more["value"].params.keys() == {"lora", "scalar_D"}
