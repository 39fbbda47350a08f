"""A server's answers are read as runs, its faults never as failures; it executes nothing here."""

import base64
import contextlib
import http.server
import json
import threading

import pytest

from r1.rewards.sandbox import program, remote

LIMITS = program.Limits(
  wall_s=2, build_s=3, cpu_s=2, memory_bytes=64 << 20, disk_bytes=1, output_bytes=100, processes=1
)


def given(code="print(1)", language="python", stdins=(b"",), files=()):
  return program.Program(
    code=code, language=language, stdins=stdins, files=dict(files), limits=LIMITS
  )


def command(status="Finished", code=0, stdout="", stderr=""):
  return {
    "status": status,
    "execution_time": 0.5,
    "return_code": code,
    "stdout": stdout,
    "stderr": stderr,
  }


def reply(status="Success", run=None, build=None):
  return {"status": status, "message": "", "compile_result": build, "run_result": run, "files": {}}


@contextlib.contextmanager
def serving(answer):
  """(url, requests) of a server that answers with answer(request), an object or (code, text)."""
  requests = []

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
      requests.append(request)
      said = answer(request)
      code, text = said if isinstance(said, tuple) else (200, json.dumps(said))
      self.send_response(code if self.path == "/run_code" else 404)
      self.end_headers()
      self.wfile.write(text.encode())

    def log_message(self, *args):
      pass

  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  try:
    yield f"http://127.0.0.1:{server.server_port}", requests
  finally:
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def asked(answer, tries=1):
  """(run, requests): one function from a program to its result."""
  with serving(answer) as (url, requests):
    box = remote.Remote(remote.RemoteConfig(url=url, lanes=2, tries=tries, pause_s=0.0))
    yield lambda program: box.run([program])[0], requests
    box.close()


def test_a_request_holds_the_program_and_its_limits():
  with asked(lambda _: reply(run=command(stdout="7"))) as (run, requests):
    done = run(given(stdins=(b"1\n",), files=[("a/b.txt", b"\xff")]))
  assert requests == [
    {
      "language": "python",
      "code": "print(1)",
      "stdin": "1\n",
      "files": {"a/b.txt": base64.b64encode(b"\xff").decode()},
      "compile_timeout": 3,
      "run_timeout": 2,
      "memory_limit_MB": 64,
    }
  ]
  assert done == program.Result(
    build=None,
    runs=(program.Run(status="ok", exit_code=0, stdout=b"7", stderr=b"", seconds=0.5),),
  )


def test_every_stdin_is_a_request_and_the_order_is_kept():
  with asked(lambda r: reply(run=command(stdout=r["stdin"]))) as (run, _):
    done = run(given(stdins=tuple(b"%d" % i for i in range(20))))
  assert [run.stdout for run in done.runs] == [b"%d" % i for i in range(20)]


@pytest.mark.parametrize(
  ("run", "status", "exit_code"),
  [
    (command(code=1), "failed", 1),
    (command(code=-9), "failed", -9),
    (command("TimeLimitExceeded", None), "timeout", None),
    (command(stdout="x" * 101), "output", 0),
    (command(stderr="x" * 101), "output", 0),
  ],
)
def test_how_a_run_ends(run, status, exit_code):
  with asked(lambda _: reply("Failed", run)) as (ask, _):
    (done,) = ask(given()).runs
  assert (done.status, done.exit_code) == (status, exit_code)
  assert len(done.stdout) <= LIMITS.output_bytes


def test_a_build_that_fails_has_no_runs():
  with asked(lambda _: reply("Failed", None, command(code=1, stderr="no"))) as (run, _):
    done = run(given(language="cpp"))
  assert (done.build.status, done.build.stderr, done.runs) == ("failed", b"no", ())
  with asked(lambda _: reply(run=command(), build=command())) as (run, _):
    done = run(given(language="cpp"))
  assert (done.build.status, done.runs[0].status) == ("ok", "ok")


@pytest.mark.parametrize(
  "answer",
  [
    (500, "no"),
    (404, "{}"),
    (200, "<html>"),
    (200, "[]"),
    {},
    reply("SandboxError", None),
    reply(run=command("Error")),
    reply(run=None),
  ],
  ids=range(8),
)
def test_a_fault_of_the_server_is_tried_again_and_then_lost(answer):
  with asked(lambda _: answer, tries=3) as (run, requests):
    (done,) = run(given()).runs
  assert done.status == "lost"
  assert len(requests) == 3


def test_a_reply_without_end_is_too_much_output():
  with asked(lambda _: (200, " " * (1 << 20))) as (run, _):
    (done,) = run(given()).runs
  assert done.status == "output"


def test_a_server_that_comes_back_loses_nothing():
  answers = iter([(503, "busy"), reply(run=command(stdout="7"))])
  with asked(lambda _: next(answers), tries=2) as (run, _):
    (done,) = run(given()).runs
  assert (done.status, done.stdout) == ("ok", b"7")


def test_a_dead_server_loses_the_run():
  with serving(lambda _: reply()) as (url, _):
    pass
  box = remote.Remote(remote.RemoteConfig(url=url, lanes=1, tries=2, pause_s=0.0))
  (done,) = box.run([given()])[0].runs
  box.close()
  assert done.status == "lost"
  assert url.encode() in done.stderr


def test_a_sandbox_is_opened_only_where_a_program_runs():
  def config(url):
    return remote.RemoteConfig(url=url, lanes=1, tries=1, pause_s=0.0)

  with serving(lambda _: reply(run=command(stdout="42\n"))) as (url, _), remote.open(config(url)):
    pass
  with (
    serving(lambda _: reply("SandboxError")) as (url, _),
    pytest.raises(RuntimeError, match="did not run a first program"),
    remote.open(config(url)),
  ):
    pass


@pytest.mark.parametrize("wrong", [{"url": "host:8080"}, {"lanes": 0}, {"tries": 0}])
def test_settings_that_cannot_work_are_refused(wrong):
  with pytest.raises(ValueError, match="given"):
    remote.RemoteConfig(**{"url": "http://h", "lanes": 1, "tries": 1, "pause_s": 0.0} | wrong)
