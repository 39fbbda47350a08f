"""Synthetic steps are a run's own steps: real tokens of forced lengths, and weights that move."""

import jax
import numpy as np
import pytest

from r1.data import synthetic
from r1.model import presets
from r1.train import measure, workload
from tests.data import synthetic_test
from tests.sampling import settings
from tests.train import tiny

LETTERS = {"layers": 1} | {name: tiny.MODEL[name] for name in "DFVHNK"}
LETTERS |= {name: tiny.MODEL[name] for name in ("rope_base", "norm_eps", "qkv_bias", "qk_norm")}
LETTERS |= {"tied": True}
RUNTIME = {
  name: tiny.MODEL[name] for name in ("dtype", "attend", "attention_block", "logit_chunk", "remat")
}
RUNTIME |= {"rules": None}


def opened(where="", letters=LETTERS, weights="float32"):
  given = {"context": 32, "weights": weights, "mesh": None, "seed": 0}
  return workload.open_model(where, letters, RUNTIME, **given)


def build(kl=0.04, minibatches=2, slots=4):
  work = synthetic_test.work(lengths="geometric", questions=2, group=4, mean=6.0, cap=12)
  cfg, params = opened()
  return workload.build(
    cfg,
    params,
    work=work,
    algorithm=tiny.grpo_config(group=4, max_tokens=12, kl=kl),
    batch=tiny.batch_config(row_tokens=32, minibatches=minibatches),
    sampler=settings.sampler(slots=slots, prompt_bucket=5),
    loop=False,
    opt=tiny.adam(),
    mesh=None,
  )


def test_every_answer_has_the_length_that_was_forced():
  w, state, _ = build()
  found = workload.sample(w, state.policy, 3)
  assert [s.length for s in found.samples] == synthetic.lengths(w.work).tolist()
  assert [s.question.id for s in found.samples] == ["q0"] * 4 + ["q1"] * 4
  prompts = synthetic.prompts(w.work, 3, w.model.ids)
  for i, s in enumerate(found.samples):
    assert np.array_equal(s.tokens[: s.prompt_length], prompts[i // 4])
    assert s.logp.max() < 0
  assert found.slot_steps >= sum(s.length for s in found.samples)


def test_a_step_learns_and_tells_when_each_part_ended():
  w, state, ref = build()
  before = np.asarray(jax.tree.leaves(state.params)[0])
  with measure.marks() as mark:
    state, _, marks = workload.step(w, state, ref, 0, until="update", mark=mark)
  assert int(state.step) == 2, "one update for each minibatch"
  assert not np.array_equal(before, np.asarray(jax.tree.leaves(state.params)[0]))
  assert len(marks) == 1 + len(workload.PARTS)
  assert sorted(m.clock for m in marks) == [m.clock for m in marks]


@pytest.mark.parametrize(("until", "count"), [("sample", 2), ("score", 3)])
def test_a_step_stops_where_it_is_told(until, count):
  w, state, ref = build()
  with measure.marks() as mark:
    state, _, marks = workload.step(w, state, ref, 0, until=until, mark=mark)
  assert len(marks) == count
  assert int(state.step) == 0


def test_groups_have_spread_and_are_in_order():
  w, state, ref = build()
  found = workload.sample(w, state.policy, 0)
  scored = workload.score(w, state.policy, ref, found.samples)
  assert scored.advantage_B.any()
  assert np.allclose(scored.advantage_B.reshape(2, 4).sum(axis=1), 0, atol=1e-5)
  for s, old in zip(found.samples, scored.old, strict=True):
    assert np.abs(old[s.prompt_length :] - s.logp).max() < 1e-4


def test_answers_that_do_not_divide_into_minibatches_are_refused():
  with pytest.raises(ValueError, match="2 x 4 answers do not divide into minibatches=3"):
    build(minibatches=3)


def test_an_update_that_is_not_finite_is_an_error():
  w, state, ref = build()
  found = workload.sample(w, state.policy, 0)
  scored = workload.score(w, state.policy, ref, found.samples)
  scored.advantage_B[:] = np.nan
  with pytest.raises(FloatingPointError, match="step 0 were not finite"):
    workload.learn(w, state, scored, 0)


def test_sizes_by_letter_make_the_model_they_say():
  cfg, params = opened()
  assert cfg == tiny.model(context=32)
  assert params["embed_VD"].shape == (384, 16)


@pytest.mark.parametrize(
  ("letters", "message"), [({"D": 16}, "missing"), (LETTERS | {"Q": 1}, "unexpected")]
)
def test_sizes_that_are_missing_or_unknown_are_refused(letters, message):
  with pytest.raises(ValueError, match=f"letters=.*{message}"):
    opened(letters=letters)


def test_a_preset_has_its_own_sizes_and_random_weights_of_the_type_asked_for():
  cfg, params = opened("tiny-qwen3", weights="bfloat16")
  assert presets.RAW["tiny-qwen3"]["hidden_size"] == cfg.D
  assert {x.dtype.name for x in jax.tree.leaves(params)} == {"bfloat16"}


def test_a_name_that_is_neither_preset_nor_files_is_refused(tmp_path):
  with pytest.raises(ValueError, match="wanted a workdir"):
    opened(str(tmp_path / "nothing"))
