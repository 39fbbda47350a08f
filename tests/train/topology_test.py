"""Names of machines: what is known, what is refused and what to do then."""

import importlib.util

import jax
import pytest

from r1.train import topology


def test_this_host_gives_its_own_devices_and_no_size():
  assert topology.devices("cpu") == jax.devices("cpu")
  assert topology.memory("cpu") is None


@pytest.mark.parametrize("name", ["v9z:2x2", "v5p", "v5p:4", "v5p:2x2x2x2", "v5p-32", "gpu", ""])
def test_a_name_that_is_none_is_refused_with_what_there_is(name):
  with pytest.raises(ValueError, match=r"wanted cpu, or a TPU .* v5p:2x2x4 .*v5e, v5p, v6e, tpu7x"):
    topology.devices(name)


def test_a_missing_compiler_is_named_with_how_to_get_it(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"package libtpu: pip install 'jax\[tpu\]'"):
    topology.devices("v5p:2x2x4")


def test_a_chips_memory_is_known_by_its_generation():
  assert topology.memory("v5p:2x2x4") == 95e9
  assert topology.memory("v5e:4x4") == 16e9
  assert topology.memory("tpu7x:2x2x1") == 96e9  # half of a chip


@pytest.mark.slow
def test_slices_are_described_where_the_compiler_is_installed():
  pytest.importorskip("libtpu", reason="no libtpu: the TPU's compiler is not installed")
  assert len(topology.devices("v5p:2x2x4")) == 16
  assert len(topology.devices("v5e:1x1")) == 1
  with pytest.raises(ValueError, match=r"v5p:3x3x3' is refused by the TPU's compiler: .*divisible"):
    topology.devices("v5p:3x3x3")
