"""A model from wherever it is: a workdir, a Hugging Face checkpoint, or a preset's name."""

import dataclasses
import math
import os
import pathlib

import jax

from r1 import sharding, spec
from r1.model import config as model_config
from r1.model import lora, presets, transformer
from r1.model.hf import config as hf_config
from r1.model.hf import load as hf_load
from r1.model.hf import names
from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from r1.train import lineage, pretrain, state, workdir

DOWNLOAD = lineage.DOWNLOAD


def load(
  where: str | os.PathLike,
  *,
  runtime: dict,
  dtype: str,
  mesh=None,
  mtp: bool = False,
  seed: int = 0,
  tokenizer: tokenizers.Tokenizer | None = None,
  say=print,
) -> workdir.Model:
  """The model at `where`, each weight in its shard.

  where: a workdir of ours, a folder with config.json and safetensors, hf:ORG/NAME (downloaded), or
  the name of a preset (random weights, for dry runs; it needs a tokenizer, which has no more ids
  than the preset). runtime: the fields of ModelConfig that the run decides (dtype, attend, …,
  rules). dtype: of the parameters, but for adapters and the router's bias, which are float32. mtp:
  also the layer of multi-token prediction, of a checkpoint or preset that has one; a workdir has it
  or not. say: is told the memory that the weights will take, before they are read.
  Raises ValueError where `where` is none of these, naming what there is.
  """
  folder = local(where)
  if (folder / "model.json").exists():
    model = workdir.load(folder, mesh=mesh, rules=runtime["rules"])
    cfg = dataclasses.replace(model.cfg, **runtime)
    return dataclasses.replace(model, cfg=cfg, params=cast(model.params, dtype))
  if (folder / "config.json").exists():
    return _checkpoint(folder, runtime, dtype, mesh, mtp, say)
  if str(where) in presets.NAMES:
    model = _preset(str(where), runtime, mesh, mtp, seed, tokenizer, say)
    return dataclasses.replace(model, params=cast(model.params, dtype))
  raise ValueError(
    f"model={where}: wanted a workdir (with model.json), a folder with config.json, "
    f"hf:ORG/NAME, or one of the presets {', '.join(presets.NAMES)}"
  )


def find(
  where: str,
  base,
  runtime: dict,
  *,
  dtype: str,
  mesh,
  mtp: bool,
  adapters: lora.LoraConfig | None,
  seed: int,
  say,
) -> tuple[workdir.Model, dict[str, str]]:
  """(the model that a run starts from, its files' digest by its name).

  where: as for `load`, or "" for the embedded world's base, made by the settings in `base` (a
  config like configs/pretrain.py) once per user. A preset borrows that world's tokenizer.
  mtp: keep the layer of multi-token prediction. adapters, seed: fresh ones beside the weights.
  Raises ValueError where `where` is no model, or the workdir of a run that is not finished.
  """
  folder = _folder(where, base, say)
  if where:
    tokenizer = None
    if where in presets.NAMES and base:
      _, world, _, settings = pretrain.settings(base)
      tokenizer = pretrain.train_tokenizer(world, settings)
    given = {"runtime": runtime, "dtype": dtype, "mesh": mesh, "mtp": mtp}
    model = load(folder, **given, tokenizer=tokenizer, say=say)
  else:
    model = load(folder, runtime=runtime, dtype=dtype, mesh=mesh)
  parents = {where or str(folder): lineage.digest(folder)}
  return (adapt(model, adapters, mesh=mesh, seed=seed) if adapters else model), parents


def origin(where: str, base, say) -> dict[str, str]:
  """The digest of what `find` would load, by its name; arguments and errors as there."""
  folder = _folder(where, base, say)
  return {where or str(folder): lineage.digest(folder)}


def architecture(where: str, runtime: dict) -> dict[str, object]:
  """What `load` would load, as `config.architecture` tells it, without reading the weights."""
  folder = local(where)
  if (folder / "model.json").exists():
    cfg = workdir.read_config(folder / "model.json", runtime["rules"])
  elif where in presets.NAMES:
    cfg = presets.config(where, runtime, mtp=False)
  else:
    cfg = hf_config.parse(hf_config.read(folder), runtime, mtp=False)
  return model_config.architecture(cfg)


def _folder(where: str, base, say) -> pathlib.Path:
  """Where the files of a finished model are."""
  if not where:
    return _base(base, say)
  lineage.parent(where)
  return local(where)


def _base(base, say) -> pathlib.Path:
  """The workdir of the embedded world's base, made now where this user has none yet."""
  steps = base.pretrain.steps
  folder, seconds = pretrain.cached_base(
    *pretrain.settings(base), lambda n, loss: say(f"pre-training {n}/{steps}  loss {loss:.3f}")
  )
  say(f"base model: {folder}" + (f", made in {seconds:.0f} s" if seconds else ""))
  return folder


def local(where: str | os.PathLike) -> pathlib.Path:
  """Where the files are: a download's are fetched first; a preset has none, and keeps its name."""
  if str(where).startswith(DOWNLOAD):
    return download(str(where).removeprefix(DOWNLOAD))
  return pathlib.Path(where)


