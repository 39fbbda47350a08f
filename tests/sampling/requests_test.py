"""Streams and keys depend on the request alone."""

import jax
import numpy as np
import pytest

from r1.sampling import requests
from tests.model import tiny

REQUEST = requests.Request("q", 2, 3, (1, 2), 5)


def test_a_row_draws_from_its_question_sample_and_rollout():
  question, sample, rollout = requests.stream(REQUEST)
  assert (sample, rollout) == (2, 3)
  assert requests.stream(requests.Request("other", 2, 3, (1, 2), 5))[0] != question
  key = jax.random.key(7)
  (found,) = requests.keys(key, np.array([requests.stream(REQUEST)], np.uint32))
  wanted = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, question), 2), 3)
  np.testing.assert_array_equal(jax.random.key_data(found), jax.random.key_data(wanted))


def test_what_does_not_fit_is_refused():
  requests.check(REQUEST, tiny.config(context=7))
  with pytest.raises(ValueError, match="a prompt of 2 tokens and 5 new ones do not fit"):
    requests.check(REQUEST, tiny.config(context=6))
  done = requests.Request("q", 0, 0, (1,), 2, drawn=(4, 5), logp=(-1.0, -1.0))
  with pytest.raises(ValueError, match="2 tokens were drawn earlier, the limit of 2 is reached"):
    requests.check(done, tiny.config(context=64))
  for limit in (0, -1):
    with pytest.raises(ValueError, match=f"limit={limit}; an answer needs room for one token"):
      requests.check(requests.Request("q", 0, 0, (1,), limit), tiny.config(context=64))


def test_ids_that_the_model_does_not_know_are_refused():
  """A table is read at its last row there, without a word."""
  known = tiny.config(ids=29)
  requests.check(requests.Request("q", 0, 0, (0, 28), 5), known)
  for wrong in (29, 31, 32, -1):
    with pytest.raises(ValueError, match=rf"id {wrong} in prompt, .* has 0 \.\. 28"):
      requests.check(requests.Request("q", 0, 0, (1, wrong), 5), known)
  with pytest.raises(ValueError, match="id 40 in drawn"):
    requests.check(requests.Request("q", 0, 0, (1,), 5, drawn=(40,), logp=(-1.0,)), known)


@pytest.mark.parametrize(("sample", "rollout"), [(-1, 0), (0, -1), (2**32, 0)])
def test_numbers_that_no_stream_counts_are_refused(sample, rollout):
  with pytest.raises(ValueError, match=f"sample={sample} and rollout={rollout} must be in 0"):
    requests.Request("q", sample, rollout, (1,), 4)
