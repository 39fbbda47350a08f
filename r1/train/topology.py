"""The devices of a machine that is not here, described to its compiler by name."""

import importlib.util
import os
import re

import jax
from jax.experimental import topologies

# Bytes of memory of one device; a tpu7x chip is two devices.
MEMORY = {"v5e": 16e9, "v5p": 95e9, "v6e": 32e9, "tpu7x": 96e9}
# What libtpu asks a TPU host's own services for; described devices have none to ask.
DESCRIBED = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5p-8",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # compiling takes hold of no chip
}
HOST = "cpu"


def devices(name: str) -> list:
  """The devices of a TPU slice, to compile for and not to run on; or this host's own, for "cpu".

  name: generation and chips, v5p:2x2x4 or v5e:4x4. Raises ValueError where the name is none that
  the TPU compiler knows, or where that compiler is not installed.
  """
  if name == HOST:
    return jax.devices(HOST)
  generation, _, chips = name.partition(":")
  if generation not in MEMORY or not re.fullmatch(r"\d+x\d+(x\d+)?", chips):
    raise ValueError(
      f"topology={name!r}: wanted {HOST}, or a TPU and its chips such as v5p:2x2x4 or v5e:4x4; "
      f"TPUs are {', '.join(MEMORY)}"
    )
  if importlib.util.find_spec("libtpu") is None:
    raise ValueError(
      f"topology={name!r} needs the TPU's compiler, the package libtpu: pip install 'jax[tpu]'"
    )
  for variable, value in DESCRIBED.items():
    os.environ.setdefault(variable, value)
  single = {"chips_per_host_bounds": (1, 1, 1)} if set(chips) <= {"1", "x"} else {}
  try:
    found = topologies.get_topology_desc(name, "tpu", **single)
  except jax.errors.JaxRuntimeError as error:
    raise ValueError(f"topology={name!r} is refused by the TPU's compiler: {error}") from error
  return list(found.devices)


def memory(name: str) -> float | None:
  """Bytes of memory of one of its devices; None for this host, which knows its own."""
  return MEMORY.get(name.partition(":")[0])
