"""What a workdir holds of a model: model.json, tokenizer.model and checkpoints/."""

import dataclasses
import json
import pathlib

from r1 import sharding
from r1.model import config as model_config
from r1.model import transformer
from r1.text import tokenizer as tokenizers
from r1.train import checkpoint


@dataclasses.dataclass(frozen=True)
class Model:
  """A model ready to run."""

  cfg: model_config.ModelConfig
  tokenizer: tokenizers.Tokenizer
  params: dict


def describe(folder: pathlib.Path, cfg, tokenizer: tokenizers.Tokenizer) -> None:
  """Writes model.json and tokenizer.model; the weights are the checkpoints' business."""
  folder.mkdir(parents=True, exist_ok=True)
  fields = dataclasses.asdict(dataclasses.replace(cfg, rules=None))
  (folder / "model.json").write_text(json.dumps(fields, indent=2) + "\n")
  (folder / "tokenizer.model").write_bytes(tokenizer.model)


def load(folder: str | pathlib.Path, *, mesh=None, rules=None, best: bool = False) -> Model:
  """The model of a finished or running workdir, from its latest checkpoint or its best.

  Raises ValueError where the folder is no workdir, or holds no checkpoint yet.
  """
  folder = pathlib.Path(folder)
  missing = [n for n in ("model.json", "tokenizer.model") if not (folder / n).exists()]
  if missing:
    raise ValueError(f"{folder} is no workdir of r1: it lacks {missing}; give a run's --workdir")
  fields = json.loads((folder / "model.json").read_text())
  fields["stacks"] = tuple((name, count) for name, count in fields["stacks"])
  cfg = model_config.ModelConfig(**fields | {"rules": rules})
  specs = transformer.specs(cfg)
  like = sharding.placed(specs, mesh, rules)
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  if checkpointer.latest is None:
    raise ValueError(f"{folder} holds no checkpoint yet; let its run reach the first one")
  step = checkpoint.best_step(checkpointer) if best else None
  params = checkpoint.restore(checkpointer, step, {"params": like})["params"]
  return Model(cfg, tokenizers.load(folder / "tokenizer.model"), params)
