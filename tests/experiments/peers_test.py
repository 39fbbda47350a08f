"""The pure parts of the comparison: flags that mean one thing, and no ratio of unlike work."""

import argparse
import json
import pathlib
import sys
import tempfile
import types

import numpy as np
import pytest

from configs import throughput as recipe
from experiments.peers import compare, trl_grpo, work
from r1.data import synthetic


def given(*flags):
  return compare.parser().parse_args(["--tunix-python=t", "--trl-python=p", *flags])


def test_defaults_are_those_of_our_own_recipe():
  c, flags = recipe.get_config(), work.flags("a\nb").parse_args([])
  asked = work.asked(flags)
  assert asked == synthetic.WorkConfig(**c.work, group=c.grpo.group)
  assert {name: getattr(flags, name) for name in work.SIZES} == {
    name: c.letters[name] for name in work.SIZES
  }
  assert (flags.kl, flags.lr) == (c.grpo.kl, c.optimizer.learning_rate)
  assert (flags.warmup, flags.steps) == (c.clock.warmup, c.clock.repeats)
  assert flags.D // flags.H == c.letters.K


def test_prompts_as_words_are_those_of_our_own_behind_a_begin():
  asked = work.asked(work.flags("a").parse_args(["--prompt=6", "--questions=2"]))
  rows = [[work.BOS, *map(int, text.split())] for text in work.texts(asked, 3, 512)]
  assert np.shape(rows) == (2, 6)
  assert np.array_equal(np.array(rows)[:, 1:], synthetic.prompts(asked, 3, 512)[:, 1:])


def test_our_command_says_what_the_peers_are_told():
  asked = given(
    "--lengths=geometric", "--cap=64", "--D=128", "--what=sample", "--ours=--config.x=1"
  )
  command = compare.our_command(asked, 8, "--config.loop=True")
  (config,) = [arg for arg in command if arg.startswith("--config=")]
  made = recipe.get_config(config.partition(":")[2])
  assert (made.work.lengths, made.work.cap, made.work.mean) == ("geometric", 64, 128.0)
  assert made.sampler.slots == 8
  flags = {"--config.letters.D=128", "--config.letters.K=32", "--json", "--turns", "--config.x=1"}
  assert flags | {"--config.loop=True"} <= {*command}
  assert "--config.clock.until=sample" in command


def test_their_commands_are_read_by_their_own_flags():
  names = {"step": ["tunix", "trl"]}
  names["sample"] = ["tunix", "transformers", "transformers static"]
  for what, wanted in names.items():
    commands = compare.their_commands(given(f"--what={what}", "--cap=64", "--lengths=geometric"))
    assert list(commands) == wanted
    for command in commands.values():
      flags, rest = work.flags("a").parse_known_args(command[3:])
      assert (flags.cap, flags.lengths, flags.turns) == (64, "geometric", True)
      assert set(rest) <= {"--sampler-only", "--generate-only", "--static-cache"}
      assert bool(rest) == (what == "sample")


def record(seconds, **changes):
  made = argparse.Namespace(**vars(work.flags("a").parse_args([])))
  line = work.record("x", made, params=7, seconds=seconds, counted=32 * 128)
  return json.loads(line) | changes


def test_a_record_has_the_medians_of_its_seconds():
  made = record([3.0, 1.0, 2.0])
  assert (made["seconds_median"], made["seconds_min"]) == (2.0, 1.0)
  assert made["tokens"] == made["counted"] == 4096
  assert made["tokens_per_s"] == 2048


def test_our_line_takes_the_peers_form():
  theirs = record([1.0])
  shared = {name: theirs[name] for name in ("params", "tokens", "longest", "lengths_sha256")}
  ours = shared | {
    "what": "r1",
    "dtype": "float32",
    "sizes": theirs["sizes"] | {"K": 64},
    "work": {"kl": 0.04},
    "parts": {"step": {name: theirs[name] for name in TIMES}},
  }
  compare.check({"ours": compare.as_peer(ours, "step"), "trl": theirs})


TIMES = ("seconds", "seconds_median", "seconds_min", "tokens_per_s")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"params": 8}, "trl: params is 8, ours 7"),
    ({"sizes": {}}, "trl: sizes is"),
    ({"lengths_sha256": "0"}, "trl: lengths_sha256 is 0"),
    ({"kl": 0.0}, "trl: kl is 0"),
    ({"counted": 4000}, "trl: counted 4000 tokens of 4096"),
  ],
)
def test_unlike_work_is_not_compared(changes, message):
  with pytest.raises(ValueError, match=message):
    compare.check({"ours": record([1.0]), "trl": record([1.0], **changes)})


