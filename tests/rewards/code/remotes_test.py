"""A stand-in acts as the value it stands for, and refuses where there is an object."""

import pytest

from r1.rewards.code import remotes


class Session:
  """Answers every question with one thing, and remembers what it was asked."""

  def __init__(self, answer):
    self.answer, self.asked = answer, []

  def ask(self, base, name, args, kwargs):
    self.asked.append((base, name, args, kwargs))
    return self.answer

  def refuse(self, reason):
    raise remotes.ForeignError(reason)


def variable(answer):
  return remotes.Remote(Session(answer), None, "x", True)


def test_a_variable_acts_as_its_value():
  x = variable(6)
  compared = (x == 6, 6 == x, x != 7, x < 7, 5 < x)  # noqa: SIM300
  assert all(compared)
  assert (x + 1, 1 + x, x - 1, 10 - x, 2 * x, 13 % x, 13 // x, -x, abs(x)) == (
    *(7, 7, 5, 4, 12, 1, 2, -6, 6),
  )
  assert (float(x), round(x), bool(x), str(x), {x: 1}[6]) == (6.0, 6, True, "6", 1)
  assert (isinstance(x, int), isinstance(x, str)) == (True, False)
  assert [0] * x == [0] * 6
  assert (list(variable([1, 2])), 2 in variable([1, 2]), len(variable("ab"))) == ([1, 2], True, 2)


def test_an_answer_that_is_missing_is_pending_wherever_its_value_is_needed():
  missing = remotes.Remote(Session(None), "key", "", False)
  for use in (bool, len, iter, str, hash, lambda m: m == 1, lambda m: m + 1, remotes.value):
    with pytest.raises(remotes.PendingError):
      use(missing)


def test_an_object_is_asked_for_what_tells_it_nothing_and_for_nothing_else():
  session = Session(3)
  thing = remotes.Remote(session, "key", "", True)
  assert len(thing) == 3
  assert thing[5] == 3
  assert thing.method(1, a=2) == 3
  assert session.asked == [
    ("key", "__len__", (), {}),
    ("key", "__getitem__", (5,), {}),
    ("key", "method", (1,), {"a": 2}),
  ]
  for use in (
    bool,
    hash,
    int,
    lambda t: t == 3,
    lambda t: 3 in t,
    lambda t: t < 3,
    lambda t: t + 1,
  ):
    with pytest.raises(remotes.ForeignError):
      use(thing)
  assert len(session.asked) == 3


def test_an_object_goes_back_by_its_key_and_nothing_of_ours_does():
  assert remotes.reference(remotes.Remote(Session(None), "key", "", True)) == "key"
  with pytest.raises(remotes.ForeignError, match="type function, which is no plain data"):
    remotes.reference(lambda: 1)


def test_setting_an_attribute_is_a_call():
  session = Session(None)
  remotes.Remote(session, "key", "", True).left = 5
  assert session.asked == [("key", "__setattr__", ("left", 5), {})]
