"""Names that carry their shapes."""

import numpy as np
import pytest

from r1 import dims


@pytest.mark.parametrize(
  ("name", "letters"),
  [
    ("token_BL", "BL"),
    ("head_DV", "DV"),
    ("last_B11", "B11"),
    ("q_bias_HK", "HK"),
    ("old_logp_BL", "BL"),
    ("loss", ""),  # nothing after an underscore, and no letter of the alphabet
    ("head_dim", ""),
    ("BL", "BL"),  # the whole name
    ("x_BLI", ""),  # I is no dimension
    ("x_", ""),
  ],
)
def test_a_names_suffix_is_its_shape(name, letters):
  assert dims.suffix(name) == letters


def test_every_letter_is_one_capital_with_a_meaning_of_its_own():
  assert all(len(letter) == 1 and letter.isupper() for letter in dims.LETTERS)
  assert len(set(dims.LETTERS.values())) == len(dims.LETTERS)


def test_check_returns_the_size_of_each_letter():
  sizes = dims.check(x_BL=np.zeros((2, 3)), gain_L=np.zeros(3), last_B1=np.zeros((2, 1)))
  assert sizes == {"B": 2, "L": 3, "1": 1}


def test_check_names_the_array_and_the_letter_that_disagree():
  with pytest.raises(ValueError, match=r"b_BL has shape \(2, 4\): L is 4 here and 3 elsewhere"):
    dims.check(a_BL=np.zeros((2, 3)), b_BL=np.zeros((2, 4)))
  with pytest.raises(ValueError, match=r"a_BL has shape \(2, 3, 1\): its name promises 2 axes"):
    dims.check(a_BL=np.zeros((2, 3, 1)))


def test_a_broadcast_axis_has_size_one():
  with pytest.raises(ValueError, match="1 is 5 here and 1 elsewhere"):
    dims.check(last_B1=np.zeros((2, 5)))