def test_ratios_are_of_pairs_and_then_their_median():
  # Pair by pair 2, 3 and 1; the ratio of the medians would be 4 / 2.
  found = compare.summary({"ours": record([1.0, 2.0, 4.0]), "trl": record([2.0, 6.0, 4.0])})
  assert found["trl"]["ratios"] == [2.0, 3.0, 1.0]
  assert found["trl"]["ratio"] == 2.0
  assert found["ours"]["ratio"] == 1.0
  assert found["trl"]["seconds"] == 4.0


PROGRAM = """
import sys
from r1.train import turns
name, count, log = sys.argv[1], int(sys.argv[2]), open(sys.argv[3], "a")
print("some noise")
for i in range(count):
  turns.take(True)
  print(name, i, file=log, flush=True)
print('{"name": "' + name + '"}')
"""


def test_programs_take_turns_and_one_that_has_ended_is_passed_over(tmp_path):
  log = tmp_path / "log"
  command = lambda name, count: [sys.executable, "-c", PROGRAM, name, str(count), str(log)]
  records = compare.by_turns({"a": command("a", 2), "b": command("b", 3)})
  assert records == {"a": {"name": "a"}, "b": {"name": "b"}}
  assert log.read_text().splitlines() == ["a 0", "b 0", "a 1", "b 1", "b 2"]


def test_a_program_that_fails_is_named_with_what_it_said():
  fails = [sys.executable, "-c", "raise SystemExit('no such library')"]
  with pytest.raises(RuntimeError, match=r"(?s)trl failed: .*no such library"):
    compare.by_turns({"trl": fails})


def test_nothing_to_compare_with_is_refused():
  with pytest.raises(ValueError, match="give --tunix-python, --trl-python or --plain-loop"):
    compare.main(compare.parser().parse_args([]))


@pytest.mark.parametrize(
  ("flag", "message"),
  [
    ("--trl-python=no/such/python", "--trl-python=no/such/python is no program; see .*README"),
    ("--tunix-python=no-such-python", "--tunix-python=no-such-python is no program"),
    ("--warmup=0", "--warmup=0 must be >= 1"),
  ],
)
def test_what_would_fail_after_the_first_program_is_refused_before_it(flag, message, monkeypatch):
  monkeypatch.setattr(compare, "by_turns", lambda *_: pytest.fail("a program was started"))
  found = [f"--{name}-python={sys.executable}" for name in ("tunix", "trl")]
  with pytest.raises(ValueError, match=message):
    compare.main(compare.parser().parse_args([*found, flag]))


@pytest.mark.parametrize("threads", [100_000, -1])
def test_other_cores_than_there_are_are_refused(threads):
  with pytest.raises(ValueError, match=f"threads={threads}: wanted 1 to "):
    work.use_cores(threads)


def test_trl_leaves_no_folder_behind(monkeypatch, tmp_path):
  """Each run would fill the disk with one more copy of the weights."""
  held = []

  class Saved:
    def save_pretrained(self, folder):
      pathlib.Path(folder).mkdir(parents=True, exist_ok=True)

  class Trainer:
    def __init__(self, *, model, reward_funcs, callbacks, **_):
      self.model, self.reward, (self.clock,) = model, reward_funcs, callbacks

    def train(self):
      held.extend(tmp_path.rglob("model"))
      self.clock.on_step_begin()
      self.reward([], [], [[1, 2]])
      self.clock.on_step_end()

  class Rows:
    from_dict = dict

  modules = {
    "datasets": {"Dataset": Rows},
    "transformers": {"TrainerCallback": object},
    "trl": {"GRPOTrainer": Trainer, "GRPOConfig": dict},
  }
  for name, members in modules.items():
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**members))
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  parser = work.flags("a")
  parser.add_argument("--device", default="cpu")
  parser.add_argument("--static-cache", action="store_true")
  flags = parser.parse_args(["--warmup=0", "--steps=1"])
  lengths = np.array([2])
  seconds, counted = trl_grpo.time_steps(flags, work.asked(flags), Saved(), Saved(), lengths, None)
  assert len(held) == len(seconds) == 1
  assert counted == 2
  assert not list(tmp_path.iterdir())
