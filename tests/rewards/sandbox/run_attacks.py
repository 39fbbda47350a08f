"""Runs all attacks in one sandbox and prints, as JSON, what came of them.

`python -m tests.rewards.sandbox.run_attacks` reads on stdin, as JSON, what of the host the attacks
are to aim at; the same text is every program's stdin. Every program has an empty file named
host["token"] beside it, by which its processes can be found from outside. Only the standard
library is needed, so that any user's Python can run it.
"""

import json
import os
import shutil
import sys

from r1.rewards.sandbox import bubblewrap, lanes, memory, program
from tests.rewards.sandbox import attacks, resource_attacks

LIMITS = program.Limits(
  wall_s=2.0,
  build_s=10.0,
  cpu_s=1.0,
  memory_bytes=256 << 20,
  disk_bytes=8 << 20,
  output_bytes=1 << 16,
  processes=16,
)

ATTACKS = (
  attacks.REACH
  | attacks.PRIVILEGES
  | resource_attacks.SIGNALS
  | resource_attacks.RESOURCES
  | resource_attacks.COMPILED
)

HEALTHY = program.Program(
  code="import sys\nprint(sum(map(int, sys.stdin.read().split())))",
  language="python",
  stdins=(b"1 2 3", b"40 2"),
  files={},
  limits=LIMITS,
)


def as_program(attack: attacks.Attack, host: str) -> program.Program:
  prelude = attacks.PRELUDE if attack.language == "python" else ""
  return program.Program(
    code=prelude + attack.code,
    language=attack.language,
    stdins=(host.encode(),),
    files={json.loads(host)["token"]: b""},
    limits=LIMITS,
  )


def outcome(result: program.Result) -> dict:
  """What the judge of an attack looks at, as plain values."""
  failed_build = result.build if result.build and not result.runs else None
  run = failed_build or result.runs[0]
  return {
    "end": "build" if failed_build else run.status,
    "exit_code": run.exit_code,
    "stdout": run.stdout[:10000].decode(errors="replace"),
    "stderr": run.stderr[:10000].decode(errors="replace"),
    "seconds": run.seconds,
  }


def main():
  host = sys.stdin.read()
  descriptors = os.listdir("/proc/self/fd")
  compiler = shutil.which("g++", path=bubblewrap.PATH)
  with lanes.open(2) as box:
    names = [name for name, attack in ATTACKS.items() if attack.language != "cpp" or compiler]
    results = box.run([as_program(ATTACKS[name], host) for name in names])
    (after,) = box.run([HEALTHY])
  report = {
    "uid": os.getuid(),
    "attacks": {name: outcome(result) for name, result in zip(names, results)},
    "healthy": [run.stdout.decode() for run in after.runs],
    "left_open": sorted(set(os.listdir("/proc/self/fd")) - set(descriptors)),
    "children": memory.tree(os.getpid())[1:],
  }
  print(json.dumps(report))


if __name__ == "__main__":
  main()
