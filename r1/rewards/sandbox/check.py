"""Proof, before any model's code is run, that the sandbox keeps in what it is given."""

import json
import os
import select
import shutil
import socket
from collections.abc import Callable, Collection, Sequence

from r1.rewards.sandbox import bubblewrap, program

LIMITS = program.Limits(
  wall_s=20.0,
  build_s=20.0,
  cpu_s=10.0,
  memory_bytes=256 << 20,
  disk_bytes=1 << 20,
  output_bytes=1 << 16,
  processes=8,
)
HINT = (
  "As an ordinary user the machine must allow user namespaces (sysctl user.max_user_namespaces "
  "above 0, kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0 "
  "where these exist); in a container, root needs --cap-add SYS_ADMIN --security-opt "
  "seccomp=unconfined --security-opt apparmor=unconfined. bubblewrap must be 0.8 or newer."
)

# Prints what it could do and must not; a port of the host and what it may see come on stdin.
PROBE = """
import json, os, socket, sys
given = json.load(sys.stdin)
def can(action):
  try:
    return bool(action())
  except OSError:
    return False
def forks(children=0):
  try:
    while children < 64:
      if os.fork() == 0:
        os.read(held, 1)
        os._exit(0)
      children += 1
  except OSError:
    pass
  return children > given["processes"]
can(lambda: socket.create_connection(("127.0.0.1", given["port"]), 2))  # the host listens
held, release = os.pipe()
done = {
  "see the files of the host": os.path.exists("/etc/passwd"),
  "write to /": can(lambda: open("/written", "w")),
  "write to /usr": can(lambda: open("/usr/written", "w")),
  "see the environment": not set(os.environ) <= set(given["environment"]),
  "be root": 0 in os.getresuid() + os.getresgid(),
  "see processes of the host": len([p for p in os.listdir("/proc") if p.isdigit()]) > 2,
  "inherit a descriptor": len(os.listdir("/proc/self/fd")) > 6,
  "make a file in memory": can(lambda: os.memfd_create("x")),
  "use more processes than its limit": forks(),
}
os.write(release, b"x" * 64)
print(json.dumps([name for name, could in done.items() if could]))
"""

# Holds one and a half times the memory, in three processes that each stay below it.
CROWD = """
import os, time
for _ in range(2):
  if os.fork() == 0:
    break
held = b"x" * (128 << 20)
time.sleep(5)
"""


def find_executables(python: str):
  """RuntimeError, with the package to install, unless all that a run starts is there."""
  missing = [name for name in bubblewrap.NEEDED if not shutil.which(name, path=bubblewrap.PATH)]
  if missing:
    raise RuntimeError(
      f"programs cannot be isolated: {', '.join(missing)} not found in {bubblewrap.PATH}; install "
      "them (apt-get install bubblewrap util-linux bash)"
    )
  if not os.access(python, os.X_OK):
    raise RuntimeError(f"interpreter {python!r} given; uid {os.geteuid()} cannot execute it")


def find_compiler(languages: Collection[str]):
  """RuntimeError if C++ is among the languages and g++ is not there: no program's fault."""
  if "cpp" in languages and not shutil.which("g++", path=bubblewrap.PATH):
    raise RuntimeError(
      f"a program in C++ given; g++ not found in {bubblewrap.PATH}: install it (apt-get install "
      "g++) or leave such programs out"
    )


def prove(run: Callable[[Sequence[program.Program]], list[program.Result]]):
  """RuntimeError, with what to change, unless a hostile program is kept in all that it tries."""
  with socket.create_server(("127.0.0.1", 0)) as listener:
    given = {
      "port": listener.getsockname()[1],
      "environment": [*bubblewrap.ENVIRONMENT, "PWD", "LC_CTYPE"],
      "processes": LIMITS.processes,
    }
    stdin = json.dumps(given).encode()
    probe, crowd = (
      program.Program(code=code, language="python", stdins=(stdin,), files={}, limits=LIMITS)
      for code in (PROBE, CROWD)
    )
    (done,), (crowded,) = (result.runs for result in run([probe, crowd]))
    called, _, _ = select.select([listener], [], [], 0)
  if done.status != "ok":
    raise RuntimeError(
      f"programs cannot be isolated: the first one came to {done.status!r} and said "
      f"{done.stderr.decode(errors='replace')[-500:]!r}. {HINT}"
    )
  escapes = json.loads(done.stdout)
  if called:
    escapes.append("reach the network")
  if crowded.status != "memory":
    escapes.append(f"hold more memory than its limit in several processes ({crowded.status})")
  if escapes:
    raise RuntimeError(f"programs are not isolated: one could {', '.join(escapes)}. {HINT}")
