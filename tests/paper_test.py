"""Every recipe at the paper's size: its model, its state, one update, one chunk of decoding.

Shapes alone: nothing of that size is in memory, and nothing is compiled.
"""

import dataclasses
import functools
import importlib
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import distill as students_recipe
from configs import r1_zero
from r1 import sharding, spec
from r1.algorithms import ends, experts, minibatch
from r1.algorithms import grpo as grpo_lib
from r1.algorithms import ppo as ppo_lib
from r1.algorithms import sft as objective
from r1.model import pages, presets, transformer
from r1.sampling import chunk, decode, engine
from r1.train import models, optimizer, ppo, preference, rl, sft, students, workdir
from r1.train import state as states
from r1.train import step as steps
from tests.experiments import families

ROOT = pathlib.Path(__file__).parents[1]
POLICY = "deepseek-v3"
TOTAL = 10_000  # updates of a schedule; shapes do not depend on it


def made(stem, arg):
  return importlib.import_module(f"configs.{stem}").get_config(arg)


def recipes():
  """(stem, argument, preset) of every config that has a size "paper"."""
  for path in sorted((ROOT / "configs").glob("*.py")):
    recipe = importlib.import_module(f"configs.{path.stem}")
    if path.stem == "distill":
      for name, base in families.BASES.items():
        yield path.stem, f"paper,student={name}", base
    elif hasattr(recipe, "paper"):
      yield path.stem, "paper", POLICY


RECIPES = list(recipes())
LEARNING = [recipe for recipe in RECIPES if {"grpo", "ppo", "sft"} & set(made(*recipe[:2]))]


@functools.cache
def model(stem, arg, preset):
  """(config of the model, its parameters' shapes), as the stage makes it of the checkpoint."""
  config = made(stem, arg)
  cfg = presets.config(preset, dict(config.runtime) | {"rules": None}, mtp=False)
  params = jax.eval_shape(
    lambda tree: models.cast(tree, config.weights), spec.abstract(transformer.specs(cfg))
  )
  if "student" not in config:
    return cfg, params
  found = []

  def prepared(params):
    asked = students.StudentConfig(**config.student)
    found.append(students.prepare(workdir.Model(cfg, None, params), asked, mesh=None))
    return found[-1].params

  params = jax.eval_shape(prepared, params)
  return found[-1].cfg, params


def wide(x, count):
  """The array of one micro-batch as the shape of `count` of them."""
  return jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype)


def updates(config):
  """(the policy's loss, the rows of an update, how many micro-batches it may take)."""
  if "ppo" in config:
    algorithm = ppo_lib.PpoConfig(**config.ppo).policy
  else:
    algorithm = grpo_lib.GrpoConfig(**config.grpo)
  batch = minibatch.BatchConfig(**config.batch)
  return algorithm, batch, rl.capacity(rl.RlConfig(**config.rl), algorithm, batch, batch.row_tokens)


def reinforcement(config, cfg):
  """(loss, batch): those of GRPO, or of PPO's policy."""
  algorithm, batch, count = updates(config)
  mixture = experts.ExpertsConfig(**config.experts)
  one, _ = rl.empty_step(batch, algorithm, 1)
  heat_U = jax.ShapeDtypeStruct((count,), jnp.float32)
  given = jax.tree.map(lambda x: wide(x, count), one), heat_U
  return rl.make_loss(cfg, algorithm, mixture), given


def imitation(config, cfg):
  """(loss, batch): those of SFT, for conversations that fill their rows."""
  loop, mixture = sft.SftConfig(**config.sft), experts.ExpertsConfig(**config.experts)
  one = np.arange(loop.row_tokens) % 100, np.ones(loop.row_tokens, bool)
  count = sft.capacity(loop, [one] * loop.conversations)
  given, _ = objective.assemble([one], normalise="token", cfg=loop.batch, microbatches=1)
  loss = objective.make_loss(cfg, mixture, loop.mtp_weight)
  return loss, jax.tree.map(lambda x: wide(x, count), given)


