"""The command line of one isolated run: bubblewrap, an unprivileged uid and resource limits.

Inside there is /usr read-only, the interpreter read-only, a /proc of its own, five harmless
devices and one bounded tmpfs; no /etc, no home, no network, no environment, no file descriptor
of ours. As root the program gets a uid of its own, since RLIMIT_NPROC does not bind uid 0; as an
ordinary user it runs in a user namespace.
"""

import math
import os
import pathlib
import sys
from collections.abc import Mapping

from r1.rewards.sandbox import program

PATH = "/usr/local/bin:/usr/bin:/bin"  # outside, where bwrap is looked for, and inside
NEEDED = ("bwrap", "prlimit", "setpriv", "bash")  # the executables that a run starts
WORK = "/tmp/work"  # the working directory, inside the tmpfs
PYTHON = str(
  pathlib.Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
)
USER_INSIDE = 1000  # uid and gid that an ordinary user has inside
STACK_BYTES = 64 << 20
OPEN_FILES = 64  # few: what fills the buffers of a socket, 0.2 MB each, is no process's memory
PAGE = 4096
ENVIRONMENT = {
  "PATH": PATH,
  "HOME": WORK,
  "TMPDIR": "/tmp",
  "LANG": "C.UTF-8",
  "OPENBLAS_NUM_THREADS": "1",  # each thread's buffers count against the address space
}


def argv(
  command: list[str],
  limits: program.Limits,
  *,
  files: Mapping[str, tuple[int, int, str]],
  python: str,
  uid: int | None,
  status_fd: int,
  seccomp_fd: int,
) -> list[str]:
  """The whole command line; files maps a path below WORK to (descriptor, bytes, octal mode).

  uid is the unused uid to run as, which only root may give; None keeps the caller's.
  """
  return [
    "bwrap",
    *("--json-status-fd", str(status_fd), "--seccomp", str(seccomp_fd)),
    *_isolation(uid),
    *_scratch(limits, files),
    *_system(python),
    *("--remount-ro", "/", "--chdir", WORK, "--"),
    *(_identity(uid) if uid is not None else ()),
    *_limits(limits, uid),
    *command,
  ]


def _isolation(uid: int | None) -> list[str]:
  spaces = ["ipc", "pid", "net", "uts", "cgroup-try"]
  options = ["--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
  options += [f"--unshare-{space}" for space in spaces]
  if uid is None:
    inside = str(USER_INSIDE)
    options += ["--unshare-user", "--disable-userns", "--uid", inside, "--gid", inside]
  else:  # held until _identity has given them up
    for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
      options += ["--cap-add", capability]
  for name, value in ENVIRONMENT.items():
    options += ["--setenv", name, value]
  return options


def _system(python: str) -> list[str]:
  """Read-only binds of /usr and of the interpreter (with its virtual environment), /proc, /dev."""
  options = ["--ro-bind", "/usr", "/usr"]
  for name in ("bin", "sbin", "lib", "lib32", "lib64"):
    path = pathlib.Path("/", name)
    if path.is_symlink():
      options += ["--symlink", os.readlink(path), str(path)]
    elif path.exists():
      options += ["--ro-bind", str(path), str(path)]
  for prefix in prefixes(python):
    options += [*_folders(prefix), "--ro-bind", prefix, prefix]
  for folder in packages(python):
    options += ["--tmpfs", folder, "--remount-ro", folder]
  # Process 1 inside is bubblewrap's, without limits or filter and, for an ordinary user, of the
  # program's own uid: covered, so that its memory and descriptors cannot be opened.
  options += ["--proc", "/proc", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1"]
  options += ["--perms", "0755", "--dir", "/dev"]
  for name in ("null", "zero", "full", "random", "urandom"):
    options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
  for number, name in enumerate(("stdin", "stdout", "stderr")):
    options += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
  return [*options, "--symlink", "/proc/self/fd", "/dev/fd", "--symlink", "/tmp", "/dev/shm"]


def prefixes(python: str) -> list[str]:
  """The folders that an interpreter needs besides /usr: its own, and that of its base."""
  paths = (pathlib.Path(os.path.abspath(python)), pathlib.Path(os.path.realpath(python)))
  folders = {str(path.parent.parent) for path in paths}
  return sorted(f for f in folders if not pathlib.Path(f).is_relative_to("/usr") and f != "/")


def packages(python: str) -> list[str]:
  """What is installed beside the base interpreter, hidden inside: it belongs to the trainer.

  Whoever wants packages for programs makes a virtual environment for them. Start-up hooks
  (.pth files) of the trainer's packages would also cost every run tens of milliseconds.
  """
  base = pathlib.Path(os.path.realpath(python)).parent.parent
  return sorted(str(path) for path in base.glob("lib/python3*/*-packages") if path.is_dir())


def _scratch(limits: program.Limits, files: Mapping[str, tuple[int, int, str]]) -> list[str]:
  """One tmpfs for all that the program writes; the given files do not use up its room."""
  given = sum(-(-size // PAGE) + 1 for _, size, _ in files.values()) * PAGE
  options = ["--size", str(limits.disk_bytes + given), "--perms", "1777", "--tmpfs", "/tmp"]
  options += ["--perms", "0777", "--dir", WORK]
  for path, (descriptor, _, mode) in files.items():
    target = f"{WORK}/{path}"
    options += [*_folders(target), "--perms", mode, "--file", str(descriptor), target]
  return options


def _folders(path: str) -> list[str]:
  """Makes the folders above a path; left to itself bubblewrap makes them for the owner alone."""
  above = [str(folder) for folder in reversed(pathlib.PurePosixPath(path).parents)][1:]
  new = [folder for folder in above if folder not in ("/tmp", WORK)]
  mode = "0777" if path.startswith(f"{WORK}/") else "0755"
  return [word for folder in new for word in ("--perms", mode, "--dir", folder)]


def _identity(uid: int) -> list[str]:
  same = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
  return ["setpriv", *same, "--bounding-set=-all", "--inh-caps=-all", "--"]


def _limits(limits: program.Limits, uid: int | None) -> list[str]:
  """Resource limits; the second of CPU after the soft limit is for programs that ignore it."""
  cpu_s = math.ceil(limits.cpu_s)
  init = 1 if uid is None else 0  # bubblewrap's own process inside, counted with the user's
  return [
    "prlimit",
    f"--cpu={cpu_s}:{cpu_s + 1}",
    f"--as={limits.memory_bytes}",
    f"--fsize={limits.disk_bytes}",
    f"--nproc={limits.processes + init}",
    f"--stack={STACK_BYTES}",
    f"--nofile={OPEN_FILES}",
    "--core=0",
    "--",
  ]
