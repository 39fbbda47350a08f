"""Sampling, scoring, the update and a whole GRPO step on synthetic work: how fast, and how near to
what the machine could do.

  python -m experiments.throughput --config=configs/throughput.py[:model=qwen2.5-1.5b,cap=2048]
  python -m experiments.throughput --config=... --json [--profile=DIR]

Prints a table, or with --json one line. r1/train/floor.py has the formulas of MFU and of the
attainable rate; both are measured against this machine's own matmul rate and read bandwidth.

A machine that has jax, flax, optax and numpy but not ml_collections runs settings that were
resolved elsewhere; with --json it needs no rich either, and random weights need no files:

  python -m experiments.throughput --config=configs/throughput.py:model=qwen2.5-1.5b --save=big.json
  python -m experiments.throughput --settings=big.json --set=clock.repeats=9 --json
"""

import contextlib
import dataclasses
import functools
import json
import pathlib
import sys

import jax
from absl import app, flags

from r1 import sharding, spec
from r1.algorithms import grpo, minibatch
from r1.data import synthetic
from r1.model import transformer
from r1.sampling import decode as decoding
from r1.train import floor, host, measure, optimizer, run, turns, workload


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClockConfig:
  """warmup: steps that do not count, 1 at least. repeats: steps that do. until: last part run."""

  warmup: int
  repeats: int
  until: str

  def __post_init__(self):
    if self.warmup < 1 or self.repeats < 1:
      raise ValueError(f"warmup={self.warmup} and repeats={self.repeats} must be >= 1")
    if self.until not in workload.PARTS:
      raise ValueError(f"until={self.until!r}: choose one of {', '.join(workload.PARTS)}")


def build(settings: dict, mesh, rules):
  """(workload, state, reference) of the settings, which are checked before weights are made."""
  work = synthetic.WorkConfig(**settings["work"], group=settings["grpo"]["group"])
  given = {
    "work": work,
    "algorithm": grpo.GrpoConfig(**settings["grpo"], max_tokens=work.cap),
    "batch": minibatch.BatchConfig(**settings["batch"]),
    "sampler": decoding.SamplerConfig(**decoding.PLAIN, **settings["sampler"]),
    "loop": settings["loop"],
    "opt": optimizer.OptimizerConfig(**settings["optimizer"], steps=2**30),
  }
  read = (work, given["batch"], given["sampler"])
  workload.check(*read, loop=given["loop"], meshed=mesh is not None)
  model, params = workload.open_model(
    settings["model"],
    settings["letters"],
    settings["runtime"] | {"rules": rules},
    context=work.prompt + work.cap,
    weights=settings["weights"],
    mesh=mesh,
    seed=work.seed,
  )
  return workload.build(model, params, **given, mesh=mesh)


def clocked(w: workload.Workload, state, ref, clock: ClockConfig, profile: str, by_turns: bool):
  """(timing of each part and of the whole, slot-steps of a rollout), and a trace of one more."""
  slot_steps, steps = None, []
  with measure.marks() as mark:
    advance = functools.partial(workload.step, w, ref=ref, until=clock.until, mark=mark)
    for number in range(clock.warmup + clock.repeats):
      turns.take(by_turns)
      state, found, marks = advance(state=state, number=number)
      slot_steps = found.slot_steps
      steps.append(marks)
    if profile:
      with jax.profiler.trace(profile):
        advance(state=state, number=clock.warmup + clock.repeats)
  parts = workload.PARTS[: len(steps[0]) - 1]
  timings = {
    part: measure.timing([(marks[i], marks[i + 1]) for marks in steps], clock.warmup)
    for i, part in enumerate(parts)
  }
  if len(parts) == len(workload.PARTS):
    timings["step"] = measure.timing([(marks[0], marks[-1]) for marks in steps], clock.warmup)
  return timings, slot_steps


def decode(w: workload.Workload, found: floor.Rates) -> floor.Decode:
  """The floor of decoding this work."""
  return floor.decode(
    w.model,
    prompt=w.work.prompt,
    lengths=synthetic.lengths(w.work),
    slots=min(w.sampler.slots, w.work.answers),
    cache_dtype=w.sampler.cache_dtype,
    rates=found,
  )


def rates(w: workload.Workload, devices: int) -> floor.Rates:
  """What this machine does now; the bandwidth at the size of what a decoding step reads."""
  size = decode(w, floor.Rates(matmul=1.0, bandwidth=1.0)).bytes
  return floor.Rates(
    matmul=devices * measure.matmul_rate(w.model.dtype),
    bandwidth=devices * measure.read_bandwidth(size / devices),
  )