def kinds(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_every_recipe_that_learns_has_its_update_checked():
  """A new stage of the paper's size adds its loss to this file."""
  learning = {stem for stem, arg, _ in RECIPES if "optimizer" in made(stem, arg)}
  assert {stem for stem, *_ in LEARNING} | {"preference"} == learning


@pytest.mark.parametrize(("stem", "arg", "preset"), LEARNING)
def test_one_update_at_full_size_gives_back_the_state_that_it_took(stem, arg, preset):
  config, (cfg, params) = made(stem, arg), model(stem, arg, preset)
  opt = optimizer.OptimizerConfig(**config.optimizer, steps=TOTAL)
  tx = optimizer.make(opt, transformer.specs(cfg))
  state = jax.eval_shape(lambda tree: states.init(tree, tx), params)
  adam = [
    s.mu for s in jax.tree.leaves(state.opt, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu")
  ]
  assert kinds(adam[0]) == kinds(params)
  loss, batch = (reinforcement if {"grpo", "ppo"} & set(config) else imitation)(config, cfg)
  rows = next(x for x in jax.tree.leaves(batch) if x.ndim == 3)
  assert rows.shape[2] <= cfg.context
  update = steps.make_update(loss, tx, config.experts.bias_rate)
  after, metrics = jax.eval_shape(update, state, batch, 1)
  assert kinds(after) == kinds(state)
  assert metrics["policy/loss"].shape == metrics["policy/grad_norm"].shape == ()


def test_an_update_of_ppo_s_value_model_at_full_size_gives_back_its_state():
  """It is the policy with a scalar head in place of its own."""
  config, (policy, weights) = made("ppo", "paper"), model("ppo", "paper", POLICY)
  cfg = dataclasses.replace(policy, scalar=True, mtp=0)
  like = lambda tree: models.with_scalar(workdir.Model(policy, None, tree), mesh=None).params
  params = jax.eval_shape(like, weights)
  opt = optimizer.OptimizerConfig(**config.value_optimizer, steps=TOTAL)
  tx = optimizer.make(opt, transformer.specs(cfg))
  state = jax.eval_shape(lambda tree: states.init(tree, tx), params)
  _, rows, count = updates(config)
  one, _ = ppo.empty_step(rows, 1)
  mixture = experts.ExpertsConfig(**config.experts)
  loss = ppo.make_loss(cfg, ppo_lib.PpoConfig(**config.ppo), mixture)
  update = steps.make_update(loss, tx, mixture.bias_rate)
  after, _ = jax.eval_shape(update, state, jax.tree.map(lambda x: wide(x, count), one), 1)
  assert kinds(after) == kinds(state)
  assert sum(x.size for x in jax.tree.leaves(params)) < sum(
    x.size for x in jax.tree.leaves(weights)
  )


@pytest.mark.parametrize("kind", preference.LOSSES)
def test_an_update_of_a_reward_model_at_full_size_gives_back_its_state(kind):
  """A batch of 256 pairs or labels whose sequences are as long as rows."""
  config, (policy, weights) = made("preference", "paper"), model("preference", "paper", POLICY)
  cfg, loop = dataclasses.replace(policy, scalar=True, mtp=0), config.preference
  like = lambda tree: models.with_scalar(workdir.Model(policy, None, tree), mesh=None).params
  params = jax.eval_shape(like, weights)
  tx = optimizer.make(
    optimizer.OptimizerConfig(**config.optimizer, steps=TOTAL), transformer.specs(cfg)
  )
  state = jax.eval_shape(lambda tree: states.init(tree, tx), params)
  method, settings = preference.LOSSES[kind], preference.PreferenceConfig(**loop)
  count = ends.capacity(loop.examples, method.SIDES, settings.batch)
  assert count == {"helpful": 8, "safety": 4}[kind]  # of 64 rows
  item = [(np.ones(loop.row_tokens, np.int32), 1)] * method.SIDES
  one, _ = ends.assemble([item], cfg=settings.batch, microbatches=1)
  loss = ends.make_loss(method.loss, cfg, experts.ExpertsConfig(**config.experts))
  update = steps.make_update(loss, tx, config.experts.bias_rate)
  after, _ = jax.eval_shape(update, state, jax.tree.map(lambda x: wide(x, count), one), 1)
  assert kinds(after) == kinds(state)


@pytest.mark.parametrize(("stem", "arg", "preset"), RECIPES)
def test_one_chunk_of_decoding_at_full_size_gives_back_the_cache_that_it_took(stem, arg, preset):
  """Stages that do not sample are sampled from by the next one: as in R1-Zero's recipe."""
  config, (cfg, params) = made(stem, arg), model(stem, arg, preset)
  source = config if "sampler" in config else r1_zero.get_config("paper")
  filters: dict = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
  sampler = decode.SamplerConfig(**filters | dict(source.sampler))
  book, B = engine.blank(sampler), sampler.slots // sampler.in_flight
  pool = jax.eval_shape(
    lambda: pages.empty(cfg, book.count, book.width, "tpu", sampler.cache_dtype)
  )
  none_B = np.zeros(B, np.int32)
  rows = chunk.Rows(none_B, none_B, none_B, np.zeros((B, 3), np.uint32), none_B)
  key = jax.eval_shape(lambda: jax.random.key(0))
  run = functools.partial(chunk.run, cfg=cfg, sampler=sampler, eos=(0,))
  after, drawn, _ = jax.eval_shape(run, params, pool, rows, *book.entries([]), key, np.float32(1))
  assert kinds(after) == kinds(pool)
  assert drawn.token_BM.shape == (B, sampler.chunk)


@pytest.mark.parametrize(("stem", "arg", "preset"), RECIPES)
def test_the_mesh_divides_every_weight_and_the_state_leaves_half_of_a_chip_free(stem, arg, preset):
  """Weights, two moments and a gradient in float32, on chips of 80 GB or more."""
  config, (cfg, _) = made(stem, arg), model(stem, arg, preset)
  sizes = tuple(config.mesh[axis] for axis in sharding.AXES)
  mesh, rules = jax.sharding.AbstractMesh(sizes, sharding.AXES), sharding.FSDP_TENSOR
  homes = spec.flatten(sharding.placed(transformer.specs(cfg), mesh, rules))
  each = sum(math.prod(s.sharding.shard_shape(s.shape)) for s in homes.values())
  assert 16 * each < 40e9
  if "sft" in config:
    batch = sft.SftConfig(**config.sft).batch
    sharding.check_rows(dict(config.mesh), batch.rows)
    # What a layer keeps for the backward pass is its input, in bfloat16.
    own = batch.rows // sharding.row_shards(config.mesh)
    kept = own * batch.row_tokens * cfg.D * 2 * sum(count for _, count in cfg.stacks)
    assert 16 * each + kept < 80e9


# The numbers -----------------------------------------------------------------------------------


REINFORCED = {  # sections 2.1, 3.2 and B.4.1 of arXiv 2501.12948v2: temperature, lengths, language
  "r1_zero": (1.0, {32_768, 65_536}, 0.0),
  "reasoning_rl": (1.0, {32_768}, 1.0),
  "alignment_rl": (0.7, {32_768}, 1.0),
}
IMITATED = ("cold_start", "sft")


@pytest.mark.parametrize("stem", [stem for stem, *_ in RECIPES if stem in REINFORCED])
def test_a_stage_of_reinforcement_has_the_paper_s_numbers(stem):
  c, (temperature, limits, language) = made(stem, "paper"), REINFORCED[stem]
  assert (c.optimizer.learning_rate, c.grpo.kl, c.rl.reference_every) == (3e-6, 0.001, 400)
  assert (c.grpo.clip_low, c.grpo.clip_high, c.grpo.group) == (10, 10, 16)
  assert {value for _, value in c.rl.temperature} == {temperature}
  assert {value for _, value in c.rl.limit} == limits
  assert c.reward.language == language
  # 32 questions x 16 answers in each of a rollout's 16 updates.
  assert (c.rl.questions_per_rollout, c.batch.minibatches) == (32 * 16, 16)


@pytest.mark.parametrize("stem", [stem for stem, *_ in RECIPES if stem in IMITATED])
def test_a_stage_of_imitation_has_the_paper_s_numbers(stem):
  """Section B.4.2: 2 to 3 epochs, 5e-5 to 5e-6 along a cosine, 32,768 tokens, batches of 128."""
  c = made(stem, "paper")
  assert c.sft.epochs in (2, 3)
  assert (c.sft.steps, c.sft.conversations, c.sft.row_tokens) == (0, 128, 32_768)
  assert (c.optimizer.learning_rate, c.optimizer.final, c.sft.template) == (5e-5, 0.1, "chat")


# The students ------------------------------------------------------------------------------------


PUBLISHED = {  # parameters of the checkpoints deepseek-ai/DeepSeek-R1-Distill-*
  "qwen-1.5b": 1_777_088_000,
  "qwen-7b": 7_615_616_512,
  "qwen-14b": 14_770_033_664,
  "qwen-32b": 32_763_876_352,
  "llama-8b": 8_030_261_248,
  "llama-70b": 70_553_706_496,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_student_made_of_its_base_is_the_architecture_that_was_published(name):
  arg = f"paper,student={name}"
  cfg, params = model("distill", arg, families.BASES[name])
  runtime = dict(made("distill", arg).runtime) | {"rules": None}
  assert cfg == presets.config(f"r1-distill-{name}", runtime, mtp=False)
  assert sum(x.size for x in jax.tree.leaves(params)) == PUBLISHED[name]


# Table 6 of arXiv 2501.12948v2: the base, and the peak of the learning rate.
TABLE = {
  "qwen-1.5b": ("Qwen/Qwen2.5-Math-1.5B", 1e-4),
  "qwen-7b": ("Qwen/Qwen2.5-Math-7B", 8e-5),
  "qwen-14b": ("Qwen/Qwen2.5-14B", 7e-5),
  "qwen-32b": ("Qwen/Qwen2.5-32B", 6e-5),
  "llama-8b": ("meta-llama/Llama-3.1-8B", 5e-5),
  "llama-70b": ("meta-llama/Llama-3.3-70B-Instruct", 2e-5),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_student_has_the_paper_s_numbers(name):
  """Section B.4.3: 2 to 3 epochs, a cosine to a tenth, 32,768 tokens, batches of 64."""
  c = made("distill", f"paper,student={name}")
  base, rate = TABLE[name]
  assert (c.model, c.optimizer.learning_rate, c.optimizer.final) == (f"hf:{base}", rate, 0.1)
  assert c.sft.epochs in (2, 3)
  assert (c.sft.steps, c.sft.conversations, c.sft.row_tokens) == (0, 64, 32_768)
  assert (c.sft.template, c.sft.overlong, c.distill.logits) == ("chat", "drop", 0)
  total = sft.total_steps(sft.SftConfig(**c.sft), 804_745)
  assert total == 2 * 12_575  # 804,745 / 64 = 12,574.1
  rates = optimizer.schedule(optimizer.OptimizerConfig(**c.optimizer, steps=total))
  assert float(rates(total)) == pytest.approx(rate / 10, rel=1e-3)
  assert max(float(rates(n)) for n in range(0, 200, 10)) == pytest.approx(rate, rel=1e-3)


def test_there_are_six_students():
  assert set(students_recipe.STUDENTS) == set(TABLE) == set(families.BASES)
