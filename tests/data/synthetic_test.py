"""Synthetic work is the same for whoever asks, and of the shape that was asked for."""

import subprocess
import sys

import numpy as np
import pytest

from r1.data import synthetic

WORK = {
  "questions": 32,
  "group": 8,
  "prompt": 5,
  "lengths": "fixed",
  "mean": 128.0,
  "cap": 1024,
  "file": "",
  "seed": 0,
}


def work(**changes):
  return synthetic.WorkConfig(**(WORK | changes))


def test_fixed_lengths_are_the_cap():
  assert synthetic.lengths(work(cap=7)).tolist() == [7] * 256


def test_geometric_lengths_have_their_mean_and_stop_at_the_cap():
  many = synthetic.lengths(work(lengths="geometric", questions=10_000))
  # Cut at 1024 the mean is 128 (1 - (127/128)^1024) = 127.96; standard error 128 / sqrt(80000).
  assert abs(many.mean() - 127.96) < 4 * 128 / 80_000**0.5
  assert many.min() == 1
  short = synthetic.lengths(work(lengths="geometric", cap=128))
  assert short.max() == 128
  assert (short == 128).mean() > 0.3


def test_the_draw_is_the_seed_s_alone():
  first = synthetic.lengths(work(lengths="geometric"))
  assert np.array_equal(first, synthetic.lengths(work(lengths="geometric", prompt=9)))
  assert not np.array_equal(first, synthetic.lengths(work(lengths="geometric", seed=1)))
  # On record, since numbers measured with other versions are compared with these.
  assert first[:6].tolist() == RECORDED
  assert synthetic.digest(first) != synthetic.digest(first[::-1])


RECORDED = [87, 130, 3, 1, 71, 208]


def test_a_file_of_lengths_is_read_in_order_and_over_again(tmp_path):
  path = tmp_path / "lengths"
  path.write_text("3\n50\n\n7\n")
  made = synthetic.lengths(work(lengths="file", file=str(path), questions=1, group=5, cap=20))
  assert made.tolist() == [3, 20, 7, 3, 20]


@pytest.mark.parametrize(
  ("text", "message"),
  [("3\n0\n", ":2: '0'"), ("x", ":1: 'x'"), ("3\n\nx", ":3: 'x'"), ("3 4", "'3 4'"), ("", "empty")],
)
def test_a_file_that_holds_no_lengths_is_refused_by_line(tmp_path, text, message):
  path = tmp_path / "lengths"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    synthetic.lengths(work(lengths="file", file=str(path)))


def test_a_file_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(ValueError, match="nothing: there is no such file; wanted one with a length"):
    synthetic.lengths(work(lengths="file", file=str(tmp_path / "nothing")))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"lengths": "geometric", "cap": 100}, r"mean=128\.0 is above cap=100, .* lower mean"),
    ({"lengths": "normal"}, "lengths='normal': choose one of fixed"),
    ({"cap": 0}, "cap=0 must be >= 1"),
    ({"mean": 0.5}, r"mean=0\.5 must be >= 1"),
    ({"lengths": "file"}, "a file goes with lengths=file alone"),
    ({"file": "there"}, "a file goes with lengths=file alone"),
  ],
)
def test_work_that_cannot_be_is_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    work(**changes)


def test_prompts_are_of_their_repeat_and_hold_no_control_id():
  first = synthetic.prompts(work(prompt=500), 0, 8)
  assert first.shape == (32, 500)
  assert set(first.ravel().tolist()) == {3, 4, 5, 6, 7}
  assert np.array_equal(first, synthetic.prompts(work(prompt=500), 0, 8))
  assert not np.array_equal(first, synthetic.prompts(work(prompt=500), 1, 8))
  with pytest.raises(ValueError, match="a vocabulary of 3"):
    synthetic.prompts(work(), 0, 3)


def test_the_reward_is_the_share_of_even_ids():
  assert synthetic.even_share([2, 3, 4, 6]) == 0.75


def test_programs_without_jax_can_draw_it():
  code = "import sys; sys.modules['jax'] = None; from r1.data import synthetic"
  subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
