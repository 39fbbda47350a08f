"""A sandbox behind a URL that speaks SandboxFusion's run_code; the same face as the local one.

Every run is one request, its build included. What the server cannot be brought to answer is a
lost run, never a failed one. The server's own isolation is taken on trust.
"""

import base64
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from r1.rewards.sandbox import program

GRACE_S = 10.0  # on top of the limits, for the server's queue and the network
FINISHED, TIMED_OUT = "Finished", "TimeLimitExceeded"  # of compile_result and run_result
PROBE = program.Program(
  code="print(6 * 7)",
  language="python",
  stdins=(b"",),
  files={},
  limits=program.Limits(
    wall_s=10.0,
    build_s=10.0,
    cpu_s=10.0,
    memory_bytes=1 << 30,
    disk_bytes=1 << 20,
    output_bytes=1 << 16,
    processes=8,
  ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteConfig:
  """Where the server is and how it is asked."""

  url: str  # without /run_code
  lanes: int  # requests at once
  tries: int  # of one request
  pause_s: float  # before the second try; doubles with every further one

  def __post_init__(self):
    if not self.url.startswith(("http://", "https://")):
      raise ValueError(f"url {self.url!r} given; write it as http://host:port")
    if self.lanes < 1 or self.tries < 1 or self.pause_s < 0:
      raise ValueError(
        f"lanes {self.lanes}, tries {self.tries}, pause_s {self.pause_s} given; use at least one"
        " lane, one try and no negative pause"
      )


class Remote:
  """Runs batches of programs on the server; safe to share among threads."""

  def __init__(self, cfg: RemoteConfig):
    self._cfg = cfg
    self._pool = concurrent.futures.ThreadPoolExecutor(cfg.lanes, "remote-sandbox")

  def run(self, programs: Sequence[program.Program]) -> list[program.Result]:
    """One result for each program, in order."""
    asked = [[self._pool.submit(self._run, p, stdin) for stdin in p.stdins] for p in programs]
    return [_result([future.result() for future in futures]) for futures in asked]

  def close(self):
    """Waits for the requests under way; those that have not begun are dropped."""
    self._pool.shutdown(wait=True, cancel_futures=True)

  def _run(self, given: program.Program, stdin: bytes) -> tuple[program.Run | None, program.Run]:
    """(build, run) of one process; the last fault of the server if no try succeeds."""
    fault = ""
    for number in range(self._cfg.tries):
      if number:
        time.sleep(self._cfg.pause_s * 2 ** (number - 1))
      try:
        return _read(_post(self._cfg.url, given, stdin), given.limits)
      except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        fault = f"{self._cfg.url}: {type(error).__name__}: {error}"
    return None, program.lost(fault)


@contextlib.contextmanager
def open(cfg: RemoteConfig) -> Iterator[Remote]:
  """A remote sandbox that ran a program just now; RuntimeError where it could not."""
  box = Remote(cfg)
  try:
    ((done,),) = (result.runs for result in box.run([PROBE]))
    if done.stdout.strip() != b"42":
      raise RuntimeError(
        f"the sandbox at {cfg.url} did not run a first program: {done.status!r}, "
        f"{done.stderr.decode(errors='replace')[-500:]!r}; start the server or give another url"
      )
    yield box
  finally:
    box.close()


def _post(url: str, given: program.Program, stdin: bytes) -> dict:
  limits = given.limits
  body = {
    "language": given.language,
    "code": given.code,
    "stdin": stdin.decode("utf-8", "replace"),
    "files": {path: base64.b64encode(data).decode() for path, data in given.files.items()},
    "compile_timeout": limits.build_s,
    "run_timeout": limits.wall_s,
    "memory_limit_MB": limits.memory_bytes >> 20,
  }
  request = urllib.request.Request(
    f"{url.rstrip('/')}/run_code", json.dumps(body).encode(), {"Content-Type": "application/json"}
  )
  longest = 12 * limits.output_bytes + (1 << 16)  # two streams, each byte at most six of JSON
  wait_s = limits.build_s + limits.wall_s + GRACE_S
  with urllib.request.urlopen(request, timeout=wait_s) as reply:
    text = reply.read(longest + 1)
  if len(text) > longest:
    return {"status": "Failed", "run_result": {"status": FINISHED, "stdout": "x" * longest}}
  return json.loads(text)


def _read(reply: dict, limits: program.Limits) -> tuple[program.Run | None, program.Run]:
  """(build, run); ValueError for a reply that tells of a fault of the server."""
  if reply["status"] not in ("Success", "Failed"):
    raise ValueError(f"status {reply['status']!r}: {reply.get('message')!r:.300}")
  build = reply.get("compile_result") and _one(reply["compile_result"], limits)
  if reply.get("run_result"):
    return build, _one(reply["run_result"], limits)
  if not build or build.status == "ok":
    raise ValueError("neither a failed build nor a run in the reply")
  return build, build


def _one(said: dict, limits: program.Limits) -> program.Run:
  if said["status"] not in (FINISHED, TIMED_OUT):
    raise ValueError(f"status {said['status']!r} of a command: {said.get('stderr')!r:.300}")
  stdout, stderr = ((said.get(k) or "").encode("utf-8", "replace") for k in ("stdout", "stderr"))
  code = said.get("return_code")
  status = "timeout" if said["status"] == TIMED_OUT else "ok" if code == 0 else "failed"
  if max(len(stdout), len(stderr)) > limits.output_bytes:
    status = "output"
  return program.Run(
    status=status,
    exit_code=None if status == "timeout" else code,
    stdout=stdout[: limits.output_bytes],
    stderr=stderr[: limits.output_bytes],
    seconds=float(said.get("execution_time") or 0.0),
  )


def _result(done: Sequence[tuple[program.Run | None, program.Run]]) -> program.Result:
  """The build that failed, without runs; else the first build and all runs."""
  builds = [build for build, _ in done if build is not None]
  failed = next((build for build in builds if build.status != "ok"), None)
  if failed is not None:
    return program.Result(build=failed, runs=())
  return program.Result(build=builds[0] if builds else None, runs=tuple(run for _, run in done))
