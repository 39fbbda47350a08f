"""The card of a model or a data set: what made it, from what, how good it is, how to load it."""

import json
from collections.abc import Mapping

MACHINE = ("base", "mesh", "runtime", "sampler", "verifier")  # sections of no effect on the result
EVALUATION = "eval/"
SHOWN = 12  # hex digits of a digest: enough to tell two apart
LOAD = """```python
import transformers
model = transformers.AutoModelForCausalLM.from_pretrained("{folder}")
```

`python -m experiments.sample --model={workdir} "what is 3 + 4 - 2 ?"` asks it;
`model={workdir}` or `model={folder}` in a config's argument starts another stage from it."""
SCORE = """```python
import transformers
model = transformers.AutoModelForSequenceClassification.from_pretrained("{folder}")
```

Its one logit at the end of text is the score. `rewards=` in the argument of
configs/alignment_rl.py takes the folder that holds {workdir}."""
REWARD_MODEL = "_reward_model"  # how the name of such a stage ends
WORLD = (
  "It was trained on generated text of one small world and knows nothing else: no other words, no "
  "other tasks. Its numbers are of held-out problems of that world."
)
OWN = (
  "Nothing is known of it beyond the numbers above, which are of this run's own held-out data; it "
  "was not tested for safety in use."
)


def build(workdir: str, lineage: Mapping, numbers: Mapping[str, float]) -> str:
  """Markdown for `hf/README.md`, as the Hugging Face hub shows it.

  lineage: the record of lineage.json. numbers: of the last evaluation; those of EVALUATION are
  shown, and NAME_se stands beside NAME.
  """
  config, stage = lineage["config"], lineage["stage"]
  parts = [
    f"---\nlibrary_name: transformers\ntags:\n- r1\n- {stage}\n---",
    f"# {stage}",
    f"Made by the stage `{stage}` of r1 (arXiv 2501.12948 in JAX), commit `{lineage['commit']}`.",
    "## Parents",
    _digests(lineage["parents"]) or "None: its weights were made here.",
    "## Data",
    data(lineage),
    "## Settings",
    _settings(config),
    "## Numbers",
    _numbers(numbers) or "None were taken at the end of this stage.",
    "## How to load it",
    (SCORE if stage.endswith(REWARD_MODEL) else LOAD).format(
      folder=f"{workdir}/hf", workdir=workdir
    ),
    "## Limits",
    WORLD if any("world." in name for name in config) else OWN,
  ]
  return "\n\n".join(parts) + "\n"


def data(lineage: Mapping) -> str:
  """The table of data sets and counts: digests, what was kept, and what was dropped by reason."""
  lines = ["| data set | digest | kept | dropped |", "| --- | --- | --- | --- |"]
  digests, counts = lineage["data"], lineage["counts"]
  for name in digests | counts:
    found = counts.get(name, {})
    dropped = ", ".join(f"{n} {reason}" for reason, n in found.get("dropped", {}).items())
    kept = found.get("kept", "–")
    digest = f"`{digests[name][:SHOWN]}`" if name in digests else "–"
    lines.append(f"| {name} | {digest} | {kept} | {dropped or '–'} |")
  return "\n".join(lines)


def _digests(named: Mapping[str, str]) -> str:
  return "\n".join(f"- `{name}`, digest `{digest[:SHOWN]}`" for name, digest in named.items())


def _settings(config: Mapping) -> str:
  """One setting a line, as the command line would take it, but for how and where it computed."""
  chosen = [name for name in config if name.split(".")[0] not in MACHINE]
  return "\n".join(["```", *(f"{name} = {json.dumps(config[name])}" for name in chosen), "```"])


def _numbers(numbers: Mapping[str, float]) -> str:
  rows = [n for n in numbers if n.startswith(EVALUATION) and not n.endswith("_se")]
  if not rows:
    return ""
  lines = ["| number | value |", "| --- | --- |"]
  for name in rows:
    error = numbers.get(f"{name}_se")
    lines.append(f"| {name} | {numbers[name]:.4g}" + (f" ± {error:.2g}" if error else "") + " |")
  return "\n".join(lines)
