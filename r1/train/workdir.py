"""What a workdir holds of a model: model.json, its tokenizer's files and checkpoints/."""

import dataclasses
import json
import pathlib

from r1 import sharding
from r1.model import config as model_config
from r1.model import lora, moe, rope, transformer
from r1.text import hf_tokenizer
from r1.text import tokenizer as tokenizers
from r1.train import checkpoint


@dataclasses.dataclass(frozen=True)
class Model:
  """A model ready to run."""

  cfg: model_config.ModelConfig
  tokenizer: tokenizers.Tokenizer
  params: dict


def describe(folder: pathlib.Path, cfg, tokenizer: tokenizers.Tokenizer) -> None:
  """Writes model.json and the tokenizer; the weights are the checkpoints' business."""
  folder.mkdir(parents=True, exist_ok=True)
  fields = dataclasses.asdict(dataclasses.replace(cfg, rules=None))
  (folder / "model.json").write_text(json.dumps(fields, indent=2) + "\n")
  tokenizers.save(tokenizer, folder)


RECORDS = {"rope_scaling": rope.Scaling, "moe": moe.Routing, "lora": lora.LoraConfig}


def read_config(path: pathlib.Path, rules) -> model_config.ModelConfig:
  """The inverse of what `describe` writes into model.json."""
  # Models written before there were scalar heads have none.
  fields = {"scalar": False} | json.loads(path.read_text())
  fields["stacks"] = tuple((name, count) for name, count in fields["stacks"])
  fields["windows"] = tuple(fields["windows"])
  for name, record in RECORDS.items():
    if fields[name] is not None:
      fields[name] = record(**fields[name])
  return model_config.ModelConfig(**fields | {"rules": rules})


def load(folder: str | pathlib.Path, *, mesh=None, rules=None, best: bool = False) -> Model:
  """The model of a finished or running workdir, from its latest checkpoint or its best.

  Raises ValueError where the folder is no workdir, or holds no checkpoint yet.
  """
  folder = pathlib.Path(folder)
  if not (folder / "model.json").exists():
    raise ValueError(f"{folder} is no workdir of r1: it lacks model.json; give a run's --workdir")
  cfg = read_config(folder / "model.json", rules)
  tokenizer = hf_tokenizer.load(folder)
  specs = transformer.specs(cfg)
  like = sharding.placed(specs, mesh, rules)
  checkpointer = checkpoint.read_folder(folder / "checkpoints")
  if checkpointer.latest is None:
    raise ValueError(f"{folder} holds no checkpoint yet; let its run reach the first one")
  step = checkpoint.best_step(checkpointer) if best else None
  params = checkpoint.restore(checkpointer, step, {"params": like})["params"]
  return Model(cfg, tokenizer, params)
