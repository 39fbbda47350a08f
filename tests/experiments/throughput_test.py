"""The command that measures: its line, its settings, and that it needs few packages."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest
from absl import app

from configs import throughput as recipe
from experiments import throughput
from r1 import spec
from r1.algorithms import logp
from r1.model import transformer
from r1.train import floor, workload

ROOT = pathlib.Path(__file__).parents[2]
SMALL = {
  "letters.layers": 1,
  "letters.D": 16,
  "letters.F": 32,
  "letters.V": 64,
  "letters.H": 2,
  "letters.K": 8,
  "letters.N": 1,
  "clock.warmup": 1,
  "clock.repeats": 2,
}
ARG = "questions=2,group=2,prompt=4,cap=8"
PLAIN = {"batch__fork": (), "batch__row_tokens": 12, "batch__microbatch_tokens": 48}
# What an accelerator's image may lack.
ABSENT = ("ml_collections", "tensorflow_datasets", "grain", "rich", "orbax", "tensorboardX")


def settings(arg=ARG, **changes):
  made = recipe.get_config(arg)
  dotted = {name.replace("__", "."): value for name, value in changes.items()}
  made.update_from_flattened_dict(SMALL | dotted)
  return json.loads(made.to_json())


def measured(capsys, arg=ARG, **changes):
  throughput.main(settings(arg, **changes), as_json=True, profile="")
  return json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module", autouse=True)
def programs(cache):
  """Compiled programs of this file's own."""


def test_the_line_has_every_part_and_adds_up(capsys):
  found = measured(capsys)
  parts = found["parts"]
  assert tuple(parts) == (*workload.PARTS, "step")
  assert found["tokens"] == 2 * 2 * 8
  for name, tokens in {"sample": 32, "score": 42, "update": 42, "step": 32}.items():
    part = parts[name]
    assert part["tokens"] == tokens
    assert len(part["seconds"]) == 2
    assert part["tokens_per_s"] == pytest.approx(tokens / part["seconds_median"])
    assert part["attainable"] == pytest.approx(part["floor_s"] / part["seconds_median"])
    assert part["mfu"] == pytest.approx(
      part["flops"] / part["seconds_median"] / found["matmul_flops_per_s"]
    )
    assert part["compilations"] > 0
    assert part["compilations_later"] == 0
  for i in range(2):
    whole = sum(parts[name]["seconds"][i] for name in workload.PARTS)
    assert parts["step"]["seconds"][i] == pytest.approx(whole)
  # Rows of 3 + 2 x 9 tokens.
  # 6 N a token at least, and the reference at 2 N: a rollout's only update scores no old policy.
  assert parts["update"]["flops"] > 6 * found["active"] * 42
  assert parts["score"]["flops"] == pytest.approx(parts["update"]["flops"] * 2 / 6)
  assert parts["sample"]["slot_utilisation"] == 1.0


@pytest.mark.parametrize(("kl", "minibatches"), [(0.0, 1), (0.04, 1), (0.0, 2), (0.04, 2)])
def test_as_many_policies_are_counted_as_score(monkeypatch, kl, minibatches):
  """The floor of scoring is that of the programs that run."""
  changes = {"grpo__kl": kl, "batch__minibatches": minibatches} | PLAIN
  w, state, ref = throughput.build(settings(**changes), None, None)
  samples, runs = workload.sample(w, state.policy, 0).samples, []
  score = logp.score
  monkeypatch.setattr(logp, "score", lambda *given: runs.append(1) or score(*given))
  workload.score(w, state.policy, ref, samples)
  cost = throughput.costs(w, floor.Rates(matmul=1.0, bandwidth=1.0))
  assert cost["score"]["flops"] == len(runs) * cost["update"]["flops"] // 3
  assert cost["score"]["tokens"] == (48 if runs else 0)


def test_a_kernel_that_sees_no_shared_prompt_is_refused_before_anything_is_made(monkeypatch):
  monkeypatch.setattr(throughput, "build", None)
  with pytest.raises(ValueError, match="share_prompts=True with attend='splash'"):
    throughput.main(settings(runtime__attend="splash"), as_json=True, profile="")


def test_sampling_alone_and_uneven_lengths(capsys):
  arg = "questions=2,group=2,prompt=4,cap=8,lengths=geometric,mean=4,slots=2"
  found = measured(capsys, arg, clock__until="sample")
  assert list(found["parts"]) == ["sample"]
  assert 4 <= found["tokens"] < 32
  assert found["parts"]["sample"]["decode_step"]["steps"] >= found["tokens"] / 2


def test_slot_utilisation_is_of_the_slot_steps_that_the_engine_tells(monkeypatch, capsys):
  sample = workload.sample
  told = lambda *given: workload.Sampled(sample(*given).samples, slot_steps=40)
  monkeypatch.setattr(workload, "sample", told)
  assert measured(capsys)["parts"]["sample"]["slot_utilisation"] == 32 / 40