def _checkpoint(folder, runtime: dict, dtype: str, mesh, mtp: bool, say) -> workdir.Model:
  raw = hf_config.read(folder)
  cfg = hf_config.parse(raw, runtime, mtp=mtp)
  tokenizer = hf_tokenizer.load(folder)
  tokenizers.check(tokenizer, cfg.V)
  cfg = dataclasses.replace(cfg, ids=tokenizer.size)
  say(need(cfg, dtype, mesh))
  params = hf_load.load(folder, raw, cfg, dtype=dtype, mesh=mesh, rules=runtime["rules"])
  return workdir.Model(cfg, tokenizer, params)


def _preset(name, runtime: dict, mesh, mtp: bool, seed: int, tokenizer, say) -> workdir.Model:
  if tokenizer is None:
    raise ValueError(f"the preset {name!r} has no tokenizer of its own, and this run brings none")
  cfg = presets.config(name, runtime, mtp=mtp)
  tokenizers.check(tokenizer, cfg.V)
  cfg = dataclasses.replace(cfg, ids=tokenizer.size)
  say(need(cfg, "float32", mesh))
  specs = transformer.specs(cfg)
  params = state.initial_params(jax.random.key(seed), specs, mesh, runtime["rules"])
  return workdir.Model(cfg, tokenizer, params)


def cast(params: dict, dtype: str) -> dict:
  """Weights of that type, made in float32; adapters, which are trained, and exact ones stay."""
  own = lambda path: path.startswith("lora/") or path.endswith(names.EXACT)
  flat = spec.flatten(params)
  return spec.unflatten({path: x if own(path) else x.astype(dtype) for path, x in flat.items()})


def adapt(model: workdir.Model, cfg: lora.LoraConfig, *, mesh, seed: int) -> workdir.Model:
  """The same model with fresh adapters beside its weights; it computes what it did."""
  model_cfg = dataclasses.replace(model.cfg, lora=cfg)
  specs = {"lora": transformer.specs(model_cfg)["lora"]}
  adapters = state.initial_params(jax.random.key(seed), specs, mesh, model_cfg.rules)
  return workdir.Model(model_cfg, model.tokenizer, model.params | adapters)


def with_scalar(model: workdir.Model, *, mesh) -> workdir.Model:
  """A reward or value model with this policy's layers: a scalar head of zeros in place of its own.

  Adapters are added to the weights for good. One that has a scalar head already stays as it is.
  """
  if model.cfg.scalar:
    return model
  cfg, params = model.cfg, model.params
  if cfg.lora is not None:
    cfg, params = dataclasses.replace(cfg, lora=None), lora.merge_all(params, cfg.lora)
  cfg = dataclasses.replace(cfg, scalar=True, mtp=0)
  head = {"scalar_D": transformer.specs(cfg)["scalar_D"]}
  kept = {name: value for name, value in params.items() if name not in ("head_DV", "mtp")}
  made = state.initial_params(jax.random.key(0), head, mesh, cfg.rules)
  return workdir.Model(cfg, model.tokenizer, kept | made)


def need(cfg, dtype: str, mesh) -> str:
  """One line: what the weights take, in all and on each device.

  Raises ValueError where an array does not divide over the mesh.
  """
  specs = transformer.specs(cfg)
  size = jax.numpy.dtype(dtype).itemsize
  homes = spec.flatten(sharding.placed(specs, mesh, cfg.rules))
  each = sum(size * math.prod(_share(path, s)) for path, s in homes.items())
  devices = 1 if mesh is None else mesh.size
  return (
    f"loading {spec.count(specs):,} parameters in {dtype}: {size * spec.count(specs) / 2**30:.2f} "
    f"GiB, {each / 2**30:.2f} GiB on each of {devices} device(s)"
  )


def _share(path: str, s: jax.ShapeDtypeStruct) -> tuple[int, ...]:
  """The shape of one device's part."""
  try:
    return s.sharding.shard_shape(s.shape)
  except ValueError as error:
    raise ValueError(
      f"{path} of shape {s.shape} does not divide over the mesh {dict(s.sharding.mesh.shape)} as "
      f"{s.sharding.spec}; choose mesh sizes that divide the model's"
    ) from error


def download(name: str) -> pathlib.Path:
  """A checkpoint's files from the Hugging Face hub, kept in its own cache."""
  try:
    import huggingface_hub
  except ImportError as error:
    raise ValueError(
      f"model=hf:{name} needs the package huggingface_hub: pip install huggingface_hub"
    ) from error
  wanted = ["*.json", "*.safetensors", "tokenizer.model", "*.jinja"]
  try:
    return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
  except Exception as error:
    raise ValueError(
      f"model=hf:{name} could not be downloaded ({type(error).__name__}: {error}); is the name "
      "right, and is there a network? A folder that was downloaded elsewhere works as model=FOLDER"
    ) from error
