"""A base from generated text: it learns, from training problems alone, once per settings."""

import dataclasses
import itertools
import re

import jax
import numpy as np
import pytest

from r1.data.worlds import arithmetic
from r1.train import checkpoint, optimizer, pretrain, workdir
from tests.train import tiny

CFG = pretrain.PretrainConfig(**tiny.PRETRAIN)
OPT = tiny.adam(learning_rate=3e-2, weight_decay=0.0)


@pytest.fixture
def cache(monkeypatch, tmp_path):
  monkeypatch.setenv("R1_CACHE", str(tmp_path))
  return tmp_path


def quick(seed=0):
  return dataclasses.replace(CFG, steps=2, seed=seed)


def base(cfg=CFG, report=lambda step, loss: None):
  return pretrain.cached_base(tiny.MODEL, tiny.WORLD, OPT, cfg, report)


@pytest.fixture(scope="module")
def segments():
  """[(token ids, targets, weights)] of the documents of eight batches."""
  found = []
  for batch in itertools.islice(pretrain.batches(tiny.WORLD, tiny.tokenizer(), CFG), 8):
    for token_L, target_L, weight_L, segment_L in zip(
      *(x[0] for x in (batch.token_BL, batch.target_BL, batch.weight_BL, batch.segment_BL))
    ):
      for number in range(1, segment_L.max() + 1):
        where = segment_L == number
        found.append((token_L[where], target_L[where], weight_L[where]))
  return found


def test_documents_are_of_training_problems_alone(segments):
  problems = set()
  for tokens, _, _ in segments:
    text = tiny.tokenizer().decode(tokens.tolist())
    problems.add(re.search(r"\d+(?: [+-] \d+)+", text)[0])
  assert len(problems) > 50
  for text in problems:
    numbers, signs = re.findall(r"\d+", text), "".join(re.findall(r"[+-]", text))
    problem = arithmetic.Problem(tuple(map(int, numbers)), signs, 0)
    assert arithmetic.split_of(problem, tiny.WORLD) == "train", text


def test_every_token_but_the_first_is_a_target_and_the_end_is_one_too(segments):
  tokenizer = tiny.tokenizer()
  for tokens, targets, weights in segments:
    assert tokens[0] == tokenizer.bos
    assert tokens[-1] == tokenizer.eos[0]
    np.testing.assert_array_equal(targets[:-1], tokens[1:])
    assert (weights > 0).tolist() == [True] * (len(tokens) - 1) + [False]


def test_the_weights_of_a_batch_add_to_one():
  for batch in itertools.islice(pretrain.batches(tiny.WORLD, tiny.tokenizer(), CFG), 3):
    assert batch.token_BL.shape == (1, 4, 128)
    assert batch.weight_BL.sum() == pytest.approx(1, rel=1e-5)


def test_twenty_steps_lower_the_loss_and_the_last_one_is_reported():
  losses = {}
  for steps in (1, 20):
    cfg = dataclasses.replace(CFG, steps=steps)
    pretrain.train(tiny.MODEL, tiny.WORLD, OPT, cfg, losses.__setitem__)
  assert losses.keys() == {1, 20}
  # A uniform guess over 384 ids costs log 384 = 5.95 nats, and few ids are common.
  assert 5.5 < losses[1] < 6.5
  assert losses[20] < losses[1] - 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_seed_another_model():
  first, again, other = (
    pretrain.train(tiny.MODEL, tiny.WORLD, OPT, quick(seed), lambda *_: None) for seed in (0, 0, 1)
  )
  jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
  assert np.abs(first.params["embed_VD"] - other.params["embed_VD"]).max() > 1e-3
  assert first.tokenizer.digest == again.tokenizer.digest


def test_nan_stops_the_pre_training(monkeypatch):
  broken = jax.tree.map(lambda x: x * np.nan, tiny.params(tiny.model()))
  monkeypatch.setattr(pretrain.state, "initial_params", lambda *_: broken)
  with pytest.raises(ValueError, match="2 of 2 steps met NaN; lower the learning rate"):
    pretrain.train(tiny.MODEL, tiny.WORLD, OPT, quick(), lambda *_: None)


# The cache ---------------------------------------------------------------------------------------


OTHER = {  # where one more is no legal value
  "dtype": "bfloat16",
  "attend": "einsum",
  "remat": "layer",
  "stacks": (("dense", 2),),
  "rules": "some",
  "terms": ((2, 0.4), (3, 0.6)),
  "operands": (1, 8),
  "languages": (0.5, 0.5, 0.0, 0.0),
  "final": 0.5,
  "warmup": 1,
}


