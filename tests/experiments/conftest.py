"""What tests of whole runs need: a base and compiled programs of their own, and no compute."""

import jax
import pytest
from absl import logging
from jax.experimental.compilation_cache import compilation_cache

from r1.train import pretrain, workdir

KEEP = {
  "jax_compilation_cache_dir": None,  # until a stage sets its own
  "jax_persistent_cache_min_compile_time_secs": 0,
  "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="module")
def patch():
  with pytest.MonkeyPatch.context() as made:
    yield made


@pytest.fixture(scope="module")
def cache(patch, tmp_path_factory):
  """One folder of bases and of compiled programs, the quick ones too, for all tests of a file."""
  folder = tmp_path_factory.mktemp("cache")
  patch.setenv("R1_CACHE", str(folder))
  patch.setenv("R1_NO_REEXEC", "1")
  kept, verbosity = {name: getattr(jax.config, name) for name in KEEP}, logging.get_verbosity()
  for name, value in KEEP.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield folder
  for name, value in kept.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  logging.set_verbosity(verbosity)


@pytest.fixture
def no_compute(monkeypatch):
  """The base may not even be looked for."""

  def fail(*_):
    raise AssertionError("computed before the input was checked")

  monkeypatch.setattr(pretrain, "cached_base", fail)
  monkeypatch.setattr(workdir, "load", fail)
