"""What public GRPO implementations do by default, in this project's options.

The conventions differ silently: `std` alone hides 6.9 % of the learning rate. The advantages of
TRL, verl, slime, SkyRL, OpenRLHF, GRPO-Zero and open-instruct were measured by running them; the
others follow from their source.
"""

import numpy as np
import pytest

from r1.algorithms import advantages
from tests.algorithms import rows

ONE_OF_EIGHT = np.array([[1.0] + [0.0] * 7])

# library, std, eps, advantage of the one success in a group of eight
TABLE = [
  ("TRL", "sample", 1e-4, 2.4742),
  ("verl, slime, SkyRL", "sample", 1e-6, 2.4749),
  ("OpenRLHF", "sample", 1e-9, 2.4749),
  ("oat", "sample", 1e-8, 2.4749),
  ("GRPO-Zero, nano-aha", "population", 1e-4, 2.6450),
  ("open-instruct", "population", 1e-8, 2.6458),
  ("prime-rl, Dr. GRPO", "none", 0.0, 0.8750),
]


def one_of_eight(std, eps):
  cfg = rows.config(group=8, std=std, std_eps=eps)
  return advantages.group_advantages(ONE_OF_EIGHT, np.ones((1, 8), bool), cfg)[0]


@pytest.mark.parametrize(("library", "std", "eps", "want"), TABLE)
def test_one_success_in_eight_as_in(library, std, eps, want):
  got_G = one_of_eight(std, eps)
  assert round(float(got_G[0]), 4) == want, library
  np.testing.assert_allclose(got_G[1:], -got_G[0] / 7, rtol=1e-6)


def test_population_and_sample_std_differ_by_seven_per_cent():
  # sqrt(8 / 7) = 1.06904
  change = one_of_eight("population", 0.0)[0] / one_of_eight("sample", 0.0)[0]
  assert change == pytest.approx(1.06904, rel=1e-5)


def test_a_group_of_one_is_refused():
  """TRL refuses it; verl and SkyRL hand the raw reward on as the advantage."""
  with pytest.raises(ValueError, match="group=1"):
    rows.config(group=1)


# library, normalise; lengths 1 and 3 with advantages +1 and -1, ratio 1, max_tokens 10
AGGREGATION = [
  # -(1 - 3) / 4
  ("TRL dapo, verl, SkyRL, NeMo-RL, OpenRLHF, open-instruct", "token", 0.5),
  # -(1/1 - 3/3) / 2
  ("slime, TRL grpo", "response", 0.0),
  # -(1 - 3) / 20
  ("oat, TRL dr_grpo", "constant", 0.1),
]


@pytest.mark.parametrize(("library", "normalise", "want"), AGGREGATION)
def test_aggregation_as_in(library, normalise, want):
  cfg = rows.config(normalise=normalise, max_tokens=10, kl=0.0)
  two = [rows.response([-1.0], advantage=1), rows.response([-1.0] * 3, advantage=-1)]
  assert rows.loss(two, cfg)[0] == pytest.approx(want, abs=1e-6), library


def test_the_papers_own_settings_by_hand():
  """beta .001, epsilon 10, k3 in the loss, mean per response, as TRL's index of papers has it."""
  # Response 1: two tokens, ratios 2 and 12 (clipped at 11), A = 1, ref = logp: gain (2 + 11) / 2.
  # Response 2: one token, ratio 5, A = -1 (nothing clips), d = ln 2: k3 = 2 - 1 - .693147.
  one = rows.response(np.log([0.5, 0.6]), old=np.log([0.25, 0.05]), advantage=1)
  two = rows.response(np.log([0.25]), old=np.log([0.05]), ref=np.log([0.5]), advantage=-1)
  want = -(6.5 - 5 - 0.001 * 0.306853) / 2
  value, summary, (first, second) = rows.loss([one, two], rows.config())
  assert value == pytest.approx(want, rel=1e-6)
  # d/dlogp: -A r / (n |o|) unclipped; the KL adds .001 (1 - e^d) / n = -.001 / 2.
  np.testing.assert_allclose(first, [-2 / 4, 0], rtol=1e-5)
  np.testing.assert_allclose(second, [5 / 2 - 0.0005], rtol=1e-5)
  assert summary["policy/clip_fraction"] == pytest.approx(1 / 3)
  assert summary["policy/kl"] == pytest.approx(0.306853 / 3, rel=1e-5)
