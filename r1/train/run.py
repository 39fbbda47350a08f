"""A run's own papers: run.json, what else it notes, and whose workdir it is."""

import difflib
import functools
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence

import jax
from absl import app, flags

from r1.train import host

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece")
DRAFT = ".part"  # ends the name of a file that is not yet whole


def flatten(config: dict, prefix: str = "") -> dict[str, object]:
  """{"grpo.group": 8, ...}; tuples become lists, as JSON has them."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, dict):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = json.loads(json.dumps(value))
  return flat


def stage(main: Callable) -> None:
  """A stage's command: `main(config, workdir)` with what --config and --workdir say."""
  from ml_collections import config_flags  # slow to import, and a program's business alone

  config = config_flags.DEFINE_config_file("config", None, "FILE.py:settings, see configs/")
  workdir = flags.DEFINE_string("workdir", None, "where the run's files go", required=True)
  flags.mark_flag_as_required("config")
  host.restart_with_huge_pages()
  app.run(
    lambda _: main(config.value, pathlib.Path(workdir.value)),
    flags_parser=functools.partial(parse, config=config),
  )


def parse(argv: Sequence[str], config: flags.FlagHolder):
  """Reads a command line; an override of a setting that does not exist ends here."""
  try:
    return app.parse_flags_with_usage(list(argv))
  except AttributeError as error:  # ml_collections names the key and not what there is
    sys.argv = [arg for arg in argv if not arg.startswith("--config.")]
    app.parse_flags_with_usage(sys.argv)
    sys.exit(unknown_settings(argv, config.value.to_dict()) or str(error))


def unknown_settings(argv: Sequence[str], config: dict) -> str:
  """What to read where --config.grpo.beta=1 names a setting that is not there."""
  known, mark = flatten(config), "--config."
  keys = [arg.split("=")[0].removeprefix(mark) for arg in argv if arg.startswith(mark)]
  lines = []
  for key in (key for key in keys if key not in known):
    section = key.rpartition(".")[0]
    inside = [name for name in known if section and name.startswith(f"{section}.")]
    there = inside or sorted(config)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    lines.append(f"unknown setting {key!r}{hint} There are: {', '.join(there)}")
  return "\n".join(lines)


def claim(folder: pathlib.Path, stage: str, config: dict) -> None:
  """Makes the workdir this run's, or checks that it already is.

  Raises ValueError naming every setting that differs from the run that the folder belongs to.
  """
  folder.mkdir(parents=True, exist_ok=True)
  path, flat = folder / "run.json", flatten(config)
  if not path.exists():
    if any(inside.name != path.name + DRAFT for inside in folder.iterdir()):
      raise ValueError(f"{folder} is not empty and holds no run.json; give an empty --workdir")
    record = {"stage": stage, "config": flat, "commit": commit(), "versions": versions()}
    note(path, record)
    return
  before = json.loads(path.read_text())
  changed = differences(before["config"], flat)
  if before["stage"] != stage or changed:
    raise ValueError(
      f"{folder} belongs to a run of {before['stage']} with other settings; give another --workdir "
      "or the same config:\n  " + "\n  ".join(changed)
    )


def differences(before: dict, now: dict) -> list[str]:
  """One line for every setting that two flat configs do not have alike."""
  return [
    f"{name}: {before.get(name)!r} there, {now.get(name)!r} now"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name)
  ]


def resolve(given: Sequence[str]) -> dict[str, object]:
  """The flat config that a stage's command would run with. given: its --config… arguments.

  Raises ValueError where the config refuses its argument or does not know a setting.
  """
  from ml_collections import config_flags

  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file("config", flag_values=values)
  was, sys.argv = sys.argv, ["stage", *given]  # where overrides are looked for
  try:
    values(sys.argv)
  except (AttributeError, KeyError, flags.Error) as error:
    raise ValueError(f"{' '.join(given)}: {error}") from error
  finally:
    sys.argv = was
  return flatten(holder.value.to_dict())


def setting(folder: str | pathlib.Path, name: str):
  """A setting of the run that made a workdir; None where it has no such setting."""
  path = pathlib.Path(folder) / "run.json"
  return json.loads(path.read_text())["config"].get(name) if path.exists() else None


def note(path: pathlib.Path, record: dict) -> None:
  """Writes a record beside the run's other papers, whole or not at all."""
  put(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def put(path: pathlib.Path, text: str) -> None:
  """Writes a file, whole or not at all; one that says the same already is left alone."""
  if path.exists() and path.read_text(encoding="utf-8") == text:
    return
  draft = path.with_name(path.name + DRAFT)
  draft.write_text(text, encoding="utf-8")
  draft.replace(path)


def versions() -> dict[str, str]:
  """What the numbers of this run were made with."""
  found = {name: importlib.metadata.version(name) for name in PACKAGES}
  return found | {"python": platform.python_version(), "device": jax.devices()[0].device_kind}


def commit() -> str:
  """The commit of the code, "+" where the tree had changes, "unknown" outside git."""
  here = pathlib.Path(__file__).parent
  try:
    said = [
      subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout
      for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])
    ]
  except (FileNotFoundError, subprocess.CalledProcessError):
    return "unknown"
  return said[0].strip() + ("+" if said[1].strip() else "")