def costs(w: workload.Workload, found: floor.Rates) -> dict[str, dict]:
  """{part: tokens, FLOPs, and the seconds that it takes at least}."""
  cfg, work, lengths = w.model, w.work, synthetic.lengths(w.work)
  drawn, read = int(lengths.sum()), lengths + work.prompt
  copies = work.answers - work.questions if w.batch.fork else 0  # of prompts, that are not run
  tokens = int(read.sum()) - copies * (work.prompt - 1)
  once = floor.forward(cfg, read) - copies * floor.forward(cfg, [work.prompt - 1])
  policies = (w.batch.minibatches > 1) + bool(w.grpo.kl)  # old, reference; see `rl.prepare`
  flops = {
    "sample": floor.decoding(cfg, work.prompt, lengths),
    "score": policies * once,
    "update": floor.training(once),
  }
  least = {part: amount / found.matmul for part, amount in flops.items()}
  step = decode(w, found)
  least["sample"] = step.total
  counted = {"sample": drawn, "score": policies and tokens, "update": tokens}
  made = {
    part: {"tokens": counted[part], "flops": flops[part], "floor_s": least[part]} for part in flops
  }
  made["sample"]["decode_step"] = dataclasses.asdict(step)
  whole = {"flops": sum(flops.values()), "floor_s": sum(least.values())}
  return made | {"step": {"tokens": drawn} | whole}


def part(timing: measure.Timing, cost: dict, found: floor.Rates) -> dict:
  """Everything about one part, as the JSON line has it."""
  median = timing.median
  return cost | {
    "seconds_median": median,
    "seconds_min": min(timing.seconds),
    "seconds": timing.seconds,
    "first_s": timing.first,
    "compile_s": timing.compile,
    "compilations": timing.compiled_first,
    "compilations_later": timing.compiled_later,
    "tokens_per_s": cost["tokens"] / median,
    "mfu": cost["flops"] / median / found.matmul,
    "attainable": cost["floor_s"] / median,
  }


def report(w: workload.Workload, timings, slot_steps, found: floor.Rates, settings: dict) -> dict:
  """The whole result."""
  lengths, cost = synthetic.lengths(w.work), costs(w, found)
  parts = {name: part(timing, cost[name], found) for name, timing in timings.items()}
  used = None if slot_steps is None else int(lengths.sum()) / slot_steps
  parts["sample"]["slot_utilisation"] = used
  cfg = w.model
  sizes = {"layers": sum(n for _, n in cfg.stacks)} | {x: getattr(cfg, x) for x in "DFVHNK"}
  return {
    "what": "r1",
    "jax": jax.__version__,
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count() if cfg.rules else 1,
    "params": spec.count(transformer.specs(cfg)),
    "active": floor.active(cfg),
    "dtype": cfg.dtype,
    "sizes": sizes,
    "work": dataclasses.asdict(w.work) | {"answers": w.work.answers, "kl": w.grpo.kl},
    "tokens": int(lengths.sum()),
    "longest": int(lengths.max()),
    "lengths_sha256": synthetic.digest(lengths),
    "matmul_flops_per_s": found.matmul,
    "read_bytes_per_s": found.bandwidth,
    "peak_memory_bytes": measure.peak_memory(),
    "parts": parts,
    "settings": settings,
  }


def table(found: dict):
  """The result for people."""
  import rich.box
  import rich.table

  title = (
    f"{found['params']:,} parameters, {found['dtype']}, {found['work']['answers']} answers, "
    f"{found['tokens']:,} tokens\n{found['devices']} {found['device']}: matmul "
    f"{found['matmul_flops_per_s'] / 1e9:,.0f} GFLOP/s, reads "
    f"{found['read_bytes_per_s'] / 1e9:,.1f} GB/s, peak memory "
    f"{found['peak_memory_bytes'] / 2**20:,.0f} MiB"
  )
  drawn = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE)
  heads = (
    "tokens/s",
    "seconds",
    "min",
    "floor",
    "attainable",
    "MFU",
    "slots",
    "compile",
    "programs",
  )
  drawn.add_column("", no_wrap=True)
  for head in heads:
    drawn.add_column(head, justify="right", no_wrap=True)
  for name, x in found["parts"].items():
    used = x.get("slot_utilisation")
    drawn.add_row(
      name,
      f"{x['tokens_per_s']:,.0f}",
      f"{x['seconds_median']:.4f}",
      f"{x['seconds_min']:.4f}",
      f"{x['floor_s']:.4f}",
      f"{x['attainable']:.1%}",
      f"{x['mfu']:.1%}",
      "–" if used is None else f"{used:.1%}",
      f"{x['compile_s']:.1f} s",
      f"{x['compilations']} + {x['compilations_later']}",
    )
  return drawn


