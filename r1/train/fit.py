"""A run's compiled steps without a run: lowered for described weights on described devices.

No large array is allocated: each is a ShapeDtypeStruct that says where it would live.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1 import dims, sharding
from r1.algorithms import grpo, logp, minibatch
from r1.model import lora, pages, transformer
from r1.sampling import chunk, engine
from r1.sampling import decode as decoding
from r1.train import models, optimizer, rl
from r1.train import state as states
from r1.train import step as steps


def weights(cfg, dtype: str, mesh) -> dict:
  """The parameters, each in its shard. dtype: of the weights, adapters and exact ones apart."""
  placed = sharding.placed(transformer.specs(cfg), mesh, cfg.rules)
  cast = jax.eval_shape(lambda params: models.cast(params, dtype), placed)
  return jax.tree.map(lambda s, home: s.update(sharding=home.sharding), cast, placed)


def state(params: dict, tx: optax.GradientTransformation, mesh) -> states.TrainState:
  """A fresh training state; moments live with their parameters, numbers everywhere."""
  trained, frozen = lora.split(params)
  everywhere = NamedSharding(mesh, P())
  fresh = jax.eval_shape(lambda own, rest: states.init(own, tx, rest), trained, frozen)
  fresh = jax.tree.map(lambda s: s.update(sharding=everywhere), fresh)
  start = lambda tree: jax.eval_shape(tx.init, tree)  # described devices make no array
  opt = optax.tree.map_params(start, lambda s, w: s.update(sharding=w.sharding), fresh.opt, trained)
  return fresh.replace(params=trained, opt=opt, frozen=frozen)


def optimiser(cfg: optimizer.OptimizerConfig, model_cfg) -> optax.GradientTransformation:
  """The optimiser of what is trained."""
  return optimizer.make(cfg, lora.split(transformer.specs(model_cfg))[0])


def _array(letters: str, shape, dtype, cfg, mesh) -> Any:
  """The ShapeDtypeStruct of an activation where the rules put its letters."""
  at = NamedSharding(mesh, sharding.pspec(letters, cfg.rules.act))
  return jax.ShapeDtypeStruct(shape, dtype, sharding=at)


def _number(dtype, mesh) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct((), dtype, sharding=NamedSharding(mesh, P()))


def given(
  batch: minibatch.BatchConfig, algorithm: grpo.GrpoConfig, microbatches: int, cfg, mesh
) -> tuple[grpo.GrpoBatch, jax.ShapeDtypeStruct]:
  """(batch [U, B, L], temperatures [U]) of every update of a run with these settings.

  The run's own code says which arrays there are, by an empty micro-batch on the host.
  """
  one, _ = rl.empty_step(batch, algorithm, 1)
  wide = lambda x: _array("UBL", (microbatches, *x.shape[1:]), x.dtype, cfg, mesh)
  return jax.tree.map(wide, one), _array("U", (microbatches,), jnp.float32, cfg, mesh)


def update(params, tx, loss, bias_rate: float, batch, mesh) -> jax.stages.Lowered:
  """The optimiser step of `experiments.r1_zero`, its state donated. batch: see `given`."""
  step = jax.jit(steps.make_update(loss, tx, bias_rate), donate_argnums=0)
  return step.lower(state(params, tx, mesh), batch, _number(jnp.int32, mesh))


def score(params, batch: minibatch.BatchConfig, cfg, mesh) -> jax.stages.Lowered:
  """The log-probabilities of one micro-batch of packed rows."""
  packed, *_ = minibatch.pack([], [], batch, batch.rows)
  rows = jax.tree.map(lambda x: _array("BL", x.shape, x.dtype, cfg, mesh), packed)
  return logp.score.lower(params, rows, cfg, _number(jnp.float32, mesh))


def pool(cfg, sampler: decoding.SamplerConfig, mesh) -> dict:
  """The paged cache of one batch of the engine, each buffer in its shards."""
  book, platform = engine.blank(sampler), mesh.devices.flat[0].platform
  given = cfg, book.count, book.width, platform, sampler.cache_dtype
  held = jax.eval_shape(lambda: pages.empty(*given))

  def home(path, s):
    at = sharding.pspec(dims.suffix(path[-1].key), cfg.rules.act)
    return s.update(sharding=NamedSharding(mesh, at))

  return jax.tree_util.tree_map_with_path(home, held)


def prefill(params, pool: dict, prompt: int, sampler, cfg) -> jax.stages.Lowered:
  """The engine's prompts into their pages, the pool donated. prompt: tokens of the longest."""
  book, L = engine.blank(sampler), engine.bucket(prompt, sampler)
  B = min(engine.PROMPTS, sampler.slots // sampler.in_flight)
  token_BL, length_B = np.zeros((B, L), np.int32), np.zeros(B, np.int32)
  page_I = np.zeros((B, L // book.width), np.int32)
  given = params, pool, token_BL, length_B, page_I
  return chunk.prefill.lower(*given, cfg=cfg, width=book.width)


def decode(params, pool: dict, sampler, cfg) -> jax.stages.Lowered:
  """The engine's chunk of steps with every slot taken, the pool donated."""
  B = sampler.slots // sampler.in_flight
  shared, own = engine.blank(sampler).entries([])
  none_B = np.zeros(B, np.int32)
  rows = chunk.Rows(none_B, none_B, none_B, np.zeros((B, 3), np.uint32), none_B)
  key = jax.eval_shape(lambda: jax.random.key(0))
  given = params, pool, rows, shared, own, key, np.float32(0)
  return chunk.run.lower(*given, cfg=cfg, sampler=sampler, eos=(0,))