def other(name, value):
  if name in OTHER:
    return OTHER[name]
  match value:
    case bool():
      return not value
    case float() if 0 <= value <= 1:
      return value / 2 + 0.01
    case tuple():
      return (0.3, 0.3, 0.4)
    case str() | None:
      return f"not {value}"
  return value + 1


def test_the_digest_changes_with_every_setting():
  sections = [tiny.MODEL, *(dataclasses.asdict(x) for x in (tiny.WORLD, OPT, CFG))]
  makers = (dict, arithmetic.World, optimizer.OptimizerConfig, pretrain.PretrainConfig)
  seen, changes = set(), 0
  for i, fields in enumerate(sections):
    for name, value in fields.items():
      changed = fields | {name: other(name, value)}
      given = [make(**f) for make, f in zip(makers, (*sections[:i], changed, *sections[i + 1 :]))]
      seen.add(pretrain.digest(*given))
      changes += 1
  assert changes > 40
  assert len(seen | {pretrain.digest(tiny.MODEL, tiny.WORLD, OPT, CFG)}) == changes + 1


def test_the_digest_changes_with_the_text_that_the_settings_make(monkeypatch):
  """A world whose code has changed makes another base."""
  before = pretrain.digest(tiny.MODEL, tiny.WORLD, OPT, CFG)
  write = arithmetic.document

  def louder(rng, world):
    made = write(rng, world)
    return dataclasses.replace(made, response=made.response + "!")

  monkeypatch.setattr(arithmetic, "document", louder)
  assert pretrain.digest(tiny.MODEL, tiny.WORLD, OPT, CFG) != before


def test_the_digest_is_a_name_that_does_not_depend_on_the_order_of_the_settings():
  held = pretrain.digest(tiny.MODEL, tiny.WORLD, OPT, CFG)
  assert held == pretrain.digest(dict(reversed(tiny.MODEL.items())), tiny.WORLD, OPT, CFG)
  assert re.fullmatch(r"[0-9a-f]{16}", held)


def test_a_base_is_made_once_and_found_again(cache, monkeypatch):
  folder, seconds = base(quick())
  assert seconds > 0
  assert folder.is_relative_to(cache / "bases")
  monkeypatch.setattr(pretrain, "train", None)  # a second training would fail
  assert base(quick()) == (folder, 0.0)
  model = workdir.load(folder)
  assert model.cfg == tiny.model(ids=model.tokenizer.size)


@pytest.mark.slow
def test_a_cached_base_has_the_bits_of_the_trained_one(cache):
  trained = pretrain.train(tiny.MODEL, tiny.WORLD, OPT, quick(), lambda *_: None)
  jax.tree.map(np.testing.assert_array_equal, workdir.load(base(quick())[0]).params, trained.params)


@pytest.mark.slow
def test_a_crash_half_way_leaves_no_half_base(cache, monkeypatch):
  def crash(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(checkpoint, "save", crash)
    with pytest.raises(KeyboardInterrupt):
      base(quick())
  name = pretrain.digest(tiny.MODEL, tiny.WORLD, OPT, quick())
  assert not (cache / "bases" / name).exists()
  folder, seconds = base(quick())
  assert folder.name == name
  assert seconds > 0, "made anew"
  assert workdir.load(folder).params["embed_VD"].shape == (384, 16)


@pytest.mark.slow
def test_two_runs_that_make_the_same_base_at_the_same_time_get_along(cache, monkeypatch):
  """The second finds the folder taken when it has its own ready, and uses the first one's."""
  train = pretrain.train

  def slow(*given):
    made = train(*given)
    monkeypatch.setattr(pretrain, "train", train)
    assert base(quick())[1] > 0, "the other run is done first"
    return made

  monkeypatch.setattr(pretrain, "train", slow)
  folder, _ = base(quick())
  assert workdir.load(folder).params["embed_VD"].shape == (384, 16)
  assert [path.name for path in (cache / "bases").iterdir()] == [folder.name]


def test_the_settings_of_a_config_become_the_library_s_records():
  class Section(dict):
    __getattr__ = dict.__getitem__

  fields = {k: v for k, v in tiny.OPTIMIZER.items() if k != "steps"}
  model = {k: v for k, v in tiny.MODEL.items() if k != "rules"}
  config = Section(
    model=model,
    world=dataclasses.asdict(tiny.WORLD),
    general={},
    optimizer=fields,
    pretrain=Section(tiny.PRETRAIN),
  )
  wanted_opt = optimizer.OptimizerConfig(**fields, steps=CFG.steps)
  assert pretrain.settings(config) == (tiny.MODEL, tiny.WORLD, wanted_opt, CFG)
