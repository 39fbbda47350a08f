"""What the peers' scripts share: their flags, the work asked for, and their line.

Runs in the peers' own environments: the standard library and NumPy.
"""

import argparse
import json
import os
import statistics
from collections.abc import Sequence

from r1.data import synthetic

PAD, BOS, EOS = 0, 1, 2  # the control ids of `synthetic`
SIZES = {"layers": 4, "D": 256, "F": 1024, "V": 512, "H": 4, "N": 2}
WORK = {"questions": 4, "group": 8, "prompt": 32, "cap": 128, "seed": 0}


def flags(doc: str | None) -> argparse.ArgumentParser:
  """The flags of every script, with one name for one thing."""
  made = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
  for name, value in (SIZES | WORK | {"steps": 5, "warmup": 2, "threads": 0}).items():
    made.add_argument(f"--{name}", type=int, default=value)
  made.add_argument("--lengths", choices=synthetic.LENGTHS, default="fixed")
  made.add_argument("--mean", type=float, default=128.0)
  made.add_argument("--lengths-file", default="")
  made.add_argument("--kl", type=float, default=0.04, help="0: no reference policy")
  made.add_argument("--lr", type=float, default=1e-5)
  made.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  made.add_argument("--turns", action="store_true", help="wait for a line before each repeat")
  return made


def asked(given: argparse.Namespace) -> synthetic.WorkConfig:
  """The work as `experiments.throughput` has it."""
  names = {name: getattr(given, name) for name in WORK}
  kind = {"lengths": given.lengths, "mean": given.mean, "file": given.lengths_file}
  return synthetic.WorkConfig(**names, **kind)


def texts(work: synthetic.WorkConfig, repeat: int, vocabulary: int) -> list[str]:
  """The prompts of a repeat as words, one per id, begin of text left to the tokenizer.

  A tokenizer that puts BOS in front makes them as long as `work.prompt`.
  """
  ids = synthetic.prompts(work, repeat, vocabulary)[:, 1:]
  return [" ".join(map(str, row)) for row in ids.tolist()]


def use_cores(threads: int) -> int:
  """Leaves this process `threads` of the cores that it may use, 0 for all; call it before imports.

  Returns how many it has.
  """
  allowed = sorted(os.sched_getaffinity(0))
  if not 0 <= threads <= len(allowed):
    raise ValueError(
      f"threads={threads}: wanted 1 to {len(allowed)}, the cores of this process, or 0 for all"
    )
  os.sched_setaffinity(0, allowed[: threads or None])
  return len(os.sched_getaffinity(0))


def record(what: str, given: argparse.Namespace, *, params: int, seconds: Sequence[float], **more):
  """One line of JSON. seconds: of each repeat, warm-up left out.

  `counted` is in `more`: tokens of the answers as the program itself counted them in one repeat.
  """
  work, middle = asked(given), statistics.median(seconds)
  lengths = synthetic.lengths(work)
  return json.dumps(
    {
      "what": what,
      "params": params,
      "sizes": {name: getattr(given, name) for name in SIZES},
      "tokens": int(lengths.sum()),
      "longest": int(lengths.max()),
      "lengths_sha256": synthetic.digest(lengths),
      "kl": given.kl,
      "dtype": given.dtype,
      "seconds": list(seconds),
      "seconds_median": middle,
      "seconds_min": min(seconds),
      "tokens_per_s": int(lengths.sum()) / middle,
      "flags": vars(given),
    }
    | more
  )
