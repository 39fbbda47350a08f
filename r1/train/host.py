"""Settings of the process itself: memory pages on Linux, the cache folder, compiled programs."""

import os
import pathlib
import platform
import sys

import jax
from absl import logging

# XLA's CPU backend allocates its scratch memory anew at every call; with huge pages that stay
# mapped the page faults go away. glibc reads these only when a process starts.
ALLOCATOR = {
  "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
  "MALLOC_MMAP_MAX_": "0",
  "MALLOC_TRIM_THRESHOLD_": "20000000000",
  "MALLOC_TOP_PAD_": "200000000",
}
OFF = "R1_NO_REEXEC"
ACCELERATORS = ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio/0")


def restart_with_huge_pages() -> None:
  """Starts this command once more with the allocator's settings; says so.

  On Linux machines without an accelerator. R1_NO_REEXEC=1 turns it off, and settings of the user's
  own are left alone.
  """
  libc, version = platform.libc_ver()
  new_enough = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
  if sys.platform != "linux" or not new_enough or os.environ.get(OFF):
    return
  if any(pathlib.Path(device).exists() for device in ACCELERATORS):
    return
  if any(name in os.environ for name in ALLOCATOR) or not sys.orig_argv[1:]:
    return
  print(f"restarting with huge pages for the CPU ({OFF}=1 turns this off)", flush=True)
  os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ALLOCATOR)


def cache_folder() -> pathlib.Path:
  """Where bases and compiled programs are kept: R1_CACHE, else XDG_CACHE_HOME/r1 or ~/.cache/r1."""
  if own := os.environ.get("R1_CACHE"):
    return pathlib.Path(own)
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "r1"


def quiet_libraries() -> None:
  """Leaves the terminal to the run: Orbax tells every step of a save otherwise."""
  logging.set_verbosity(logging.WARNING)


def keep_compiled_programs() -> None:
  """Turns on JAX's persistent compilation cache in the user's cache folder."""
  jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
