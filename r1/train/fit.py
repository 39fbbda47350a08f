"""A run's compiled steps without a run: lowered for described weights on described devices.

Nothing is allocated on a device: every array is a ShapeDtypeStruct that says where it would live.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1 import dims, sharding
from r1.algorithms import grpo, logp, minibatch
from r1.model import cache as cache_lib
from r1.model import heads, lora, transformer
from r1.sampling import choose
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
  opt = optax.tree.map_params(tx, lambda s, w: s.update(sharding=w.sharding), fresh.opt, trained)
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


def cache(cfg, rows: int, slots: int, mesh) -> cache_lib.Cache:
  """The decoding cache, each buffer in its shards."""
  held = jax.eval_shape(lambda: cache_lib.empty(cfg, rows, slots))

  def home(path, s):
    letters = dims.suffix(getattr(path[-1], "key", None) or path[-1].name)
    return s.update(sharding=NamedSharding(mesh, sharding.pspec(letters, cfg.rules.act)))

  return jax.tree_util.tree_map_with_path(home, held)


def prefill_step(cache, params, token_BL, position_BL, segment_BL, *, cfg):
  """(the cache grown by the prompts, hidden_BLD)."""
  out = transformer.forward(params, token_BL, position_BL, segment_BL, cfg, cache)
  return out.cache, out.hidden_BLD


def decode_step(cache, params, id_B, key_B, temperature, *, cfg, sampler):
  """(the cache grown by one token a row, the next id_B and its logp_B)."""
  segment_B1 = jnp.ones_like(id_B)[:, None]
  out = transformer.forward(params, id_B[:, None], cache.length_B[:, None], segment_B1, cfg, cache)
  logits_BV = heads.logits(heads.matrix(params, cfg), out.hidden_BLD, cfg)[:, 0]
  return out.cache, choose.sample(key_B, logits_BV, temperature, sampler)


def decoding(cfg, rows: int, mesh):
  """(id_B, key_B, temperature) of a decoding step."""
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
  key_B = _array("B", keys.shape, keys.dtype, cfg, mesh)
  return _array("B", (rows,), jnp.int32, cfg, mesh), key_B, _number(jnp.float32, mesh)


def prompts(cfg, shape, mesh):
  """(token_BL, position_BL, segment_BL) of a batch of prompts. shape: B, L."""
  return (_array("BL", shape, jnp.int32, cfg, mesh),) * 3
