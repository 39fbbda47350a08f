"""Two processes of four devices train like one process of eight, on one recorded rollout."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MESH = {"data": 2, "fsdp": 2, "tensor": 2}
STEPS = 3


def losses():
  """[loss, gradient norm] of each update; runs in every process alike."""
  import jax
  import numpy as np

  from r1 import sharding
  from r1.algorithms import advantages, experts
  from r1.model import transformer
  from r1.train import optimizer, rl, state, step
  from tests.train import tiny

  samples, rng = tiny.random_samples(24), np.random.default_rng(3)
  cfg = tiny.grpo_config(kl=0.1)
  reward_QG = rng.integers(0, 2, (6, 4)).astype(float)
  scored = rl.Scored(
    samples=samples,
    rewards=None,
    advantage_B=advantages.group_advantages(reward_QG, np.ones((6, 4), bool), cfg).ravel(),
    counted_B=np.ones(24, bool),
    old=[rng.normal(-5.9, 0.1, len(s.tokens)) for s in samples],
    ref=[rng.normal(-5.9, 0.1, len(s.tokens)) for s in samples],
  )
  batch = tiny.batch_config(64, rows=4, minibatches=STEPS)
  rules, mesh = sharding.FSDP_TENSOR, sharding.make_mesh(MESH)
  model_cfg = tiny.model(rules=rules)
  specs, found = transformer.specs(model_cfg), []
  with sharding.on(mesh):
    tx = optimizer.make(tiny.adam(), specs)
    made = state.init(state.initial_params(jax.random.key(0), specs, mesh, rules), tx)
    update = jax.jit(
      step.make_update(rl.make_loss(model_cfg, cfg, experts.OFF), tx), donate_argnums=0
    )
    given = {"batch": batch, "cfg": cfg, "mixture": experts.OFF, "rng": rng, "microbatches": 4}
    for micro, used in rl.steps(scored, **given):
      heat_U = np.ones(4, np.float32)
      placed = sharding.place((micro, heat_U), mesh=mesh, rules=rules)
      made, metrics = update(made, placed, used)
      found.append([float(metrics[name]) for name in ("policy/loss", "policy/grad_norm")])
  return found


def start(processes):
  """[(process, what it found)]; each process has 8 / processes devices."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = str(probe.getsockname()[1])
  env = os.environ | {"JAX_NUM_CPU_DEVICES": str(8 // processes), "PYTHONPATH": str(ROOT)}
  children = [
    subprocess.Popen(
      [sys.executable, __file__, str(number), str(processes), port],
      env=env,
      cwd=ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )
    for number in range(processes)
  ]
  results = [child.communicate(timeout=400) for child in children]
  for child, (_, errors) in zip(children, results):
    assert child.returncode == 0, errors[-3000:]
  return [json.loads(out.splitlines()[-1]) for out, _ in results]


@pytest.mark.slow
def test_two_processes_train_like_one():
  (wanted,) = start(1)
  first, second = start(2)
  assert len(wanted) == STEPS
  assert first == second, "every process reads the same numbers"
  for got, one in zip(first, wanted):
    assert got == pytest.approx(one, rel=1e-5, abs=1e-5)
  assert len({loss for loss, _ in wanted}) == STEPS


if __name__ == "__main__":
  number, processes, port = sys.argv[1:]
  if processes != "1":
    import jax

    jax.distributed.initialize(f"localhost:{port}", int(processes), int(number))
  print(json.dumps(losses()))
