"""Does a config fit a machine? Compiles its real steps for one that need not be there.

  python -m experiments.fit --config=configs/r1_zero.py:model=qwen2.5-7b --topology=v5p:2x2x4 \
    --config.mesh.fsdp=16 [--steps=update,score,prefill,decode] [--prompt=512]

Prints per device what the arguments, the temporaries and the operations between devices of each
step take. Nothing is loaded or allocated: `model` is a preset or a folder with config.json.
--topology=cpu compiles for this host. Ends with status 1 where a step does not fit.
"""

import dataclasses
import functools
import sys

import jax
from absl import app, flags

from r1 import sharding
from r1.algorithms import experts, grpo, minibatch
from r1.model import config as model_config
from r1.model import lora, presets
from r1.model.hf import config as hf_config
from r1.sampling import decode, engine
from r1.train import cost, fit, host, optimizer, rl, run, topology

STEPS = ("update", "score", "prefill", "decode")


def describe(config, rules: sharding.Rules) -> model_config.ModelConfig:
  """The config's model by its sizes alone; all of its ids count as the tokenizer's."""
  runtime: dict = dict(config.runtime) | {"rules": rules}
  if config.model in presets.NAMES:
    cfg = presets.config(config.model, runtime, mtp=False)
  elif config.model:
    cfg = hf_config.parse(hf_config.read(config.model), runtime, mtp=False)
  else:
    own: dict = dict(config.base.model) | runtime
    cfg = model_config.ModelConfig(**own, ids=config.base.model.V)
  adapters = lora.LoraConfig(**config.lora) if config.lora.rank else None
  return dataclasses.replace(cfg, lora=adapters)


def lower(name: str, config, cfg, mesh, prompt: int) -> tuple[str, jax.stages.Lowered]:
  """(what it works on, the step), lowered and not yet compiled."""
  batch = minibatch.BatchConfig(**config.batch)
  params = fit.weights(cfg, config.weights, mesh)
  shape = batch.rows, batch.row_tokens
  if name == "update":
    algorithm, mixture = grpo.GrpoConfig(**config.grpo), experts.ExpertsConfig(**config.experts)
    loop = rl.RlConfig(**config.rl)
    updates = loop.rollouts * batch.minibatches
    tx = fit.optimiser(optimizer.OptimizerConfig(**config.optimizer, steps=updates), cfg)
    most = rl.capacity(loop, algorithm, batch, batch.row_tokens)
    loss = rl.make_loss(cfg, algorithm, mixture)
    what = "up to {} micro-batches of {} rows x {:,} tokens".format(most, *shape)
    given = fit.given(batch, algorithm, most, cfg, mesh)
    return what, fit.update(params, tx, loss, mixture.bias_rate, given, mesh)
  if name == "score":
    return "{} rows x {:,} tokens".format(*shape), fit.score(params, batch, cfg, mesh)
  sampler = paged(config)
  pool = fit.pool(cfg, sampler, mesh)
  where = f"cache of {sampler.cache_tokens:,} tokens with {cost.held(pool) / 1e9:.2f} GB a device"
  if name == "prefill":
    what = f"prompts of {engine.bucket(prompt, sampler):,} tokens, {where}"
    return what, fit.prefill(params, pool, prompt, sampler, cfg)
  what = f"{sampler.slots} rows x {sampler.chunk} steps, {where}"
  return what, fit.decode(params, pool, sampler, cfg)


def paged(config) -> decode.SamplerConfig:
  """The config's sampler, where it is one whose programs are compiled here."""
  filters = {name: config.rl[name] for name in ("top_k", "top_p", "min_p")}
  sampler = decode.SamplerConfig(**config.sampler, **filters)
  if sampler.draft != "none" or sampler.layout == "unrolled":
    raise ValueError(
      f"draft={sampler.draft!r}, layout={sampler.layout!r}: experiments.fit compiles the paged "
      "engine with stacked weights; leave out --steps=prefill,decode, or set draft to none and "
      "layout to stacked"
    )
  return sampler


def main(config, given) -> bool:
  """Prints every step's cost; did all of them fit?"""
  if unknown := set(given.steps) - set(STEPS):
    raise ValueError(f"--steps={','.join(sorted(unknown))}: there are {','.join(STEPS)}")
  if "grpo" not in config:
    raise ValueError("experiments.fit compiles the steps of RL; give a config like r1_zero's")
  found, room = topology.devices(given.topology), topology.memory(given.topology)
  sizes, batch = dict(config.mesh), minibatch.BatchConfig(**config.batch)
  minibatch.check_attention(batch, config.runtime.attend)
  minibatch.check_limit(max(limit for _, limit in config.rl.limit), batch)
  mesh, rules = sharding.make_mesh(sizes, found), sharding.FSDP_TENSOR
  sharding.check_rows(sizes, batch.rows, config.sampler.slots)
  cfg, fits = describe(config, rules), True
  print(f"{given.topology}: {mesh.size} devices" + (f" of {room / 1e9:.0f} GB" if room else ""))
  with sharding.on(mesh):
    for name in given.steps:
      what, lowered = lower(name, config, cfg, mesh, given.prompt)
      print(f"{name}: {what}", flush=True)
      try:
        used = cost.measure(lowered)
      except cost.DoesNotFit as error:
        fits = False
        print(f"  DOES NOT FIT, says the compiler: {error}")
        continue
      fits &= room is None or used.peak <= room
      for line in cost.lines(used, room):
        print(f"  {line}", flush=True)
  return fits


if __name__ == "__main__":
  from ml_collections import config_flags

  CONFIG = config_flags.DEFINE_config_file("config", None, "FILE.py:settings, see configs/")
  flags.DEFINE_string("topology", None, "such as v5p:2x2x4, v5e:4x4, v6e:8x8; or cpu")
  flags.DEFINE_list("steps", list(STEPS), "which steps to compile")
  flags.DEFINE_integer("prompt", 512, "tokens of the longest prompt", lower_bound=1)
  flags.mark_flags_as_required(["config", "topology"])
  host.quiet_libraries()
  jax.config.update("jax_platforms", "cpu")  # nothing runs here, so no accelerator is taken
  try:
    app.run(
      lambda _: sys.exit(not main(CONFIG.value, flags.FLAGS)),
      flags_parser=functools.partial(run.parse, config=CONFIG),
    )
  except ValueError as error:
    sys.exit(f"experiments.fit: {error}")
