"""A base model from generated text: next-token prediction on packed documents."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from r1 import dims
from r1.algorithms import logp
from r1.data import packing
from r1.data.worlds import arithmetic, general, web
from r1.model import config as model_config
from r1.model import transformer
from r1.text import tokenizer as tokenizers
from r1.train import checkpoint, host, lineage, optimizer, state, step, workdir

VERSION = 2  # of model, batches and update; raise it with any of them, so old bases are not reused
ABANDONED = 86_400  # seconds after which nobody is writing a draft any more
WAITING = 16  # documents that may wait for a row with room for them, while others fill the gaps


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
  """rows x row_tokens: packed tokens of a step. vocabulary: ids of the tokenizer, trained on the
  first `tokenizer_documents` documents. seed: of the weights and of the text.
  """

  seed: int
  steps: int
  rows: int
  row_tokens: int
  vocabulary: int
  tokenizer_documents: int


class Batch(struct.PyTreeNode):
  """Packed rows with the share of the loss that each target carries."""

  token_BL: dims.Array
  position_BL: dims.Array
  segment_BL: dims.Array
  target_BL: dims.Array
  weight_BL: dims.Array


def train_tokenizer(world: web.World, cfg: PretrainConfig) -> tokenizers.Tokenizer:
  """SentencePiece on the world's own first documents."""
  documents = itertools.islice(web.documents(world, cfg.seed), cfg.tokenizer_documents)
  lines = (text for d in documents for text in (d.prompt, d.response))
  model = tokenizers.train(lines, vocab_size=cfg.vocabulary, symbols=arithmetic.SYMBOLS)
  return tokenizers.load(model)


def batches(world, tokenizer, cfg: PretrainConfig) -> Iterator[Batch]:
  """Endless packed batches [1, B, L]; every token but a document's first is a target."""

  def sequences():
    for document in web.documents(world, cfg.seed):
      tokens = arithmetic.tokens(tokenizer, document)
      yield tokens, np.ones(len(tokens), bool)

  for packed in packing.stream(sequences(), cfg.row_tokens, cfg.rows, WAITING):
    weight_BL = (packed.scored_BL / packed.scored_BL.sum()).astype(np.float32)
    batch = Batch(
      packed.token_BL, packed.position_BL, packed.segment_BL, packed.target_BL, weight_BL
    )
    yield jax.tree.map(lambda x: x[None], batch)


def make_loss(cfg: model_config.ModelConfig):
  """Mean cross-entropy in nats per target."""

  def loss(params, batch: Batch):
    logp_BL, _, _ = logp.token_logp(params, batch, cfg, 1.0)
    value = -jnp.sum(batch.weight_BL * logp_BL)
    return value, {"sum": {}, "max": {}, "count": jnp.float32(1)}

  return loss


def train(
  model: dict, world: web.World, opt: optimizer.OptimizerConfig, cfg: PretrainConfig, report
) -> workdir.Model:
  """Trains a base from scratch. report(step, loss) is called now and then.

  model: ModelConfig's fields without `ids`, which is the tokenizer's size.
  """
  tokenizer = train_tokenizer(world, cfg)
  model_cfg = model_config.ModelConfig(**model, ids=tokenizer.size)
  specs = transformer.specs(model_cfg)
  tx = optimizer.make(opt, specs)
  params = state.initial_params(jax.random.key(cfg.seed), specs, None, None)
  train_state = state.init(params, tx)
  update = jax.jit(step.make_update(make_loss(model_cfg), tx), donate_argnums=0)
  source = itertools.islice(batches(world, tokenizer, cfg), cfg.steps)
  for number, batch in enumerate(source, 1):
    train_state, metrics = update(train_state, batch, 1)
    if number % 50 == 0 or number == cfg.steps:
      report(number, float(metrics["policy/loss"]))
      if skipped := int(train_state.skipped):
        raise ValueError(f"{skipped} of {number} steps met NaN; lower the learning rate")
  return workdir.Model(model_cfg, tokenizer, train_state.params)


def settings(config):
  """(model fields, world, optimiser, PretrainConfig) of a config like configs/pretrain.py.

  Its section `general` may be empty: then the web has sums alone.
  """
  world: web.World = arithmetic.World(**config.world)
  if config.general:
    people = general.Quality(**config.general.people)
    rest: dict = dict(config.general) | {"people": people}
    world = web.WebWorld(sums=world, **rest)
  return (
    dict(config.model) | {"rules": None},
    world,
    optimizer.OptimizerConfig(**config.optimizer, steps=config.pretrain.steps),
    PretrainConfig(**config.pretrain),
  )


def digest(model: dict, world: web.World, opt, cfg: PretrainConfig) -> str:
  """Sixteen hex digits over the settings and the first documents: a base's name in the cache."""
  documents = list(itertools.islice(web.documents(world, cfg.seed), 1000))
  text = json.dumps(
    [VERSION, model, world, opt, cfg, documents], sort_keys=True, default=dataclasses.asdict
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def save(folder: pathlib.Path, model: workdir.Model) -> None:
  """Writes a workdir with one checkpoint, whole or not at all; another run may do the same.

  What it cannot finish it takes away; what a killed one left goes a day later.
  """
  sweep(folder)
  with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as parent:
    draft = pathlib.Path(parent) / folder.name
    workdir.describe(draft, model.cfg, model.tokenizer)
    checkpointer = checkpoint.open_folder(draft / "checkpoints", keep=1)
    checkpoint.save(checkpointer, 0, {"params": model.params}, score=0.0)
    checkpointer.close()
    lineage.finish(draft, {"model": lineage.digest_of_arrays(model.params)})
    try:
      draft.rename(folder)
    except OSError:  # the other run was first
      if not (folder / "model.json").exists():
        raise


def sweep(folder: pathlib.Path) -> None:
  """Removes drafts of a base that runs which are no more have left beside it."""
  for draft in folder.parent.glob(f"{folder.name}.*"):
    if time.time() - draft.stat().st_mtime > ABANDONED:
      shutil.rmtree(draft, ignore_errors=True)


def cached_base(
  model: dict, world, opt, cfg: PretrainConfig, report: Callable
) -> tuple[pathlib.Path, float]:
  """(workdir of the base, seconds spent on it): made once per settings, then found by digest."""
  folder = host.cache_folder() / "bases" / digest(model, world, opt, cfg)
  if (folder / "model.json").exists():
    return folder, 0.0
  started = time.monotonic()
  base = train(model, world, opt, cfg, report)
  folder.parent.mkdir(parents=True, exist_ok=True)
  save(folder, base)
  return folder, time.monotonic() - started