def test_a_table_for_people_and_a_trace(capsys, tmp_path):
  throughput.main(settings(), as_json=False, profile=str(tmp_path))
  said = capsys.readouterr().out
  for word in ("sample", "score", "update", "step", "attainable", "MFU"):
    assert word in said
  assert list(tmp_path.rglob("*.xplane.pb"))


def test_the_default_is_the_model_that_the_peers_are_given():
  c = settings()
  letters = recipe.get_config().letters.to_dict()
  cfg = workload.sizes(letters, c["runtime"] | {"rules": None}, 160)
  # Table, final norm; per layer two norms, q and o, k and v, their biases, the MLP.
  layer = 2 * 256 + 2 * 256 * 256 + 2 * 256 * 128 + 256 + 2 * 128 + 3 * 256 * 1024
  assert spec.count(transformer.specs(cfg)) == 512 * 256 + 256 + 4 * layer == 4_067_584


def test_settings_are_replaced_by_name_and_type():
  made = throughput.changed(settings(), ["work.cap=9", "grpo.kl=0", "model=tiny-qwen3"])
  assert made["work"]["cap"] == 9
  assert made["grpo"]["kl"] == 0.0
  assert isinstance(made["grpo"]["kl"], float)
  assert made["model"] == "tiny-qwen3"
  assert throughput.changed(settings(), ["grpo.sampler_cap=2.0"])["grpo"]["sampler_cap"] == 2.0


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("work.cup=9", "no setting 'work.cup'"),
    ("wrok.cap=9", "no setting 'wrok.cap'"),
    ("work=9", "no setting 'work'"),
    ("model.cap=9", "no setting 'model.cap'"),
    ("work.cap=nine", "wanted a int like 8"),
    ("work.cap=9.5", "wanted a int like 8"),
    ("grpo.dynamic=1", "wanted a bool like False"),
  ],
)
def test_a_setting_that_there_is_not_or_of_another_type_is_refused(change, message):
  with pytest.raises(ValueError, match=message):
    throughput.changed(settings(), [change])


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [("warmup", 0, "must be >= 1"), ("until", "reward", "choose one of sample, score, update")],
)
def test_a_wrong_clock_is_refused(name, value, message):
  with pytest.raises(ValueError, match=message):
    throughput.ClockConfig(**{"warmup": 1, "repeats": 1, "until": "update"} | {name: value})


def test_saved_settings_run_where_most_packages_are_missing(tmp_path):
  """--config resolves and --save writes; --settings runs them without ml_collections and rich."""
  path, env = tmp_path / "settings.json", os.environ | {"R1_NO_REEXEC": "1"}
  flags = [f"--config.{name}={value}" for name, value in SMALL.items()]
  command = [sys.executable, "-m", "experiments.throughput", f"--save={path}"]
  config = f"--config=configs/throughput.py:{ARG}"
  given = {"cwd": ROOT, "env": env, "check": True, "timeout": 120}
  subprocess.run([*command, config, *flags], **given)
  assert json.loads(path.read_text()) == settings()
  # flax itself imports rich where it is there, so ours is watched instead of made impossible.
  code = (
    "import runpy, sys\n"
    f"sys.modules |= dict.fromkeys({[name for name in ABSENT if name != 'rich']})\n"
    f"sys.argv = ['x', '--settings={path}', '--set=clock.repeats=1', '--json']\n"
    "runpy.run_module('experiments.throughput', run_name='__main__')\n"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **given)
  assert len(json.loads(done.stdout.splitlines()[-1])["parts"]["step"]["seconds"]) == 1


MESHED = PLAIN | {"mesh__data": 8, "sampler__slots": 8, "batch__microbatch_tokens": 96}


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"sampler__chunk": 0}, "chunk=0 must be >= 1"),
    ({"sampler__cache_tokens": 64}, "4 tokens and 8 new ones take 2 pages of 32 .* cache has 1"),
    ({"grpo__group": 1}, "a group of one has no baseline"),
    (PLAIN | {"batch__minibatches": 3}, "2 x 2 answers do not divide into minibatches=3"),
    (MESHED, "in_flight=2 is for one device; with a mesh it must be 1"),
  ],
)
def test_wrong_settings_are_refused_before_weights_are_made(monkeypatch, changes, message):
  monkeypatch.setattr(workload, "open_model", lambda *_, **__: pytest.fail("made weights"))
  with pytest.raises(ValueError, match=message):
    throughput.main(settings(**changes), as_json=True, profile="")


def test_settings_that_are_not_there_are_named(monkeypatch):
  given = types.SimpleNamespace(FLAGS=types.SimpleNamespace(settings="/nope", set=[]))
  monkeypatch.setattr(throughput, "flags", given)
  with pytest.raises(app.UsageError, match="--settings=/nope: no such file; --save=FILE writes"):
    throughput.command(["x"])
