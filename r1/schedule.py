"""Step schedules: a setting that changes at given updates."""

from collections.abc import Sequence


def at(points: Sequence[tuple[int, float]], step: int) -> float:
  """The value of the last point at or before `step`; points are (update, value) from update 0."""
  return [value for start, value in points if start <= step][-1]


def check(name: str, points: Sequence[tuple[int, float]]) -> None:
  """Raises ValueError unless the points start at 0 and rise."""
  starts = [start for start, _ in points]
  if not starts or starts[0] != 0 or sorted(set(starts)) != starts:
    raise ValueError(f"{name}={points}: wanted ((0, value), (update, value), ...), updates rising")
