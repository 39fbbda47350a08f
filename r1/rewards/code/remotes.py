"""Stand-ins, in the judge's process, for what lives in the player's."""

import operator
from collections.abc import Callable

# Asked of the player where the object is there. Comparing, hashing and containing are not among
# them: they would tell the player's process what it is expected to be.
FORWARDED = {
  "__iter__": iter,
  "__next__": next,
  "__len__": len,
  "__getitem__": operator.getitem,
  "__str__": str,
  "__repr__": repr,
}


def _reflected(function: Callable) -> Callable:
  return lambda mine, other: function(other, mine)


UNARY = ("neg", "pos", "abs", "invert", "index")
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift")
COMPARED = ("eq", "ne", "lt", "le", "gt", "ge", "contains")
VALUED = (
  {f"__{name}__": getattr(operator, name) for name in UNARY + BINARY + COMPARED}
  | {f"__{name}__": getattr(operator, f"{name}_") for name in ("and", "or")}
  | {f"__r{name}__": _reflected(getattr(operator, name)) for name in BINARY}
  | {
    f"__{kind.__name__}__": kind
    for kind in (bool, int, float, complex, bytes, hash, round, reversed, format)
  }
)
# Methods by which plain values answer yes or no; an object that has them may answer as it likes.
PREDICATES = {
  name
  for kind in (str, bytes, set, frozenset, int, float)
  for name in dir(kind)
  if name.startswith("is") or name.endswith("with")
}


class PendingError(BaseException):
  """A value is needed whose answer this pass does not have."""


class ForeignError(BaseException):
  """A value is needed, or handed over, that is no plain data."""


class LostError(BaseException):
  """The player ended before it answered."""


class Remote:
  """The attribute `name` of the object behind answer `base`, or that object itself for "".

  base None stands for the globals of the model's code. The session (judge.Session) asks and
  refuses; known is False while the object's own answer is missing, so that it may turn out to be
  a plain value.
  """

  def __init__(self, session, base: str | None, name: str, known: bool):
    self.__dict__.update(_session=session, _base=base, _name=name, _known=known)

  def __call__(self, *args, **kwargs):
    if self._known and self._base is not None and self._name in PREDICATES:
      self._session.refuse(f"an object's {self._name}() is asked for")
    return self._session.ask(self._base, self._name, args, kwargs)

  def __getattr__(self, name: str):
    if name.startswith("__") and name.endswith("__"):
      raise AttributeError(name)
    mine = resolved(self)
    if not remote(mine):
      return getattr(mine, name)
    return Remote(mine._session, mine._base, name, mine._known)

  def __setattr__(self, name: str, value):
    mine = resolved(self)
    if not remote(mine):
      self._session.refuse(f"the attribute {name} of a plain value is set")
    mine._session.ask(mine._base, "__setattr__", (name, value), {})

  @property
  def __class__(self):
    mine = value(self)
    if remote(mine):
      self._session.refuse("the type of an object is asked for")
    return type(mine)


def remote(thing) -> bool:
  """Whether it is a stand-in; isinstance() would ask for the type of what it stands for."""
  return type(thing) is Remote


def resolved(thing):
  """The plain value or the object behind a stand-in for a variable; anything else itself."""
  if not remote(thing) or not thing._name:
    return thing
  return thing._session.ask(thing._base, thing._name, None, None)


def value(thing):
  """The plain value behind a stand-in, or a stand-in for what is known to be an object."""
  mine = resolved(thing)
  if remote(mine) and not mine._known:
    raise PendingError
  return mine


def reference(thing) -> str:
  """How an object of the player's is named when it goes back as an argument."""
  if not remote(thing) or thing._name:
    raise ForeignError(f"a value of type {type(thing).__name__}, which is no plain data")
  return thing._base


def forwarding(method: str, function: Callable, asked: bool) -> Callable:
  """The special method of Remote that applies a function to the value."""

  def special(self, *args):
    mine = value(self)
    if not remote(mine):
      return function(mine, *args)
    if not asked:
      mine._session.refuse(f"an object's {method} is asked for")
    try:
      said = value(mine._session.ask(mine._base, method, args, {}))
    except AttributeError as error:  # what list() takes for an answer where there is no length
      raise TypeError(str(error)) from error
    return iter(said) if method == "__iter__" else said

  return special


for _method, _function in (FORWARDED | VALUED).items():
  setattr(Remote, _method, forwarding(_method, _function, _method in FORWARDED))
