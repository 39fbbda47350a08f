"""A chain of stages: what is done, what has to be done again, and the command that does it.

A link is a stage's own command line; the workdirs below one folder are all that links share.
"""

import contextlib
import dataclasses
import fcntl
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence

from r1.train import lineage, run

PLACE = re.compile(r"\{(\w+)\}")
LOCK = "pipeline.lock"


@dataclasses.dataclass(frozen=True)
class Link:
  """name: of the workdir. experiment: whose config has the same name.

  argument: behind the colon, where {name} stands for another link's workdir. overrides: settings
  by name, as the command line takes them.
  """

  name: str
  experiment: str
  argument: str
  overrides: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class State:
  """done: finished, of the settings and the parents of now. begun: a stage that died may go on.

  stale: why what is there is of no use any more, a line for each reason.
  """

  done: bool
  begun: bool
  stale: list[str]


def links(given: Sequence[tuple]) -> list[Link]:
  """The links of a config. Raises ValueError for a name given twice and for an unknown parent."""
  found: list[Link] = []
  for name, experiment, argument, overrides in given:
    there = [link.name for link in found]
    if name in there or not re.fullmatch(r"\w+", name):
      raise ValueError(f"stage {name!r}: wanted a name of letters that no other stage has")
    for parent in PLACE.findall(argument):
      if parent not in there:
        raise ValueError(f"stage {name!r}: {{{parent}}} is no earlier stage; there are {there}")
    found.append(Link(name, experiment, argument, tuple(map(tuple, overrides))))
  return found


def chosen(every: Sequence[Link], first: str | None, last: str | None) -> list[Link]:
  """The links from one name to another, both included; None is the first or the last of all."""
  names = [link.name for link in every]
  for name in (first, last):
    if name is not None and name not in names:
      raise ValueError(f"there is no stage {name!r}; there are {', '.join(names)}")
  start = names.index(first) if first else 0
  stop = names.index(last) if last else len(names) - 1
  if stop < start:
    raise ValueError(f"{last} comes before {first}; the order is {', '.join(names)}")
  return list(every[start : stop + 1])


def parents(link: Link) -> list[str]:
  """The links that its argument names."""
  return list(dict.fromkeys(PLACE.findall(link.argument)))


def settings(link: Link, root: pathlib.Path) -> list[str]:
  """Its --config arguments. Parents have their whole names, however the root is spelled."""
  home = root.resolve()
  argument = PLACE.sub(lambda found: str(home / found[1]), link.argument)
  config = f"--config=configs/{link.experiment}.py:{argument}"
  return [config, *(f"--config.{name}={value}" for name, value in link.overrides)]


def command(link: Link, root: pathlib.Path) -> list[str]:
  """What a user would type."""
  given = [*settings(link, root), f"--workdir={root / link.name}"]
  return [sys.executable, "-m", f"experiments.{link.experiment}", *given]


def state(link: Link, root: pathlib.Path) -> State:
  """Where a link stands. Raises ValueError where its config refuses its own argument."""
  folder, now = root / link.name, run.resolve(settings(link, root))
  if not (folder / "run.json").exists():
    return State(done=False, begun=False, stale=[])
  stale = [*run.differences(lineage.settings(folder), now), *lineage.changed(folder)]
  done = lineage.finished(folder) is not None and not stale
  return State(done=done, begun=not stale, stale=stale)


def aside(folder: pathlib.Path) -> pathlib.Path:
  """Gives a workdir that is of no use any more another name, so that nothing is lost."""
  number = 1
  while (there := folder.with_name(f"{folder.name}.stale-{number}")).exists():
    number += 1
  return folder.rename(there)


@contextlib.contextmanager
def alone(root: pathlib.Path) -> Iterator[int]:
  """Holds a folder for one pipeline; gives the descriptor of the lock.

  A stage that inherits it holds the folder too, so that a pipeline whose forerunner was killed
  does not start a stage which is still running. Raises ValueError where another holds it.
  """
  root.mkdir(parents=True, exist_ok=True)
  with (root / LOCK).open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise ValueError(
        f"another pipeline, or a stage that it started, is at work in {root}; let it end, or end it"
      ) from error
    yield file.fileno()


def graph(every: Sequence[Link], root: pathlib.Path) -> dict[str, dict]:
  """The lineage of every link that has begun, by name: parents, data, counts, what it made.

  Parents that are links have their names, so that the graph is the same wherever the folder lies.
  """
  home = root.resolve()
  homes = {str(home / link.name): link.name for link in every}
  found = {}
  for link in every:
    record = lineage.read(root / link.name)
    if record is None:
      continue
    found[link.name] = {
      "stage": record["stage"],
      "argument": link.argument,
      "commit": record["commit"],
      "parents": {homes.get(where, where): x for where, x in record["parents"].items()},
      "data": record["data"],
      "counts": record["counts"],
      "outputs": lineage.finished(root / link.name),
    }
  return found