def main(settings: dict, *, as_json: bool, profile: str, by_turns: bool = False) -> dict:
  """Measures, prints and returns. by_turns: each step waits, see `turns`."""
  host.quiet_libraries()
  host.keep_compiled_programs()
  clock = ClockConfig(**settings["clock"])
  batch = minibatch.BatchConfig(**settings["batch"])
  minibatch.check_attention(batch, settings["runtime"]["attend"])
  mesh, rules = sharding.layout(settings["mesh"], batch.rows, settings["sampler"]["slots"])
  with sharding.on(mesh):
    w, state, ref = build(settings, mesh, rules)
    timings, slot_steps = clocked(w, state, ref, clock, profile, by_turns)
  found = report(w, timings, slot_steps, rates(w, 1 if mesh is None else mesh.size), settings)
  if as_json:
    print(json.dumps(found))
  else:
    import rich.console

    width = max(100, rich.console.Console().width)  # a narrow terminal wraps lines, and loses none
    rich.console.Console(width=width).print(table(found))
  return found


def changed(settings: dict, changes) -> dict:
  """The settings with others of the form section.name=value, typed like what they replace.

  Raises ValueError naming a setting that there is not, or a value of another type.
  """
  made = json.loads(json.dumps(settings))
  for change in changes:
    path, _, text = change.partition("=")
    *sections, name = path.split(".")
    inner = made
    for section in sections:
      inner = inner.get(section, {}) if isinstance(inner, dict) else {}
    if not isinstance(inner, dict) or name not in inner or isinstance(inner[name], dict):
      raise ValueError(f"--set={change}: there is no setting {path!r}")
    inner[name] = typed(change, text, inner[name])
  return made


def typed(change: str, text: str, before):
  """The value of a text."""
  if isinstance(before, str):
    return text
  with contextlib.suppress(json.JSONDecodeError):
    value = json.loads(text)
    whole = isinstance(before, float) and type(value) is int
    if before is None or type(value) is type(before) or whole:
      return float(value) if whole else value
  raise ValueError(f"--set={change}: wanted a {type(before).__name__} like {before!r}")


def define_flags() -> None:
  flags.DEFINE_string("settings", "", "settings that --save wrote, in place of --config")
  flags.DEFINE_multi_string("set", [], "section.name=value: another setting than in --settings")
  flags.DEFINE_string("save", "", "write the settings to this file, and do nothing else")
  flags.DEFINE_string("profile", "", "write a jax.profiler trace of one more step to this folder")
  flags.DEFINE_bool("json", False, "print one line of JSON")
  flags.DEFINE_bool("turns", False, "wait for a line before each step: experiments.peers.compare")


def command(argv) -> None:
  """What --config or --settings says."""
  given = flags.FLAGS
  if given.settings:
    if not pathlib.Path(given.settings).is_file():
      raise app.UsageError(f"--settings={given.settings}: no such file; --save=FILE writes one")
    settings = json.loads(pathlib.Path(given.settings).read_text(encoding="utf-8"))
  elif "config" in given and given.config is not None:
    settings = json.loads(given.config.to_json())
  else:
    raise app.UsageError("give --config=configs/throughput.py, or --settings=FILE of --save")
  settings = changed(settings, given.set)
  if given.save:
    pathlib.Path(given.save).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
  else:
    main(settings, as_json=given.json, profile=given.profile, by_turns=given.turns)


def start() -> None:
  """Reads the command line; ml_collections is needed where --config is given alone."""
  define_flags()
  parse = app.parse_flags_with_usage
  if any(arg.lstrip("-").startswith("config") for arg in sys.argv[1:]):
    from ml_collections import config_flags

    text = "FILE.py:settings, see configs/throughput.py"
    config = config_flags.DEFINE_config_file("config", None, text)
    parse = functools.partial(run.parse, config=config)
  host.restart_with_huge_pages()
  app.run(command, flags_parser=parse)


if __name__ == "__main__":
  start()
